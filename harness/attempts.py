"""Attempts: what is recorded of every try at a run, in its `attempts/N/attempt.json`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.files import RecordError, read_json, write_json
from agent.record import RunDir, read_status
from harness.jobenv import Gpu, finished, job_id

OWN_FAULTS = ("code_error", "nan", "wrong_input", "gpu_oom", "checkpoint")
STOPPED_CODE = 75  # agent.train's exit code after a checkpoint on request
INPUT_CODE = 2  # and when its input is wrong


@dataclass
class Attempt:
    """One try at one run: the folder its output goes to, and what is recorded of it."""

    run: RunDir
    folder: Path
    record: dict[str, Any]

    @classmethod
    def begin(cls, run: RunDir, launch: str, pack: Mapping[str, Any], gpu: Gpu | None) -> Attempt:
        """Make the next attempt's folder and record where it runs, with what, and from which step it goes on."""
        number, folder = run.new_attempt()
        record = {
            "attempt": number,
            "launch": launch,
            "job": pack["number"],
            "job_id": job_id(),
            "restart": int(os.environ.get("SLURM_RESTART_COUNT", "0")),
            "host": socket.gethostname(),
            "device": gpu.kind if gpu else "cpu",
            "gpus": 1 if gpu else 0,
            "pack": len(pack["runs"]),
            "mode": pack["mode"],
            "code_tree": Path(pack["code"]).name,  # the frozen tree is named by its content
            "started": time.time(),
            "env_steps_before": saved_steps(run),
        }
        attempt = cls(run, folder, record)
        attempt.write()
        return attempt

    def write(self, **changes: Any) -> None:
        """Replace attempt.json with these changes; where the disk is full, training is not ended over it."""
        self.record |= changes
        try:
            write_json(self.folder / "attempt.json", self.record, durable=False)
        except OSError as error:
            print(f"{self.folder}: not recorded: {error}", file=sys.stderr)

    def close(self, code: int, ended: float, device_s: float, *, asked: bool) -> None:
        """Record how it ended, as far as its own process can tell; `diagnose` looks further.

        `device_s` are its seconds of the job's device, those that it shared counted in part.
        """
        reason, message = self._reason(code)
        self.write(
            ended=ended,
            exit_code=code,
            reason=reason,
            message=message,
            asked_to_stop=asked,
            env_steps_after=saved_steps(self.run),
            device_seconds=device_s,
            gpu_seconds=device_s * self.record["gpus"],
            lost_s=0.0 if reason == "done" else lost_s(self.run, self.record["started"], ended),
        )

    def _reason(self, code: int) -> tuple[str, str | None]:
        if finished(self.run):
            return "done", None
        if code == STOPPED_CODE:
            return "stopped", "asked to stop; continues from its checkpoint"
        if code == INPUT_CODE:
            return "wrong_input", "its input was refused; stderr.log says why"
        if code < 0:
            return "killed", f"killed by {signal.Signals(-code).name}"
        status = None
        with contextlib.suppress(RecordError):
            status = read_status(self.run)
        reason = (status.reason if status else None) or "error"
        return reason, (status.message if status else None) or f"exit code {code}"


def broke(record: Mapping[str, Any], launch: str) -> bool:
    """Return whether a job of this launch ended the run by a fault of its own, so that it must not run there again."""
    return record.get("launch") == launch and "ended" in record and record.get("reason") in OWN_FAULTS


def latest(run: RunDir) -> dict[str, Any]:
    """Return the record of the latest attempt, with its number; empty when there is none."""
    numbers = run.attempt_numbers()
    if not numbers:
        return {}
    try:
        return {"attempt": numbers[-1], **(read_json(run.attempts / str(numbers[-1]) / "attempt.json") or {})}
    except RecordError:
        return {"attempt": numbers[-1]}


def saved_steps(run: RunDir) -> int:
    """Return the environment step of a run's latest checkpoint, 0 without one."""
    with contextlib.suppress(RecordError):
        return int((read_json(run.checkpoint / "latest.json") or {}).get("env_steps", 0))
    return 0


def lost_s(run: RunDir, started: float, ended: float) -> float:
    """Return the seconds of an attempt that the latest checkpoint does not hold."""
    try:
        saved = (run.checkpoint / "latest.json").stat().st_mtime
    except OSError:
        saved = 0.0
    return max(0.0, ended - max(started, min(saved, ended)))
