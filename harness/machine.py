"""The local pools of one user on one machine: each starts a job only while all of them together leave it room.

In the machine's temporary folder every pool leaves a file that names its launch; what it runs stands in its pool.json.
Starting a job is one pool's turn at a time, by a lock of the kernel's that dies with its holder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.config import ConfigError
from agent.files import RecordError, read_json
from harness.study import Launch, check_private


@dataclass
class Machine:
    """The folder in which this user's pools on this machine find each other."""

    folder: Path

    @classmethod
    def here(cls) -> Machine | None:
        """Return this machine's; None, with nothing shared, where it cannot be written or others may write in it."""
        folder = Path(tempfile.gettempdir()) / f"harmony-bench-pools-{os.getuid()}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            check_private(folder)
        except (OSError, ConfigError):
            return None
        return cls(folder)

    @contextlib.contextmanager
    def turn(self) -> Generator[None]:
        """Keep the other pools from starting a job while the block looks for room and starts one."""
        with open(self.folder / "lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def enter(self, launch: Launch) -> None:
        """Let the other pools know of a launch's."""
        (self.folder / launch.id).write_text(str(launch.folder), encoding="utf-8")

    def leave(self, name: str) -> None:
        """Forget the pool of a launch that has ended."""
        (self.folder / name).unlink(missing_ok=True)

    def others(self, mine: Launch) -> dict[str, dict[str, Any]]:
        """Return what the other pools last wrote in their pool.json, by their launch; damaged ones are left out."""
        found: dict[str, dict[str, Any]] = {}
        for file in self.folder.iterdir():
            if file.name in ("lock", mine.id):
                continue
            with contextlib.suppress(OSError, RecordError):
                found[file.name] = read_json(Path(file.read_text(encoding="utf-8")) / "pool.json") or {"ended": 0.0}
        return found
