"""What a command's measurements leave behind: a JSON file that is whole after each of them, failed ones named in it."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.contract.files import write_json
from agent.run.provenance import code

Row = dict[str, Any]


def machine() -> Row:
    """Return what the times depend on: device, cores, load before the start, and versions."""
    import jax

    device = jax.devices()[0]
    return {
        "platform": device.platform, "device": device.device_kind, "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "jax": jax.__version__,
        "python": platform.python_version(),
    }  # fmt: skip


class Record:
    """The measurements of one command."""

    def __init__(self, command: str, argv: list[str] | None, file: Path | None) -> None:
        """Begin a record of a command with its arguments (None: this process's); `file` is written at once.

        Raises: OSError when it cannot be written, before anything is measured.
        """
        self.file = file
        self.rows: dict[str, Row] = {}
        arguments = sys.argv[1:] if argv is None else argv
        self.content: Row = {
            "command": " ".join([command, *arguments]), **{key: code()[key] for key in ("git_sha", "dirty")},
            "machine": machine(), "benchmarks": self.rows,
        }  # fmt: skip
        self.save()

    def make(self, name: str, work: Callable[[], Row]) -> None:
        """Make a measurement. One that fails leaves `error` in its row and its traceback on standard error.

        A number that is not finite is such a failure, for JSON has no such numbers.
        """
        print(name, file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            row = work()
            json.dumps(row, allow_nan=False)
        except Exception as error:  # noqa: BLE001 - the measurements already made must not be lost with this one
            traceback.print_exc()
            row = {"error": f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]}
        self.rows[name] = row | {"took_s": time.monotonic() - began}
        self.save()

    def save(self, **more: Any) -> None:
        """Write the file, with more keys."""
        self.content |= more
        if self.file:
            write_json(self.file, self.content)

    @property
    def text(self) -> str:
        """The record as JSON."""
        return json.dumps(self.content, indent=1)

    @property
    def failed(self) -> list[str]:
        """The names of the measurements that failed."""
        return [name for name, row in self.rows.items() if "error" in row]
