"""The run folder: the one contract between the agent, the harness and the analysis.

Layout, below the runs folder::

    STUDY/plan.json                      the frozen grid, written once by launch
    STUDY/TASK/METHOD/seed-K/            one run
        config.yaml  provenance.json     what is computed, and with what
        status.json                      one writer at a time, replaced atomically
        metrics.jsonl  scores.jsonl      append-only rows
        checkpoint/                      latest complete checkpoint, the one before, replay chunks
        result.json                      renamed into place last: the run is complete
        lease.json                       the process that may write here (agent/contract/lease.py)
        attempts/N/                      stdout.log, stderr.log, attempt.json

Every file has one writer and is replaced by rename or appended to line by line. The process that trains a run
(`agent.train`) holds its lease; everything else only reads, save `attempts/`, which belongs to whoever started the
process. Imports neither JAX nor an environment.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from agent.contract.files import RecordError, open_regular
from agent.contract.records import (
    AttemptRecord,
    Plan,
    Result,
    Saved,
    ScoreRow,
    Status,
    parse_record,
    read_record,
    write_record,
)
from agent.contract.rows import verify_rows

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@+,-]{0,150}")
STALE_AFTER_S = 300.0
MAX_ROW = 256 * 1024  # of scores.jsonl


def safe_name(name: str, kind: str) -> str:
    """Return a name that may become one folder, or raise RecordError: no separators, quotes, spaces or `..`."""
    if not SAFE_NAME.fullmatch(name) or ".." in name:
        raise RecordError(
            f"{kind} {name!r}: only letters, digits and '._=@+,-' are allowed, beginning with a letter or digit"
        )
    return name


@dataclass(frozen=True, order=True)
class RunKey:
    """The identity of a run inside a study."""

    task: str
    method: str
    seed: int

    def folder(self, study: Path) -> Path:
        """Return the run's folder, which never lies outside the study's."""
        return study / safe_name(self.task, "task") / safe_name(self.method, "method") / f"seed-{int(self.seed)}"

    @classmethod
    def of(cls, folder: Path) -> RunKey:
        """Return the identity that a run's folder names; RecordError when it is not `TASK/METHOD/seed-K`."""
        match = re.fullmatch(r"seed-(\d{1,10})", folder.name)
        if match is None or len(folder.parts) < 3:
            raise RecordError(f"{folder}: not a run folder (TASK/METHOD/seed-K is expected)")
        return cls(folder.parent.parent.name, folder.parent.name, int(match[1]))


@dataclass(frozen=True)
class RunDir:
    """The paths of one run's folder."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def provenance(self) -> Path:
        return self.path / "provenance.json"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def scores(self) -> Path:
        return self.path / "scores.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def lease(self) -> Path:
        return self.path / "lease.json"

    @property
    def attempts(self) -> Path:
        return self.path / "attempts"

    def attempt_numbers(self) -> list[int]:
        """Return the numbers of the attempts made so far, in order; RecordError when that cannot be known."""
        try:
            names = os.listdir(self.attempts)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RecordError(f"{self.attempts}: cannot be read ({error.strerror})") from error
        return sorted(int(name) for name in names if re.fullmatch(r"[0-9]{1,9}", name))

    def new_attempt(self) -> tuple[int, Path]:
        """Create the next attempt's folder and return its number and path; two callers never get the same one."""
        while True:
            number = max(self.attempt_numbers(), default=0) + 1
            folder = self.attempts / str(number)
            self.attempts.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return number, folder


def read_status(run: RunDir) -> Status | None:
    """Return what a run's process last said, None when it said nothing yet; RecordError when the file is damaged."""
    return read_record(run.status, Status)


def write_status(run: RunDir, status: Status) -> None:
    """Replace status.json."""
    write_record(run.status, status, durable=False)


def read_result(run: RunDir, config_hash: str | None = None) -> Result | None:
    """Return what a complete run ended with, None while it is not complete.

    Raises: RecordError when the file is damaged, belongs to another configuration than the given one, names a score
    that is not the last evaluation's, or vouches for other scores than lie there: such a run is not complete.
    """
    result = read_record(run.result, Result)
    if result is None:
        return None
    if config_hash is not None and result.config_hash != config_hash:
        raise RecordError(f"{run.result}: config_hash is {result.config_hash}, but {config_hash} was planned")
    if result.final_score is not None:
        row = last_score(run)
        if row.score != result.final_score or row.env_steps > result.env_steps:
            found = f"{row.score} at step {row.env_steps}"
            raise RecordError(
                f"{run.result}: says final_score {result.final_score} at step {result.env_steps}, but the last row of "
                f"{run.scores.name} is {found}"
            )
    verify_vouched(run.scores, result)
    return result


def verify_vouched(path: Path, result: Result) -> None:
    """Raise RecordError when a complete run's result vouches for other rows of a file than lie there."""
    if mark := result.rows.get(path.name):
        verify_rows(path, mark.model_dump())


def last_score(run: RunDir) -> ScoreRow:
    """Return the last evaluation; RecordError when there is none or its row is damaged."""
    try:
        with open_regular(run.scores) as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - MAX_ROW))
            rows = file.read().splitlines()
    except OSError as error:
        raise RecordError(f"{run.scores}: cannot be read ({error.strerror})") from error
    if not rows:
        raise RecordError(f"{run.scores}: is empty")
    return parse_record(rows[-1], ScoreRow, f"{run.scores}, last row")


def read_attempt(run: RunDir, number: int) -> AttemptRecord | None:
    """Return what is recorded of an attempt, None when nothing is; RecordError when that is damaged."""
    return read_record(run.attempts / str(number) / "attempt.json", AttemptRecord)


def saved_steps(run: RunDir) -> int:
    """Return the environment step of a run's latest checkpoint, 0 without one that can be read."""
    with contextlib.suppress(RecordError):
        saved = read_record(run.checkpoint / "latest.json", Saved)
        return saved.env_steps if saved else 0
    return 0


def plan_path(study: Path) -> Path:
    """Return the path of a study's plan."""
    return study / "plan.json"


def read_plan(study: Path) -> Plan | None:
    """Return a study's plan, None when it has none; RecordError when it is damaged."""
    plan = read_record(plan_path(study), Plan)
    names = set[Path]()
    for number, run in enumerate(plan.runs if plan else ()):
        try:
            folder = RunKey(run.task, run.method, run.seed).folder(study)
        except RecordError as error:
            raise RecordError(f"{plan_path(study)}: runs.{number}: {error}") from error
        if folder in names:
            raise RecordError(f"{plan_path(study)}: runs.{number} names {folder} a second time")
        names.add(folder)
    return plan


def find_runs(study: Path) -> list[Path]:
    """Return the folders of the form TASK/METHOD/seed-K below a study, sorted."""
    found: list[Path] = []
    for task in _folders(study):
        for method in _folders(task):
            found += [folder for folder in _folders(method) if re.fullmatch(r"seed-\d{1,10}", folder.name)]
    return sorted(found, key=lambda f: (f.parts[:-1], int(f.name[5:])))


def _folders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return sorted(Path(e.path) for e in entries if not e.name.startswith(".") and Path(e.path).is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
