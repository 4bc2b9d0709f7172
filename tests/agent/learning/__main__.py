"""Print learning curves as CSV: one row per evaluation, with the loss weights at that step.

With `--losses`, one row per metrics row instead, with the losses and the policy's entropy. A folder is a study, whose
finished runs are taken, or one run's folder.

python -m harness.launch grid=catch_published
python -m tests.agent.learning runs/catch_published > tests/agent/learning/catch_published.csv
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

from agent.contract.config import read_yaml

LOSSES = ("reward", "image", "dyn")
COLUMNS = ("task", "method", "seed", "env_steps", "updates", "score", *(f"{name}_weight" for name in LOSSES))

OF_METRICS = {
    "image_loss": "loss/image", "reward_loss": "loss/reward", "dyn_loss": "loss/dyn", "policy_entropy": "actor/entropy",
}  # fmt: skip


def identity_of(run: Path) -> dict[str, Any]:
    """Return a run's task, method and seed, as its configuration says them."""
    settings = read_yaml(run / "config.yaml")
    method = settings["method"]
    return {"task": settings["task"], "method": method, "seed": settings["seed"]}


def rows_of(run: Path) -> list[dict[str, Any]]:
    """Return a run's rows under COLUMNS; a weight is empty where no metrics were written at the evaluation's step."""
    metrics = {row["env_steps"]: row for row in _lines(run / "metrics.jsonl")}
    rows: list[dict[str, Any]] = []
    for score in _lines(run / "scores.jsonl"):
        weights = metrics.get(score["env_steps"], {})
        row = identity_of(run)
        row |= {"env_steps": score["env_steps"], "updates": score["updates"], "score": round(score["mean"], 4)}
        for name in LOSSES:
            weight = weights.get(f"harmony/{name}_weight")
            row[f"{name}_weight"] = "" if weight is None else round(weight, 4)
        rows.append(row)
    return rows


def losses_of(run: Path) -> list[dict[str, Any]]:
    """Return a run's losses and its policy's entropy, one row per metrics row; four digits of each."""
    identity = identity_of(run)
    return [
        identity | {"updates": row["updates"]} | {name: f"{row[key]:.4g}" for name, key in OF_METRICS.items()}
        for row in _lines(run / "metrics.jsonl")
    ]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main(folders: list[Path], *, losses: bool) -> None:
    """Print the curves of every run of the folders."""
    columns = ("task", "method", "seed", "updates", *OF_METRICS) if losses else COLUMNS
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    for folder in folders:
        finished = [result.parent for result in folder.glob("*/*/seed-*/result.json")]
        for run in sorted([folder] if (folder / "config.yaml").exists() else finished):
            writer.writerows(losses_of(run) if losses else rows_of(run))


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--losses"]
    if not words or not all(Path(word).is_dir() for word in words):
        sys.exit(f"usage: python -m tests.agent.learning [--losses] FOLDER...\n{__doc__}")
    main([Path(word) for word in words], losses="--losses" in sys.argv)
