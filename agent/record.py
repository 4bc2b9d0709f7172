"""The run folder: the one contract between the agent, the harness and the analysis.

Layout, below the runs folder::

    STUDY/plan.json                      the frozen grid, written once by launch
    STUDY/TASK/METHOD/seed-K/            one run
        config.yaml  provenance.json     what is computed, and with what
        status.json                      one writer at a time, replaced atomically
        metrics.jsonl  scores.jsonl      append-only rows
        checkpoint/                      latest complete checkpoint, the one before, replay chunks
        result.json                      renamed into place last: the run is complete
        lease.json                       the process that may write here (agent/lease.py)
        attempts/N/                      stdout.log, stderr.log, attempt.json

Every file has one writer and is replaced by rename or appended to line by line. The process that trains a run
(`agent.train`) holds its lease; everything else only reads, save `attempts/`, which belongs to whoever started the
process. Imports neither JAX nor an environment.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agent.files import RecordError, read_json, write_json

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@+,-]{0,150}")
STALE_AFTER_S = 300.0


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
        """Return the numbers of the attempts made so far, in order."""
        try:
            names = os.listdir(self.attempts)
        except FileNotFoundError:
            return []
        return sorted(int(name) for name in names if name.isdigit())

    def new_attempt(self) -> tuple[int, Path]:
        """Create the next attempt's folder and return its number and path; two callers never get the same one."""
        while True:
            number = max(self.attempt_numbers(), default=0) + 1
            folder = self.attempts / str(number)
            with contextlib.suppress(FileExistsError):
                self.attempts.mkdir(parents=True, exist_ok=True)
                folder.mkdir()
                return number, folder


@dataclass
class Status:
    """The state of a run as its own process last wrote it; `heartbeat` and `started` are unix seconds."""

    state: str = "running"
    env_steps: int = 0
    total_env_steps: int = 0
    updates: int = 0
    env_steps_per_s: float = 0.0
    heartbeat: float = 0.0
    started: float = 0.0
    phase: str = ""
    reason: str | None = None
    message: str | None = None
    job_id: str | None = None
    attempt: int = 0
    host: str = ""
    device: str = ""
    pack: int = 1
    extra: dict[str, Any] = field(default_factory=dict[str, Any])


STATES = ("running", "done", "failed", "stopped")


def write_status(run: RunDir, status: Status) -> None:
    """Replace status.json."""
    write_json(run.status, asdict(status), durable=False)


def read_status(run: RunDir) -> Status | None:
    """Return the run's status, None when there is none yet; RecordError when the file is damaged."""
    data = read_json(run.status)
    if data is None:
        return None
    known = {name: data[name] for name in Status.__dataclass_fields__ if name in data}
    status = Status(**known)
    for name in ("env_steps", "total_env_steps", "heartbeat", "env_steps_per_s"):
        if not isinstance(getattr(status, name), (int, float)):
            raise RecordError(f"{run.status}: {name} is {getattr(status, name)!r}, a number is expected")
    if status.state not in STATES:
        raise RecordError(f"{run.status}: state is {status.state!r}, one of {', '.join(STATES)} is expected")
    return status


def plan_path(study: Path) -> Path:
    """Return the path of a study's plan."""
    return study / "plan.json"


def read_plan(study: Path) -> dict[str, Any] | None:
    """Return a study's plan, None when it has none; RecordError when it is damaged."""
    plan = read_json(plan_path(study))
    if plan is not None and not isinstance(plan.get("runs"), list):
        raise RecordError(f"{plan_path(study)}: 'runs' must be a list")
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
