"""Being asked to stop: SIGTERM, SIGINT and SIGUSR2 are heard from the first moment, before anything large is imported.

Imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Generator
from typing import Any

from agent.contract.exit_codes import INTERRUPTED

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


class Stopped(BaseException):
    """The process was asked to stop in the middle of something that leaves nothing behind."""


class StopFlag:
    """Set by the first SIGTERM, SIGINT or SIGUSR2; a second SIGINT ends the process at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._interrupting = False
        self._came = False
        self._bytes, came = os.pipe()  # a byte of each signal's number, written at once whatever the main thread does
        for end in (self._bytes, came):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(came, warn_on_full_buffer=False)
        for number in NUMBERS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, _: Any) -> None:
        if self.signal == signal.SIGINT == number:
            os._exit(INTERRUPTED)
        if self.signal is None:
            print(f"received {signal.Signals(number).name}: writing a checkpoint", file=sys.stderr, flush=True)
        self.signal = number
        if self._interrupting:
            self._interrupting = False
            raise Stopped

    def __call__(self) -> bool:
        return self.signal is not None

    def heard(self) -> bool:
        """Return whether a signal has come, also one whose handler has to wait for the main thread."""
        with contextlib.suppress(BlockingIOError):
            self._came = self._came or bool(set(os.read(self._bytes, 4096)).intersection(NUMBERS))
        return self._came or self()

    @contextlib.contextmanager
    def interrupts(self) -> Generator[None]:
        """Raise Stopped in the block as soon as a signal comes, or at once where one has come before."""
        if self():
            raise Stopped
        self._interrupting = True
        try:
            yield
        finally:
            self._interrupting = False


def leave(code: int) -> None:
    """End the process; a thread that was left behind in an environment is not waited for, nor torn down around it."""
    left = [t for t in threading.enumerate() if t is not threading.main_thread() and t.daemon]
    if not left:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
