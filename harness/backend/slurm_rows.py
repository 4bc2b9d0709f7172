"""The answers of squeue and sacct as typed rows, read by the names in their header, never trusting a line's length."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from agent.contract.reasons import Reason
from harness.backend.base import Exit, Life, Phase

QUEUE_FIELDS = (
    ("JobArrayID", 32), ("JobID", 16), ("Name", 120), ("State", 20), ("Reason", 60), ("NodeList", 60),
    ("SubmitTime", 20), ("StartTime", 20), ("exit_code", 9), ("RestartCnt", 11),
)  # fmt: skip
ACCT_FIELDS = (
    "JobID", "JobIDRaw", "JobName", "State", "ExitCode", "Submit", "Start", "End", "ElapsedRaw", "NodeList",
    "Reason",
)  # fmt: skip
OUT_OF_MEMORY = "OUT_OF_MEMORY"
WORDS = {  # Slurm's words for a job's state, where it is by them, and what Slurm did to it; in all others it runs
    "PENDING": (Phase.WAITING, None),
    "REQUEUED": (Phase.WAITING, Reason.STOPPED),
    "REQUEUE_FED": (Phase.WAITING, None),
    "REQUEUE_HOLD": (Phase.WAITING, None),
    "RESV_DEL_HOLD": (Phase.WAITING, None),
    "SPECIAL_EXIT": (Phase.WAITING, None),
    "COMPLETED": (Phase.ENDED, None),
    "FAILED": (Phase.ENDED, None),
    OUT_OF_MEMORY: (Phase.ENDED, Reason.HOST_OOM),
    "NODE_FAIL": (Phase.ENDED, Reason.NODE_FAILURE),
    "BOOT_FAIL": (Phase.ENDED, Reason.NODE_FAILURE),
    "PREEMPTED": (Phase.ENDED, Reason.PREEMPTED),
    "TIMEOUT": (Phase.ENDED, Reason.TIMEOUT),
    "DEADLINE": (Phase.ENDED, Reason.TIMEOUT),
    "CANCELLED": (Phase.ENDED, Reason.CANCELLED),
    "REVOKED": (Phase.UNKNOWN, None),  # a sibling on another cluster of a federation has started instead
}
RUNNING = (Phase.RUNNING, None)
LARGEST_ARRAY = 100_000  # Slurm's own limit is 4 000 001, its default 1001
INDICES = r"[0-9]{1,8}(?:-[0-9]{1,8}(?::[0-9]{1,8})?)?"
ARRAY = re.compile(rf"(\d+)_\[({INDICES}(?:,{INDICES})*)(?:%\d+)?\]")


@dataclass(frozen=True)
class QueueRow:
    """One line of squeue."""

    id: str
    name: str
    phase: Phase
    cause: Reason | None
    reason: str
    submit: float | None
    exit: Exit | None
    restarts: int


@dataclass(frozen=True)
class AcctRow:
    """One allocation of one job from sacct; `name` is 'allocation' where a job was cancelled before it began."""

    id: str
    name: str
    phase: Phase
    submit: float | None
    life: Life
    reason: str


def queue_format() -> str:
    """Return squeue's `--Format` for `read_squeue`."""
    return ",".join(f"{name}:{width}|" for name, width in QUEUE_FIELDS)


def read_squeue(text: str) -> list[QueueRow]:
    """Return squeue's lines; a line that is none of ours is left out."""
    rows: list[QueueRow] = []
    names = [name for name, _ in QUEUE_FIELDS]
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) < len(names) or not cells[0][:1].isdigit():
            continue
        row = dict(zip(names, cells, strict=False))
        status = _number(row["exit_code"])  # the wait status, as it is
        phase, cause = WORDS.get(_state(row), RUNNING)
        rows.append(
            QueueRow(
                id=row["JobArrayID"],
                name=row["Name"],
                phase=phase,
                cause=cause,
                reason="" if row["Reason"] == "None" else row["Reason"],
                submit=read_time(row["SubmitTime"]),
                exit=None if status is None else Exit(status >> 8, status & 127),
                restarts=_number(row["RestartCnt"]) or 0,
            )
        )
    return rows


def read_sacct(text: str) -> list[AcctRow]:
    """Return sacct's allocations in its order, steps folded into them, id ranges like `7_[2-4,6%2]` written out."""
    lines = text.splitlines()
    header = lines[0].split("|") if lines else []
    rows: list[AcctRow] = []
    for line in lines[1:]:
        row = dict(zip(header, line.split("|"), strict=False))
        job_id, dot, _ = row.get("JobID", "").partition(".")
        if not dot:
            life = _life(row)
            reason = "" if row.get("Reason") == "None" else row.get("Reason", "")
            submit = read_time(row.get("Submit", ""))
            phase, _ = WORDS.get(_state(row), RUNNING)
            rows += [AcctRow(i, row.get("JobName", ""), phase, submit, life, reason) for i in expand_ids(job_id)]
        elif rows and rows[-1].id == job_id and _state(row) == OUT_OF_MEMORY:  # under srun it is told here only
            rows[-1] = replace(rows[-1], life=replace(rows[-1].life, cause=Reason.HOST_OOM))
    return rows


def _state(row: dict[str, str]) -> str:
    return row.get("State", "").partition(" ")[0].rstrip("+")  # 'CANCELLED by 1000'


def _life(row: dict[str, str]) -> Life:
    elapsed, nodes = row.get("ElapsedRaw", ""), row.get("NodeList", "")
    return Life(
        cause=WORDS.get(_state(row), RUNNING)[1],
        exit=read_exit(row.get("ExitCode", "")),
        start=read_time(row.get("Start", "")),
        end=read_time(row.get("End", "")),
        elapsed_s=_number(elapsed) or 0,
        nodes="" if nodes == "None assigned" else nodes,
    )


def read_time(text: str) -> float | None:
    """Return unix seconds of a UTC time as Slurm prints it, None for 'Unknown', 'N/A', 'None' and the like."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def read_exit(text: str) -> Exit | None:
    """Return `code:signal` of sacct and scontrol, None where there is none."""
    match = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
    return Exit(int(match[1]), int(match[2])) if match else None


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def expand_ids(text: str) -> list[str]:
    """Return the single ids of `7`, `7_3` or `7_[0-2,5%4]`; what is no array that Slurm could have is left as it is."""
    match = ARRAY.fullmatch(text)
    if match is None:
        return [text]
    ids: list[str] = []
    for part in match[2].split(","):
        bounds, _, stride = part.partition(":")
        first, _, last = bounds.partition("-")
        steps = range(int(first), int(last or first) + 1, max(int(stride or 1), 1))
        if len(ids) + len(steps) > LARGEST_ARRAY:
            return [text]
        ids += [f"{match[1]}_{i}" for i in steps]
    return ids
