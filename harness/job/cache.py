"""JAX's compilation cache, shared between jobs without sharing half-written entries.

JAX writes entries in place and never repairs a truncated one. So each job works on a copy of its own in node-local
scratch, and hands new entries to the shared folder by rename, once they are complete. A copy is held by a lock of the
kernel's, which the job's processes have as well: what is held by none was left by a killed job, and is removed by the
next job or pool there. Entries are code: no link is followed to them, and the folders are the user's alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from agent.contract.files import RecordError
from agent.contract.ownership import cache_home, opened, refuse_swappable

SETTLED_S = 10.0
LARGEST_GB = 4.0
PREFIX = "harmony-bench-xla-"
COPY = re.compile(rf"{PREFIX}[a-z0-9_]{{8}}")
ASIDE = re.compile(r"\.[0-9a-f]{12}\.tmp")
ASIDE_LEFT_S = 86400.0  # no copy of an entry takes that long: a job was killed over it
LOCK = ".lock"
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def shared(device: str) -> contextlib.AbstractContextManager[int]:
    """Give a descriptor of the user's cache for one kind of device: CPU code is only good for the CPU it was made on.

    Raises: OSError when there is none that is the user's alone.
    """
    kind = hashlib.sha256(f"{device} {platform.machine()} {_cpu()}".encode()).hexdigest()[:12]
    return opened(cache_home(), "harmony-bench", "xla-shared", kind)


def _cpu() -> str:
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return " ".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor()


@dataclass(frozen=True)
class Cache:
    """A job's own copy of the shared cache; `own` is None where no copy can be made, and its programs are compiled.

    `lock` is the descriptor by which the copy is held: the job's processes inherit it.
    """

    device: str
    own: Path | None = None
    lock: int | None = None

    @classmethod
    def open(cls, device: str, scratch: str = "") -> Cache:
        """Return a fresh copy of the shared cache in scratch; an unreadable or huge one is left alone."""
        try:
            place = Path(scratch or tempfile.gettempdir()).resolve()
            refuse_swappable(place)
            own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
            lock = _hold(own)
        except (OSError, RecordError) as error:
            print(f"scratch={scratch or '$TMPDIR'}: no copy of the compilation cache: {error}", file=sys.stderr)
            return cls(device)
        remove_left(scratch)
        with contextlib.suppress(OSError), shared(device) as folder, _opened(own) as copy:
            entries = _files(folder)
            if sum(size for _, size, _ in entries) < LARGEST_GB * 2**30:
                for name, _, _ in entries:
                    _copy(folder, name, copy, name)
        return cls(device, own, lock)

    def publish(self, settled_s: float = SETTLED_S) -> int:
        """Add this job's new entries, unchanged for `settled_s`, to the shared cache; return how many."""
        added = 0
        if self.own is None:
            return added
        # a full or unwritable home costs only compilation time
        with contextlib.suppress(OSError), shared(self.device) as folder, _opened(self.own) as copy:
            known = {name for name, _, _ in _files(folder)}
            for name, _, changed in _files(folder, hidden=True):
                if ASIDE.fullmatch(name) and time.time() - changed > ASIDE_LEFT_S:
                    os.unlink(name, dir_fd=folder)
            for name, size, changed in _files(copy):
                if size == 0 or time.time() - changed < settled_s or name in known:
                    continue
                aside = f".{uuid.uuid4().hex[:12]}.tmp"
                _copy(copy, name, folder, aside)
                os.replace(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
                added += 1
        return added

    def close(self) -> None:
        """Delete the job's copy."""
        if self.own is None or self.lock is None:
            return
        with contextlib.suppress(OSError), _opened(self.own.parent) as parent, _opened(self.own) as copy:
            _remove(parent, self.own.name, copy)
        os.close(self.lock)


def remove_left(scratch: str = "") -> None:
    """Remove this user's copies that killed jobs left in scratch: those that no process holds."""
    with contextlib.suppress(OSError), _opened(Path(scratch or tempfile.gettempdir()).resolve()) as parent:
        for name in filter(COPY.fullmatch, os.listdir(parent)):
            with contextlib.suppress(OSError), _opened(name, parent) as copy:
                if os.fstat(copy).st_uid != os.getuid():
                    continue
                lock = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=copy)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(parent, name, copy)
                finally:
                    os.close(lock)


@contextlib.contextmanager
def _opened(folder: Path | str, parent: int | None = None) -> Generator[int]:
    descriptor = os.open(folder, FOLDER, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _hold(own: Path) -> int:
    """Return the descriptor of a fresh copy's lock, taken before others can see it; OSError when it cannot be."""
    with _opened(own) as copy:
        lock = os.open(f"{LOCK}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=copy)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(f"{LOCK}.new", LOCK, src_dir_fd=copy, dst_dir_fd=copy)
        except OSError:
            os.close(lock)
            raise
    return lock


def _remove(parent: int, name: str, copy: int) -> None:
    """Remove a copy: its plain files, the lock last, and the folder; OSError when more is in it, which stays."""
    for file, _, _ in _files(copy, hidden=True):
        if file != LOCK:
            os.unlink(file, dir_fd=copy)
    if os.listdir(copy) == [LOCK]:
        os.unlink(LOCK, dir_fd=copy)
    os.rmdir(name, dir_fd=parent)


def _copy(source: int, name: str, target: int, new: str) -> None:
    """Copy a plain file of the user's from one folder to a new one in another, as a whole or not at all."""
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source), "rb") as file:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(new, flags, 0o600, dir_fd=target), "wb") as copy:
                shutil.copyfileobj(file, copy, 2**20)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new, dir_fd=target)
            raise


def _files(folder: int, *, hidden: bool = False) -> list[tuple[str, int, float]]:
    """Return name, size and time of change of the user's plain files in a folder, hidden ones where asked for."""
    found: list[tuple[str, int, float]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # another job has renamed it
                continue
            if stat.S_ISREG(info.st_mode) and info.st_uid == os.getuid() and (hidden or not entry.name.startswith(".")):
                found.append((entry.name, info.st_size, info.st_mtime))
    return found
