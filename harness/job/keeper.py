"""What a job does for a run that a command trains: its lease, the rows of earlier attempts, heartbeat and status.

Our own agent does all this by itself. A command that writes status.json keeps it: from then on it is left alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass, field

from agent.contract.files import RecordError, keep_rows
from agent.contract.lease import Lease
from agent.contract.reasons import Reason
from agent.contract.records import Status
from agent.contract.run_folder import RunDir, last_score, read_result, read_status, saved_steps, write_status
from harness.job.attempts import Attempt

BEAT_S = 10.0
ANEW = "began anew, as no checkpoint was left; what it had written is kept in its last attempt's folder"


@dataclass
class Keeper:
    """The right to a run, held for the process that trains it, and what is said of it."""

    run: RunDir
    lease: Lease
    status: Status
    attempt: Attempt | None = None
    beat_at: float = field(default_factory=time.monotonic)

    @classmethod
    def claim(cls, run: RunDir, job_id: str, steps: int | None) -> Keeper:
        """Return the keeper of a run; RecordError naming the holder where another process writes there."""
        lease = Lease.claim(run, job_id=job_id)
        return cls(run, lease, Status(job_id=job_id, total_env_steps=steps or 0))

    def begin(self, made: Attempt) -> None:
        """Clear the rows that the command will write again, and say that an attempt runs."""
        self.attempt, attempt = made, made.record
        anew = _clear_rows(self.run, attempt.attempt)
        self.status = self.status.model_copy(
            update={
                "env_steps": attempt.env_steps_before, "started": attempt.started, "heartbeat": attempt.started,
                "attempt": attempt.attempt, "host": attempt.host, "device": attempt.device, "pack": attempt.pack,
                "phase": "training", "message": ANEW if anew else None,
            }
        )  # fmt: skip
        write_status(self.run, self.status)

    def beat(self) -> None:
        """Renew the lease, and the status with the step of the latest row, when it is time.

        Raises: RecordError when the run is another's now.
        """
        if time.monotonic() - self.beat_at < BEAT_S:
            return
        self.beat_at = time.monotonic()
        self.lease.beat()
        with contextlib.suppress(RecordError):  # no row yet, or one that is being written
            self._say(env_steps=last_score(self.run).env_steps)
            return
        self._say()

    def give_up(self, error: BaseException) -> None:
        """Give the run back as its command could not be started, and say why."""
        if self.attempt is not None and isinstance(error, OSError):
            message = f"the command could not be started: {error}"
            self._say(state="failed", reason=str(Reason.NOT_STARTED), message=message, phase="ended")
            self.attempt.write(ended=time.time(), reason=str(Reason.NOT_STARTED), message=message)
        self.lease.release()

    def end(self) -> None:
        """Say how the attempt ended, as its record has it, and give the run back."""
        assert self.attempt is not None
        reason, message = self.attempt.record.reason, self.attempt.record.message
        if reason == Reason.DONE and (result := read_result(self.run)) is not None:
            self._say(state="done", message=None, phase="ended", env_steps=result.env_steps)
        elif reason == Reason.STOPPED:
            self._say(state="stopped", reason="stopped", message=message, phase="ended")
        else:  # why is for the diagnosis, which sees its stderr and the job's end
            self._say(state="failed", message=None, phase="ended")
        self.lease.release()

    def _say(self, **changes: object) -> None:
        """Replace status.json, unless the command has begun to write it."""
        try:
            if read_status(self.run) != self.status:
                return
            self.status = self.status.model_copy(update={"heartbeat": time.time(), **changes})
            write_status(self.run, self.status)
        except (OSError, RecordError) as error:
            print(f"{self.run.status}: not kept: {error}", file=sys.stderr)


def _clear_rows(run: RunDir, number: int) -> bool:
    """Cut the rows of earlier attempts behind the checkpoint; without one move them, and return whether there were any.

    They go to the folder of the attempt before this `number`.
    """
    steps, moved = saved_steps(run), False
    for path in (run.scores, run.metrics):
        if steps:
            keep_rows(path, lambda row: not isinstance(at := row.get("env_steps"), int) or at <= steps)
        elif os.path.lexists(path):
            aside = run.attempts / str(number - 1)
            aside.mkdir(parents=True, exist_ok=True)
            os.rename(path, aside / path.name)
            moved = True
    return moved
