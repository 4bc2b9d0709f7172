"""What the files of a run folder say to the harness, and which of them is damaged."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from agent.contract.files import RecordError
from agent.contract.records import AttemptRecord, Result, Status
from agent.contract.run_folder import RunDir, read_result, read_status
from harness.job.attempts import latest

FULL_BYTES = 64 * 1024


@dataclass(frozen=True)
class Reading:
    """The records of a run, None where there is none or it is damaged; `damage` names the first damaged file.

    `number` is that of its latest attempt, 0 without one. `result` is there only when the run is complete.
    """

    run: RunDir
    status: Status | None = None
    number: int = 0
    attempt: AttemptRecord | None = None
    result: Result | None = None
    damage: str = ""


def read_run(run: RunDir, config_hash: str) -> Reading:
    """Return what a run's folder says; a result counts when it is whole and agrees with the plan and the scores."""
    damage: list[str] = []
    status, result, number, attempt = None, None, 0, None
    try:
        status = read_status(run)
    except RecordError as error:
        damage.append(str(error))
    try:
        result = read_result(run, config_hash)
        if result is not None and status is not None and status.state == "done":
            _check_end(run, result, status)
    except RecordError as error:
        result = None
        damage.append(str(error))
    if result is None:  # what was tried is of interest as long as it is not done
        try:
            number, attempt = latest(run)
        except RecordError as error:
            damage.append(str(error))
    return Reading(run, status, number, attempt, result, damage[0] if damage else "")


def disk_full(path: Path) -> bool:
    """Return whether the disk of a folder has no space left."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < FULL_BYTES


def _check_end(run: RunDir, result: Result, status: Status) -> None:
    if result.env_steps != status.env_steps:
        raise RecordError(
            f"{run.result}: env_steps is {result.env_steps}, but {run.status.name} says done at {status.env_steps}"
        )
