"""The answers of squeue and sacct as typed rows, read by the names in their header, never trusting a line's length."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

QUEUE_FIELDS = (
    ("JobArrayID", 32), ("JobID", 16), ("Name", 120), ("State", 20), ("Reason", 60), ("NodeList", 60),
    ("SubmitTime", 20), ("StartTime", 20), ("exit_code", 9), ("RestartCnt", 11),
)  # fmt: skip
ACCT_FIELDS = (
    "JobID", "JobIDRaw", "JobName", "State", "ExitCode", "Submit", "Start", "End", "ElapsedRaw", "AllocTRES",
    "NodeList", "Reason",
)  # fmt: skip
OOM_SIGNAL = 125  # Slurm's own mark of an out-of-memory kill
SHORTENED = frozenset({6, 7, 9, 11, 15})  # no program of ours exits with these codes by itself


@dataclass(frozen=True)
class Exit:
    """How a job or step ended: exit code and signal."""

    code: int
    signal: int

    @property
    def killed_by(self) -> int | None:
        """The signal that ended it: as a signal, as a shell's 128 + signal, or as sacct shortens that (137 to 9)."""
        if self.signal:
            return None if self.signal == OOM_SIGNAL else self.signal
        if 128 < self.code < 160:
            return self.code - 128
        return self.code if self.code in SHORTENED else None


@dataclass(frozen=True)
class Step:
    """One step of a job (`batch`, `0`, …): where an out-of-memory kill under srun is told, and nowhere else."""

    name: str
    state: str
    exit: Exit | None


@dataclass(frozen=True)
class Life:
    """One allocation of a job; a requeued job has had several. Times are unix seconds."""

    state: str
    exit: Exit | None = None
    start: float | None = None
    end: float | None = None
    elapsed_s: int = 0
    gpus: int = 0
    nodes: str = ""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class QueueRow:
    """One line of squeue."""

    id: str
    name: str
    state: str
    reason: str
    nodes: str
    submit: float | None
    start: float | None
    exit: Exit | None
    restarts: int


@dataclass(frozen=True)
class AcctRow:
    """One allocation of one job from sacct; `name` is 'allocation' where a job was cancelled before it began."""

    id: str
    name: str
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
        status = int(row["exit_code"]) if row["exit_code"].isdigit() else None  # the wait status, as it is
        rows.append(
            QueueRow(
                id=row["JobArrayID"],
                name=row["Name"],
                state=row["State"].partition(" ")[0],
                reason="" if row["Reason"] == "None" else row["Reason"],
                nodes=row["NodeList"],
                submit=read_time(row["SubmitTime"]),
                start=read_time(row["StartTime"]),
                exit=None if status is None else Exit(status >> 8, status & 127),
                restarts=int(row["RestartCnt"]) if row["RestartCnt"].isdigit() else 0,
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
        job_id, dot, step = row.get("JobID", "").partition(".")
        if not dot:
            life = _life(row)
            reason = "" if row.get("Reason") == "None" else row.get("Reason", "")
            submit = read_time(row.get("Submit", ""))
            rows += [AcctRow(i, row.get("JobName", ""), submit, life, reason) for i in expand_ids(job_id)]
        elif rows and rows[-1].id == job_id:
            ended = Step(step, _state(row), read_exit(row.get("ExitCode", "")))
            rows[-1] = replace(rows[-1], life=replace(rows[-1].life, steps=(*rows[-1].life.steps, ended)))
    return rows


def _state(row: dict[str, str]) -> str:
    return row.get("State", "").partition(" ")[0].rstrip("+")  # 'CANCELLED by 1000'


def _life(row: dict[str, str]) -> Life:
    elapsed, nodes = row.get("ElapsedRaw", ""), row.get("NodeList", "")
    return Life(
        state=_state(row),
        exit=read_exit(row.get("ExitCode", "")),
        start=read_time(row.get("Start", "")),
        end=read_time(row.get("End", "")),
        elapsed_s=int(elapsed) if elapsed.isdigit() else 0,
        gpus=read_gpus(row.get("AllocTRES", "")),
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
    match = re.fullmatch(r"(\d+):(\d+)", text)
    return Exit(int(match[1]), int(match[2])) if match else None


def read_gpus(tres: str) -> int:
    """Return the number of GPUs in `cpu=4,gres/gpu=2,…`, also where only a typed `gres/gpu:a100=2` is told."""
    plain = re.search(r"(?:^|,)gres/gpu=(\d+)", tres)
    return int(plain[1]) if plain else sum(int(n) for n in re.findall(r"(?:^|,)gres/gpu:[^=,]+=(\d+)", tres))


def expand_ids(text: str) -> list[str]:
    """Return the single ids of `7`, `7_3` or `7_[0-2,5%4]`."""
    match = re.fullmatch(r"(\d+)_\[([\d,:-]+)(?:%\d+)?\]", text)
    if match is None:
        return [text]
    ids: list[str] = []
    for part in match[2].split(","):
        bounds, _, stride = part.partition(":")
        first, _, last = bounds.partition("-")
        ids += [f"{match[1]}_{i}" for i in range(int(first), int(last or first) + 1, int(stride or 1))]
    return ids
