"""Print a study's learning curves as CSV: one row per evaluation, with the loss weights at that step.

python -m harness.launch grid=catch_published
python -m tests.agent.learning runs/catch_published > tests/agent/learning/catch_published.csv
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

LOSSES = ("reward", "image", "dyn")
COLUMNS = ("task", "method", "seed", "env_steps", "updates", "score", *(f"{name}_weight" for name in LOSSES))


def rows_of(run: Path) -> list[dict[str, Any]]:
    """Return a run's rows under COLUMNS; a weight is empty where no metrics were written at the evaluation's step."""
    metrics = {row["env_steps"]: row for row in _lines(run / "metrics.jsonl")}
    rows: list[dict[str, Any]] = []
    for score in _lines(run / "scores.jsonl"):
        weights = metrics.get(score["env_steps"], {})
        row = {"task": run.parts[-3], "method": run.parts[-2], "seed": int(run.name.removeprefix("seed-"))}
        row |= {"env_steps": score["env_steps"], "updates": score["updates"], "score": round(score["mean"], 4)}
        for name in LOSSES:
            weight = weights.get(f"harmony/{name}_weight")
            row[f"{name}_weight"] = "" if weight is None else round(weight, 4)
        rows.append(row)
    return rows


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main(study: Path) -> None:
    """Print the curves of every run of a study."""
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for result in sorted(study.glob("*/*/seed-*/result.json")):
        writer.writerows(rows_of(result.parent))


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(f"usage: python -m tests.agent.learning STUDY\n{__doc__}")
    main(Path(sys.argv[1]))
