"""The local pools of one user on one machine: each starts a job only while all of them together leave it room.

In a folder of the user's caches every pool leaves a file that names its launch; what it runs stands in its pool.json.
Starting a job is one pool's turn at a time, by a lock of the kernel's that dies with its holder. The runtime folder
would be nearer, but it goes with the user's last session, and pools do not.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import stat
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from agent.contract.files import RecordError
from agent.contract.ownership import cache_home, opened
from agent.contract.records import read_record
from harness.study.folder import HIDDEN, LAUNCH_ID, LAUNCHES, Launch
from harness.study.records import PoolRecord

LOCK = "lock"
LONGEST_PATH = 2**14
GONE = PoolRecord(pid=0, host="", beat=0.0, jobs={}, ended=0.0)


@dataclass
class Machine:
    """The folder in which this user's pools on this machine find each other; where it cannot be used, none is found.

    It is the user's own, no link in or below it is followed, and only files of pools are ever removed from it.
    """

    caches: Path
    host: str

    @classmethod
    def here(cls) -> Machine | None:
        """Return this machine's, None for a user without a folder of caches."""
        try:
            return cls(cache_home(), re.sub(r"[^A-Za-z0-9._-]", "_", socket.gethostname()))
        except OSError:
            return None

    def folder(self) -> contextlib.AbstractContextManager[int]:
        """Give a descriptor of the folder; OSError when it is not the user's own, or cannot be made."""
        return opened(self.caches, "harmony-bench", f"pools-{self.host}")  # a home is shared by machines

    @contextlib.contextmanager
    def turn(self) -> Generator[None]:
        """Keep the other pools from starting a job while the block looks for room and starts one."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a full or unwritable home: this pool does not wait for others
                folder = stack.enter_context(self.folder())
                lock = _create(folder, LOCK)
                stack.callback(os.close, lock)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def enter(self, launch: Launch) -> None:
        """Let the other pools know of a launch's."""
        with contextlib.suppress(OSError), self.folder() as folder:
            file = _create(folder, launch.id)
            try:
                os.ftruncate(file, 0)
                os.write(file, os.fsencode(launch.folder))
            finally:
                os.close(file)

    def leave(self, name: str) -> None:
        """Forget the pool of a launch that has ended."""
        with contextlib.suppress(OSError), self.folder() as folder:
            if _launch_named_by(folder, name) is not None:
                os.unlink(name, dir_fd=folder)

    def others(self, mine: Launch) -> dict[str, PoolRecord]:
        """Return what the other pools last wrote in their pool.json, by their launch; damaged ones are left out."""
        found: dict[str, PoolRecord] = {}
        with contextlib.suppress(OSError), self.folder() as folder:
            for name in os.listdir(folder):
                launch = None if name == mine.id else _launch_named_by(folder, name)
                if launch is not None:
                    with contextlib.suppress(RecordError):
                        found[name] = read_record(launch / "pool.json", PoolRecord) or GONE
        return found


def _launch_named_by(folder: int, name: str) -> Path | None:
    """Return the folder of the launch that a pool's file names; None for a file that no pool has made."""
    if not LAUNCH_ID.fullmatch(name):
        return None
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_nlink != 1:
            return None
        launch = Path(os.fsdecode(os.read(file, LONGEST_PATH)))
    finally:
        os.close(file)
    named = launch.is_absolute() and launch.parts[-3:] == (HIDDEN, LAUNCHES, name)
    return launch if named else None


def _create(folder: int, name: str) -> int:
    """Return a descriptor to write a file of the folder's by, made if need be; OSError for a link."""
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
