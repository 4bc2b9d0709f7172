"""Errors that are the user's to mend, and the nearest valid name."""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Wrong input: the message is one line that names the value and what is allowed."""


def close(name: str, allowed: Iterable[str]) -> list[str]:
    """Return the one or two allowed names that are nearest, [] where none is near; a suite's prefix may be left out."""
    parts = {
        piece: full
        for full in sorted(allowed, reverse=True)
        for piece in (full.partition("_")[2], full.partition("_")[0], full)
        if piece
    }
    return list(dict.fromkeys(parts[piece] for piece in difflib.get_close_matches(name, parts, n=2, cutoff=0.5)))


def nearest(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Return "unknown KIND 'NAME'; did you mean 'X'? (all: …)"."""
    names = sorted(allowed)
    near = close(name, names)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    shown = ", ".join(names[:40]) + (f", … {len(names) - 40} more" if len(names) > 40 else "")
    return f"unknown {kind} {name!r}{hint} ({shown or 'there is none'})"
