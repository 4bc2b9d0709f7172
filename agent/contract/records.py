"""The typed records of a run and a study folder: what each JSON file holds, with one reader and one writer for all.

A record is read strictly: a missing key, a value of another type or out of its range is damage, and the error names
file, key, what is there and what is expected. Keys that a newer version added are kept as they are. Imports neither JAX
nor an environment.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.contract.files import RecordError, read_plain, write_bytes

StateWord = Literal["running", "done", "failed", "stopped"]
Count = Annotated[int, Field(ge=0, le=10**15)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]  # unix times and durations


class Record(BaseModel):
    """An object in a JSON file; a file must have the keys of `always`, though a new record has defaults for them."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    always: ClassVar[tuple[str, ...]] = ()


R = TypeVar("R", bound=Record)


class Status(Record):
    """The state of a run as its own process last wrote it; `heartbeat` and `started` are unix seconds."""

    always = ("state", "env_steps", "total_env_steps", "heartbeat", "started", "attempt")
    state: StateWord = "running"
    env_steps: Count = 0
    total_env_steps: Count = 0
    updates: Count = 0
    env_steps_per_s: float = 0.0
    heartbeat: Seconds = 0.0
    started: Seconds = 0.0
    phase: str = ""
    reason: str | None = None
    message: str | None = None
    job_id: str | None = None
    attempt: Count = 0
    host: str = ""
    device: str = ""
    pack: Count = 1


class RowsMark(Record):
    """The rows of a file as the run has written them: their number, bytes and SHA-256."""

    rows: Count
    bytes: Count
    sha256: str


class Result(Record):
    """What a complete run ends with, written last; `rows` vouches for its metrics and scores, by their files' names."""

    env_steps: Count
    frames: Count
    updates: Count
    final_score: float | None
    config_hash: str
    walltime_s: Seconds = 0.0
    pack: Count = 1
    rows: dict[str, RowsMark] = {}


class Provenance(Record):
    """What a run was computed with; `code_tree` names frozen code, else `git_sha` and `dirty` do as far as known."""

    packages: dict[str, str]
    device: str
    config_hash: str
    git_sha: str | None = None
    dirty: str | None = None
    code_tree: str | None = None


class ScoreRow(Record):
    """One evaluation, a line of scores.jsonl."""

    env_steps: Count
    frames: Count
    mean: float
    success: float | None = None
    metric: str = "return"

    @property
    def score(self) -> float | None:
        """What tables show of it."""
        return self.success if self.metric == "success" else self.mean


class Saved(Record):
    """What everybody may know of a run's latest checkpoint; the rest is the agent's."""

    env_steps: Count


class ProcessIdentity(Record):
    """What tells a process from a later one with the same number: host, boot and start time as Linux gives them."""

    pid: Count
    host: str
    boot: str = ""
    start: str = ""


class Holder(ProcessIdentity):
    """The holder of a lease."""

    owner: str
    job_id: str | None = None
    since: Seconds = 0.0


class AttemptRecord(Record):
    """One try at a run, written by the job that made it; `reason` and what follows once the process has ended.

    `restart` counts the lives of its Slurm job; `env_steps_before` is the step of the checkpoint that it went on from;
    `device_seconds` are its seconds of the job's device, those that it shared counted in part, `lost_s` those of the
    clock that no checkpoint kept.
    """

    attempt: Count
    started: Seconds
    launch: str
    job: Count = 0
    job_id: str = ""
    restart: Count = 0
    host: str = ""
    device: str = ""
    gpus: Count = 0
    pack: Annotated[int, Field(ge=1, le=10**6)] = 1
    mode: str = ""
    code_tree: str = ""
    env_steps_before: Count = 0
    pid: Count | None = None
    ended: Seconds | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    asked_to_stop: bool = False
    env_steps_after: Count | None = None
    device_seconds: Seconds | None = None
    gpu_seconds: Seconds | None = None
    lost_s: Seconds | None = None


class PlannedRun(Record):
    """A run as the plan names it; `kind` is shared by runs that cost the same."""

    task: str
    method: str
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)]
    config_hash: str
    kind: str = ""


class EstimateRecord(Record):
    """Device-hours that planned runs were expected to take: of all, null while some are unknown, and of the known."""

    hours: Seconds | None
    known_hours: Seconds
    measured: Count
    unknown: Count


class Plan(Record):
    """The frozen grid of a study; `settings` shaped its first runs, `labels` are what readers call others' methods."""

    runs: list[PlannedRun]
    format: Count = 1
    study: str = ""
    grid: str = ""
    settings: str = ""
    created: Seconds | None = None
    code: dict[str, Any] = Field(default_factory=dict[str, Any])
    estimate: EstimateRecord | None = None
    labels: dict[str, str] = Field(default_factory=dict[str, str])


def read_record(path: Path, kind: type[R]) -> R | None:
    """Return the record in a file, None when there is no file; RecordError names the file and what is wrong in it."""
    text = read_plain(path)
    return None if text is None else parse_record(text, kind, path)


def parse_record(text: bytes, kind: type[R], where: object) -> R:
    """Return the record that a JSON text holds; RecordError beginning with `where` when it holds none."""
    try:
        record = kind.model_validate_json(text)
    except ValidationError as error:
        raise RecordError(f"{where}: {_fault(text, error)}") from None
    for key in kind.always:
        if key not in record.model_fields_set:
            raise RecordError(f"{where}: {key} is missing")
    return record


def write_record(path: Path, record: Record, *, durable: bool = True) -> None:
    """Replace a file by a record, in one step."""
    write_bytes(path, (record.model_dump_json(indent=1) + "\n").encode(), durable=durable)


def _fault(text: bytes, error: ValidationError) -> str:
    """Return the first fault as one line: the key, what is there, what is expected."""
    fault = error.errors(include_url=False, include_context=False)[0]
    if not text.strip(b" \t\r\n\0"):
        return "is empty"
    if fault["type"] == "json_invalid":
        return f"not JSON ({fault['msg'].removeprefix('Invalid JSON: ')})"
    key = ".".join(map(str, fault["loc"])) or "its content"
    if fault["type"] == "missing":
        return f"{key} is missing"
    expected = fault["msg"].removeprefix("Input should be ").replace("'", "")
    return f"{key} is {_shown(fault['input'])}, {expected} is expected"


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}…"
