"""JAX's compilation cache, shared between jobs without sharing half-written entries.

JAX writes entries in place and never repairs a truncated one. So each job works on a copy of its own in node-local
scratch, and hands new entries to the shared folder by rename, once they are complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

SETTLED_S = 10.0
LARGEST_GB = 4.0
PREFIX = "harmony-bench-xla-"
LEFT_S = 14 * 86400.0  # longer than jobs run: a copy this old was left by one that was killed


def shared_folder(device: str) -> Path:
    """Return the user's cache for one kind of device: compiled CPU code is only good for the CPU it was made on."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kind = hashlib.sha256(f"{device} {platform.machine()} {_cpu()}".encode()).hexdigest()[:12]
    return base / "harmony-bench" / "xla-shared" / kind


def _cpu() -> str:
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return " ".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor()


@dataclass(frozen=True)
class Cache:
    """A job's own copy of the shared cache."""

    shared: Path
    own: Path

    @classmethod
    def open(cls, device: str, scratch: str = "") -> Cache:
        """Return a fresh copy of the shared cache in scratch; an unreadable or huge one is left alone."""
        shared = shared_folder(device)
        own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=scratch or None))
        _sweep(own.parent)
        with contextlib.suppress(OSError):
            entries = _files(shared)
            if sum(size for _, size, _ in entries) < LARGEST_GB * 2**30:
                for path, _, _ in entries:
                    shutil.copyfile(path, own / path.name)
        return cls(shared, own)

    def publish(self, settled_s: float = SETTLED_S) -> int:
        """Add this job's new entries, unchanged for `settled_s`, to the shared cache; return how many."""
        added = 0
        with contextlib.suppress(OSError):  # a full or unwritable home costs only compilation time
            self.shared.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path, size, changed in _files(self.own):
                target = self.shared / path.name
                if size == 0 or time.time() - changed < settled_s or target.exists():
                    continue
                aside = self.shared / f".{uuid.uuid4().hex[:12]}.tmp"
                try:
                    shutil.copyfile(path, aside)
                    aside.replace(target)
                finally:
                    aside.unlink(missing_ok=True)
                added += 1
        return added

    def close(self) -> None:
        """Delete the job's copy."""
        shutil.rmtree(self.own, ignore_errors=True)


def _sweep(scratch: Path) -> None:
    """Remove this user's copies that killed jobs left behind."""
    with contextlib.suppress(OSError):
        for folder in scratch.glob(f"{PREFIX}*"):
            info = folder.stat()
            if info.st_uid == os.getuid() and time.time() - info.st_mtime > LEFT_S:
                shutil.rmtree(folder, ignore_errors=True)


def _files(folder: Path) -> list[tuple[Path, int, float]]:
    """Return path, size and time of change of a folder's plain files, hidden ones left out."""
    if not folder.is_dir():
        return []
    found: list[tuple[Path, int, float]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                info = entry.stat()
                found.append((Path(entry.path), info.st_size, info.st_mtime))
    return found
