"""Time the loading of run folders with long metrics: first, and again with the summaries cached.

    python -m tests.benchmarks.bench_rows [FOLDERS [ROWS]]

Makes FOLDERS (default 260) run folders with ROWS (default 100 000) rows of metrics each, of the names that the agent
writes (1.3 to 1.7 kB), in a temporary folder. A method's runs share one file by hard links, so that the disk holds
300 MB and not 40 GB; every folder is read all the same.
"""

import json
import math
import os
import sys
import tempfile
from pathlib import Path

from agent.contract.run_folder import RunKey
from agent.contract.tasks import ATARI_100K
from tests.analysis.studies import write_plan, write_run
from tests.benchmarks.bench_load import METHODS, measure

NAMES = {
    "loss": "image reward cont dyn rep model actor critic",
    "grad_norm": "model actor critic",
    "model": "post_entropy prior_entropy reward_pred reward_avg reward_max_pred reward_max_data cont_pred cont_avg",
    "actor": "entropy log_prob advantage advantage_mag advantage_std",
    "imagined": "reward return return_std return_low return_high",
    "critic": "value slow_value",
    "rate": "env_steps_per_s updates_per_s",
}
HARMONY = [f"harmony/{name}_{what}" for name in ("image", "reward", "dyn") for what in ("s", "weight", "sigma")]


def rows_text(method: str, rows: int) -> bytes:
    """Return metrics rows of a run of 400 000 frames as the agent writes them."""
    names = [f"{group}/{name}" for group, listed in NAMES.items() for name in listed.split()]
    names += HARMONY if method.startswith("harmony") else []
    lines: list[str] = []
    for number in range(1, rows + 1):
        row: dict[str, float] = {"env_steps": number, "frames": 4 * number, "walltime_s": number / 7, "updates": number}
        row |= {name: math.sin(number / (300 + k)) + 300 / (number + k) for k, name in enumerate(names)}
        lines.append(json.dumps(row, separators=(",", ":")))
    return ("\n".join(lines) + "\n").encode()


def build(study: Path, folders: int, rows: int) -> None:
    """Write the run folders."""
    keys = [RunKey(task, method, seed) for seed in range(folders) for task in ATARI_100K for method in METHODS][
        :folders
    ]
    study.mkdir(parents=True)
    write_plan(study, keys)
    first: dict[str, Path] = {}
    for key in keys:
        run = write_run(study, key, evaluations=20, planned=20)
        if key.method not in first:
            run.metrics.write_bytes(rows_text(key.method, rows))
            first[key.method] = run.metrics
        else:
            os.link(first[key.method], run.metrics)


def main(folders: int = 260, rows: int = 100_000) -> None:
    """Print what the loading takes."""
    with tempfile.TemporaryDirectory() as name:
        study = Path(name) / "runs" / "long"
        build(study, folders, rows)
        os.environ["XDG_CACHE_HOME"] = str(Path(name) / "cache")
        print(json.dumps(measure(study, folders), indent=1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
