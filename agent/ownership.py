"""Whose folders these are: made for the user alone, and opened without following links.

Imports neither JAX nor an environment.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator
from pathlib import Path

from agent.files import RecordError

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def cache_home() -> Path:
    """Return the folder of the user's caches; OSError when the user has none."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():  # as the XDG specification has it, another is ignored
        return given
    try:
        return Path.home() / ".cache"
    except RuntimeError as error:
        raise FileNotFoundError(f"no cache folder: {error}") from error


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for the user alone whatever the umask."""
    try:
        folder.mkdir(mode=0o700)
    except FileNotFoundError:
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        if not folder.is_dir():
            raise


@contextlib.contextmanager
def opened(base: Path, *names: str) -> Generator[int]:
    """Give a descriptor of the folder `base/name/…`, made for the user alone where it is missing.

    Below `base`, which the user chose, no link is followed. Raises: OSError when one is no folder, belongs to another
    account, or may be written by others.
    """
    make_private(base)
    descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    path = base
    try:
        for name in names:
            path /= name
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=descriptor)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(name, flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
            found = os.fstat(descriptor)
            if found.st_uid != os.getuid() or found.st_mode & OTHERS_WRITE:
                raise PermissionError(f"{path}: belongs to another account, or others may write in it")
        yield descriptor
    finally:
        os.close(descriptor)


def refuse_swappable(folder: Path) -> None:
    """Raise RecordError when anybody may exchange what lies at a path: a folder above it or itself is everybody's.

    As in /tmp, a folder in which everybody may write is fine where each may remove only what is their own.
    """
    real = folder.resolve()
    for place in (real, *real.parents):
        mode = place.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise RecordError(
                f"{place}: everybody may exchange what is in it; use another folder, or chmod o-w {place}"
            )
