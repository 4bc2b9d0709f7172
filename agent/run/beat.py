"""The heartbeat of a process that trains: leases renewed and status files written beside the training."""

from __future__ import annotations

import threading

from agent.run.member import Member

BEAT_S = 10.0


class Beat:
    """Renews leases and writes status files from a thread, so that long compilations don't look like death.

    `lost` holds what went wrong, by member: it is the loop that ends them.
    """

    def __init__(self, members: list[Member]) -> None:
        self.members, self.lost, self._end = members, dict[Member, Exception](), threading.Event()
        self._thread = threading.Thread(target=self._work, name="heartbeat", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._end.wait(BEAT_S):
            self.now()

    def now(self) -> None:
        """Renew every member's lease; one that cannot be kept is noted for the loop."""
        for member in list(self.members):
            try:
                member.heartbeat()
            except Exception as error:  # noqa: BLE001 - the loop ends the member with whatever it was
                self.lost[member] = error

    def check(self, member: Member) -> None:
        """Raise what went wrong with a member's lease or status."""
        if member in self.lost:
            raise self.lost.pop(member)

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join()
