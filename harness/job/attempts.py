"""Attempts: what is recorded of every try at a run, in its `attempts/N/attempt.json`."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.contract import exit_codes
from agent.contract.files import RecordError
from agent.contract.reasons import Reason
from agent.contract.records import AttemptRecord, write_record
from agent.contract.run_folder import RunDir, read_attempt, read_status, saved_steps
from harness.job.allocation import Gpu, finished, job_id, restarts
from harness.study.records import PackRecord

OWN_FAULTS = (Reason.CODE_ERROR, Reason.NAN, Reason.WRONG_INPUT, Reason.GPU_OOM, Reason.CHECKPOINT)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


@dataclass
class Attempt:
    """One try at one run: the folder its output goes to, and what is recorded of it."""

    run: RunDir
    folder: Path
    record: AttemptRecord

    @classmethod
    def begin(cls, run: RunDir, launch: str, pack: PackRecord, gpu: Gpu | None) -> Attempt:
        """Make the next attempt's folder and record where it runs, with what, and from which step it goes on."""
        number, folder = run.new_attempt()
        record = AttemptRecord(
            attempt=number,
            launch=launch,
            job=pack.number,
            job_id=job_id(),
            restart=restarts(),
            host=socket.gethostname(),
            device=gpu.kind if gpu else "cpu",
            gpus=1 if gpu else 0,
            pack=len(pack.runs),
            mode=pack.mode,
            code_tree=Path(pack.code).name,  # the frozen tree is named by its content
            started=time.time(),
            env_steps_before=saved_steps(run),
        )
        attempt = cls(run, folder, record)
        attempt.write()
        return attempt

    def write(self, **changes: Any) -> None:
        """Replace attempt.json with these changes; where the disk is full, training is not ended over it."""
        self.record = self.record.model_copy(update=changes)
        try:
            write_record(self.folder / "attempt.json", self.record, durable=False)
        except OSError as error:
            print(f"{self.folder}: not recorded: {error}", file=sys.stderr)

    def close(self, code: int, ended: float, device_s: float, *, asked: bool) -> None:
        """Record how it ended, as far as its own process can tell; `diagnose` looks further.

        `device_s` are its seconds of the job's device, those that it shared counted in part.
        """
        reason, message = self._reason(code, asked)
        self.write(
            ended=ended,
            exit_code=code,
            reason=str(reason),
            message=message,
            asked_to_stop=asked,
            env_steps_after=saved_steps(self.run),
            device_seconds=device_s,
            gpu_seconds=device_s * self.record.gpus,
            lost_s=0.0 if reason is Reason.DONE else lost_s(self.run, self.record.started, ended),
        )

    def _reason(self, code: int, asked: bool) -> tuple[Reason, str | None]:
        if finished(self.run):
            return Reason.DONE, None
        if code == exit_codes.STOPPED:
            return Reason.STOPPED, f"asked to stop; {self._next()}"
        if code == exit_codes.WRONG_INPUT:
            return Reason.WRONG_INPUT, "its input was refused; stderr.log says why"
        if code < 0 and asked and -code in STOP_SIGNALS:
            return Reason.STOPPED, f"asked to stop before it listened; {self._next()}"
        if code < 0:
            return Reason.KILLED, f"killed by {signal_name(-code)}"
        status = None
        with contextlib.suppress(RecordError):
            status = read_status(self.run)
        if status is None or status.attempt != self.record.attempt:  # what is there is an earlier one's
            return Reason.CODE_ERROR, f"exit code {code}"
        known = status.reason in {reason.value for reason in Reason}
        return Reason(status.reason) if known else Reason.CODE_ERROR, status.message or f"exit code {code}"

    def _next(self) -> str:
        return "continues from its checkpoint" if saved_steps(self.run) else "begins anew, as it left no checkpoint"


def signal_name(number: int) -> str:
    """Return a signal's name, or its number where it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def broke(record: AttemptRecord | None, launch: str) -> bool:
    """Return whether a job of this launch ended the run by a fault of its own, so that it must not run there again."""
    return record is not None and record.launch == launch and record.ended is not None and record.reason in OWN_FAULTS


def latest(run: RunDir) -> tuple[int, AttemptRecord | None]:
    """Return the number of the latest attempt, 0 without one, and its record where there is one.

    Raises: RecordError where that is damaged.
    """
    numbers = run.attempt_numbers()
    return (numbers[-1], read_attempt(run, numbers[-1])) if numbers else (0, None)


def lost_s(run: RunDir, started: float, ended: float) -> float:
    """Return the seconds of an attempt that the latest checkpoint does not hold."""
    try:
        saved = (run.checkpoint / "latest.json").stat().st_mtime
    except OSError:
        saved = 0.0
    return max(0.0, ended - max(started, min(saved, ended)))
