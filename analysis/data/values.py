"""What a value read from a file may be taken for, and numbers of things for readers."""

from typing import Any, TypeGuard

MAX_FRAMES = 2**53
LARGEST = 1e100  # sums of squares of what is smaller are finite


def is_finite(value: Any) -> TypeGuard[float]:
    """Return whether a value is a number up to LARGEST that can be computed with; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def is_whole(value: Any, most: int) -> TypeGuard[int]:
    """Return whether a value is a whole number from 0 to `most`; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def short(value: Any) -> str:
    """Return a value for a message, at most 60 characters of it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def count(n: int, noun: str) -> str:
    """Return `1 task`, `2 tasks`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
