"""Errors that are the user's to mend, and the nearest valid name."""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Wrong input: the message is one line that names the value and what is allowed."""


def nearest(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Return "unknown KIND 'NAME'; did you mean 'X'? (all: …)"."""
    names = sorted(allowed)
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.4)
    hint = f"; did you mean {' or '.join(repr(n) for n in close)}?" if close else ""
    shown = ", ".join(names[:40]) + (f", … {len(names) - 40} more" if len(names) > 40 else "")
    return f"unknown {kind} {name!r}{hint} ({shown or 'there is none'})"
