"""Ends a process in which an environment does not come back from a step: nothing in it could do so by itself.

Python cannot interrupt an environment's own code, nor does a signal's handler run while it goes on. So a thread looks,
and after `env.hang_s` (or after a stop was asked for, much sooner) it says in the runs' folders how they ended, gives
them back, and ends the process. What was checkpointed stays. It cannot help where that code keeps Python's lock.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from agent.contract.exit_codes import FAILED, STOPPED
from agent.contract.reasons import Reason
from agent.envs import inside
from agent.run.member import Member

POLL_S = 0.5
STOP_AFTER_S = 20.0


class Watchdog:
    """Watches the steps of all environments of this process while its block runs; `limit_s` 0 only hears stops."""

    def __init__(self, members: Sequence[Member], limit_s: float, heard: Callable[[], bool]) -> None:
        self._members, self._limit_s, self._heard = members, limit_s, heard
        self._seconds: dict[tuple[object, int], float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        # Seconds are counted look by look: a process that was suspended has not hung.
        while not self._over.wait(POLL_S):
            steps = inside.under_way()
            self._seconds = {step: self._seconds.get(step, 0.0) + POLL_S for step in steps}
            for (owner, _), seconds in self._seconds.items():
                if self._heard() and seconds > STOP_AFTER_S:
                    self._end(owner, seconds, asked=True)
                elif self._limit_s and seconds > self._limit_s:
                    self._end(owner, seconds, asked=False)

    def _end(self, owner: object, seconds: float, *, asked: bool) -> None:
        """Say how every run ended, give it back, and end the process."""
        going = [member for member in self._members if member.claim.status.phase != "ended"]
        hung = [member for member in going if member.envs.holds(owner)] or going  # an evaluation's: of any of them
        what = f"an environment of {going[0].config.task} has not come back from a step for {seconds:.0f} s"
        for member in going:
            if asked:
                member.abandon("stopped", "stopped", f"asked to stop; {what}; goes on from its checkpoint")
            elif member in hung:
                member.abandon("failed", Reason.ENVIRONMENT, f"{what} (env.hang_s={self._limit_s:g})")
            else:
                text = f"{what}, in another run of its process; goes on from its checkpoint"
                member.abandon("stopped", "stopped", text)
            print(f"{member.run.path}: {member.claim.status.message}", file=sys.stderr, flush=True)
        os._exit(STOPPED if asked else FAILED)
