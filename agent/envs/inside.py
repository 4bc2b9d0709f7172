"""Which environments of this process are in the middle of a step, so that one that never returns can be noticed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator

_steps: dict[int, tuple[object, int]] = {}  # by thread: whose step, and its number
_count = 0


@contextlib.contextmanager
def step_of(owner: object) -> Generator[None]:
    """Mark the block as a step of the owner's environments, in the thread that makes it."""
    global _count
    thread, _count = threading.get_ident(), _count + 1
    _steps[thread] = (owner, _count)
    try:
        yield
    finally:
        del _steps[thread]


def under_way() -> set[tuple[object, int]]:
    """Return the steps that have begun and not ended: owner, and a number that no other step has."""
    return set(_steps.copy().values())
