"""Run folders that lie elsewhere than at TASK/METHOD/seed-K, as after a copy one level too deep."""

import os
from collections.abc import Collection
from pathlib import Path

FILES = ("scores.jsonl", "status.json", "result.json")
MOST = 5000  # folders looked at: a study's frozen code has some hundreds


def stray_runs(study: Path, runs: Collection[Path]) -> list[Path]:
    """Return the folders below a study that hold a run's files and are none of its runs, nor inside one."""
    known = {os.fspath(run) for run in runs}
    found: list[Path] = []
    for number, (top, folders, names) in enumerate(os.walk(study)):
        if top in known or number > MOST:
            folders.clear()
        elif sum(name in names for name in FILES) > 1 or "scores.jsonl" in names:
            found.append(Path(top))
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return found
