"""What commands print, in any locale."""

from __future__ import annotations

import io
import sys


def print_anywhere() -> None:
    """Let stdout and stderr replace what the locale's encoding lacks by `?`, where they would raise in mid-print."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
