"""A training process of a job: started for our agent or by another one's command, asked to stop, and ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.contract.files import RecordError
from agent.contract.variables import ATTEMPT
from harness.job.attempts import Attempt
from harness.job.keeper import Keeper
from harness.study.other_agent import PYTHON

TRAIN = ("-m", "agent.train", "--runs")
KILL_AFTER_S = 100.0  # of a command that was asked to stop; our own agent is given the time that it takes
DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


@dataclass
class Process:
    """A training process, the attempts it makes, and the seconds it had the job's device, shared ones in part.

    `keeper` is there for a command, which may have started others.
    """

    attempts: list[Attempt]
    popen: subprocess.Popen[bytes]
    keeper: Keeper | None = None
    asked: bool = False
    asked_at: float = 0.0
    device_s: float = 0.0
    ended: float | None = field(default=None)

    def stop(self) -> None:
        """Ask it to write a checkpoint and end."""
        self.asked, self.asked_at = True, self.asked_at or time.monotonic()
        self._signal(signal.SIGTERM)

    def keep(self) -> None:
        """Do for a command what our agent does by itself; one that does not end when it is asked to is killed."""
        if self.keeper is None:
            return
        try:
            self.keeper.beat()
        except RecordError as error:
            print(f"{error}; its process is ended", file=sys.stderr)
            self._signal(signal.SIGKILL)
        if self.asked and time.monotonic() - self.asked_at > KILL_AFTER_S:
            self._signal(signal.SIGKILL)

    def close(self, ended: float) -> None:
        """Record its end in its attempts."""
        self.ended = ended
        if self.keeper is not None:
            self._signal(signal.SIGKILL)  # what it has left behind
        share = self.device_s / len(self.attempts)
        for attempt in self.attempts:
            attempt.close(self.popen.returncode, ended, share, asked=self.asked)
            if self.keeper is not None:
                self.keeper.end()

    def _signal(self, number: signal.Signals) -> None:
        others = [] if self.keeper is None else _started_by(self.attempts[0])
        with contextlib.suppress(ProcessLookupError):
            self.popen.send_signal(number)
        for pid in others:
            if pid != self.popen.pid:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)


def _started_by(attempt: Attempt) -> list[int]:
    """Return the processes of an attempt, by what their environment says.

    A group of their own would hide them from a Slurm that knows a job's processes by their group (proctrack/pgid).
    """
    mark = f"{ATTEMPT}={attempt.folder}".encode()
    found: list[int] = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in place.read_bytes().split(b"\0"):
                found.append(int(place.parent.name))
    return found


def start(
    attempts: list[Attempt],
    train: Sequence[str],
    keeper: Keeper | None,
    *,
    environ: Mapping[str, str],
    code: str,
    cores: Sequence[int],
    pass_fds: Sequence[int],
) -> Process:
    """Return the process that makes these attempts, started in the frozen code, its output in their folders.

    `train` is another agent's command, empty for ours; the folders of the runs are its last words.
    """
    first = attempts[0]
    program = (
        [sys.executable, *TRAIN] if not train else [sys.executable, *train[1:]] if train[0] == PYTHON else [*train]
    )
    with (
        open(first.folder / "stdout.log", "wb") as out,
        open(first.folder / "stderr.log", "wb") as err,
        _cores_for_child(cores),
    ):
        popen = subprocess.Popen(
            [*program, *(str(attempt.run.path) for attempt in attempts)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**environ, ATTEMPT: str(first.folder)},
            cwd=code,
            pass_fds=pass_fds,
            preexec_fn=None if keeper is None else _end_with_parent,
        )
    for other in attempts[1:]:  # one process, one pair of logs, found from each of its runs
        for name in ("stdout.log", "stderr.log"):
            os.link(first.folder / name, other.folder / name)
    if keeper is not None:
        keeper.lease.hand_to(popen.pid)
    for attempt in attempts:
        attempt.write(pid=popen.pid)
    return Process(attempts, popen, keeper)


LIBC = ctypes.CDLL(None)


def _end_with_parent() -> None:
    """In a new process: let Linux ask it to stop when the worker is gone, as nobody then keeps its run for it."""
    if hasattr(LIBC, "prctl"):
        LIBC.prctl(DEATH_SIGNAL, signal.SIGTERM)


@contextlib.contextmanager
def _cores_for_child(mine: Sequence[int]) -> Generator[None]:
    """Start children inside the block on these cores only: XLA sizes its thread pool by them."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, mine)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
