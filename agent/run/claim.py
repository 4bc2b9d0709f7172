"""A run as its process holds it and others see it: the lease, the status that is renewed, and how the attempt ended."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from contextlib import suppress

from agent.contract import files, run_folder
from agent.contract.lease import PATIENCE_S, Lease
from agent.contract.records import StateWord, Status
from agent.contract.run_folder import RunDir
from agent.contract.variables import WORKER
from agent.run.checkpoint import Found


class Claim:
    """Holds a run from its beginning until `end` or `abandon`. `status` is what is written at the next heartbeat."""

    def __init__(self, run: RunDir, *, total_env_steps: int, pack_size: int, job_id: str | None) -> None:
        """Claim the run; RecordError when it is another's."""
        self.run = run
        self.lease = Lease.claim(run, job_id=job_id)
        self._told = time.time()
        try:
            self.attempt = self._attempt()
            self.status = Status(
                total_env_steps=total_env_steps, started=time.time(), job_id=job_id, attempt=self.attempt,
                pack=pack_size, host=socket.gethostname(), phase="starting", heartbeat=time.time(),
            )  # fmt: skip
            with suppress(files.RecordError):  # a damaged one is replaced
                before = run_folder.read_status(run)
                self.status.env_steps = before.env_steps if before else 0
            run_folder.write_status(run, self.status)
        except BaseException:
            self.lease.release()
            raise

    def _attempt(self) -> int:
        numbers = self.run.attempt_numbers()
        return numbers[-1] if numbers and os.environ.get(WORKER) else self.run.new_attempt()[0]

    def beat(self, *, last: bool = False) -> None:
        """Renew the lease and write status.json; RecordError when the lease was taken over.

        A file system that does not answer for a moment is borne for a while, a full disk and the last status are not.
        """
        self.lease.beat()
        now = self.status.heartbeat = time.time()
        try:
            run_folder.write_status(self.run, self.status)
        except OSError as error:
            if last or error.errno in (errno.ENOSPC, errno.EDQUOT) or now - self._told > PATIENCE_S:
                raise
        else:
            self._told = now

    def _ended(self, state: StateWord, reason: str | None, message: str | None) -> None:
        status = self.status
        status.state, status.reason, status.message, status.phase = state, reason, message, "ended"

    def end(self, state: StateWord, reason: str | None = None, message: str | None = None) -> None:
        """Write the last status and give the run back."""
        self._ended(state, reason, message)
        try:
            self.beat(last=True)
        finally:
            self.lease.release()

    def abandon(self, state: StateWord, reason: str, message: str) -> None:
        """Do as `end` from beside a thread that may never return, and whatever the disk says."""
        self._ended(state, reason, message)
        self.status.heartbeat = time.time()
        with suppress(OSError):
            run_folder.write_status(self.run, self.status)
        self.lease.release()

    def fell_back(self, found: Found) -> None:
        """Say in status, provenance and on stderr that a damaged checkpoint was passed over."""
        lost = "an unknown number of" if found.lost is None else str(found.lost)
        steps = found.index["env_steps"]
        self.status.message = f"{found.damage}; goes on from the checkpoint before, at step {steps}: {lost} steps lost"
        print(f"{self.run.path}: {self.status.message}", file=sys.stderr, flush=True)
        event = {"attempt": self.attempt, "damage": found.damage, "env_steps": steps, "lost_steps": found.lost}
        try:
            known = files.read_json(self.run.provenance) or {}
            files.write_json(self.run.provenance, known | {"damaged": [*known.get("damaged", []), event]})
        except (OSError, files.RecordError, TypeError) as error:
            print(f"{self.run.path}: this could not be added to its provenance: {error}", file=sys.stderr, flush=True)
