"""Time the loading of many run folders: first, and again with the summaries cached.

    python -m tests.benchmarks.bench_load [FOLDERS]

Makes FOLDERS (default 10 000) run folders of 20 evaluations of 100 episodes each in a temporary folder (about 300 MB).
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from agent.contract.run_folder import RunKey
from analysis.data.load import load_study
from tests.analysis.studies import write_plan, write_run

METHODS = ("dreamerv3", "harmony_dreamerv3")


def build(study: Path, folders: int, tasks: int = 26) -> None:
    """Write one run per task and method through the agent's writers, and the other seeds as copies of its files."""
    from agent.contract.tasks import ATARI_100K

    seeds = -(-folders // (tasks * len(METHODS)))
    keys = [RunKey(task, method, seed) for seed in range(seeds) for task in ATARI_100K[:tasks] for method in METHODS]
    study.mkdir(parents=True)
    write_plan(study, keys[:folders])
    for key in keys[:folders]:
        first = RunKey(key.task, key.method, 0).folder(study)
        if key.seed == 0:
            run = write_run(study, key, evaluations=20, planned=20)
            rows = [json.loads(line) for line in run.scores.read_text().splitlines()]
            for row in rows:
                row["episodes"], row["lengths"] = [row["mean"]] * 100, [1234] * 100
            run.scores.write_text("".join(json.dumps(row) + "\n" for row in rows))
            continue
        folder = key.folder(study)
        (folder / "attempts" / "1").mkdir(parents=True)
        for name in ("provenance.json", "scores.jsonl", "status.json", "result.json", "attempts/1/attempt.json"):
            (folder / name).write_bytes((first / name).read_bytes())
        text = (first / "config.yaml").read_text()
        (folder / "config.yaml").write_text(text.replace("\nseed: 0\n", f"\nseed: {key.seed}\n"))


def measure(study: Path, folders: int) -> dict[str, float]:
    """Return seconds and CPU seconds of the first loading, seconds of the second, and peak memory in MB.

    That is the peak of this process and of the largest that it started.
    """
    before, start = _cpu(), time.perf_counter()
    loaded = load_study(study)
    middle, cpu = time.perf_counter(), _cpu() - before
    again = load_study(study)
    end = time.perf_counter()
    good = sum(run.state == "done" and len(run.scores.scores) == 20 for run in loaded.runs)
    assert good == len(again.runs) == folders and not loaded.problems
    own, other = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    times = {"first_s": middle - start, "first_cpu_s": cpu, "again_s": end - middle}
    return {"runs": good, **times, "peak_mb": own, "peak_of_a_reader_mb": other}


def main(folders: int = 10_000) -> None:
    """Print what the loading takes."""
    with tempfile.TemporaryDirectory() as name:
        study = Path(name) / "runs" / "many"
        build(study, folders)
        os.environ["XDG_CACHE_HOME"] = str(Path(name) / "cache")
        print(json.dumps(measure(study, folders), indent=1))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
