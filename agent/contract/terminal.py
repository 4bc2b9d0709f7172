"""What commands print, in any locale."""

from __future__ import annotations

import io
import re
import sys
import textwrap


def print_anywhere() -> None:
    """Let stdout and stderr replace what the locale's encoding lacks by `?`, where they would raise in mid-print."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def fit(text: str, width: int = 80) -> str:
    """Return a help text whose long lines go on in the next one, under the column that explains."""
    lines: list[str] = []
    for line in text.splitlines():
        column = re.match(r"( +\S.*?  +|)(?=\S)", line)
        indent = " " * (len(column[1]) if column and len(column[1]) < width // 2 else 4)
        lines += textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return "\n".join(lines)
