"""Whose files these are: folders made for the user alone, and the refusal to load what others may have put there.

What a run or study folder holds is loaded by jobs, and some of it is code: config.yaml names modules and a compilation
cache, the harness keeps frozen code and submitit's pickles. So everything that loads from one refuses it when an entry
on the way is another account's, a link, or may be written by the group or by everybody. Whether a group is one person's
own cannot be known here. Root may do anything anyway, so what is root's is fine. Reports and status only read.

Imports neither JAX nor an environment.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator
from pathlib import Path

from agent.contract.files import RecordError

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class ForeignError(RecordError):
    """Another account owns, or may write, what would be loaded; the message names it and says what to do."""


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


def tighten_umask() -> None:
    """Let no file that this process makes be writable by others, whatever the user's umask."""
    os.umask(os.umask(OTHERS_WRITE) | OTHERS_WRITE)


def refuse_foreign(path: Path, below: Path | None = None, *, whole: Path | None = None) -> None:
    """Raise ForeignError when others may have put there what lies at a path, or in a folder between `below` and it.

    No link is followed; what is missing is left to its reader. `whole` is the folder to name as the one to mend.
    """
    absolute = Path(os.path.abspath(path))
    stop = Path(os.path.abspath(below)) if below is not None else absolute.parent
    for place in reversed([absolute, *(p for p in absolute.parents if p.is_relative_to(stop) and p != stop)]):
        try:
            found = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise RecordError(f"{place}: cannot be looked at ({error.strerror})") from error
        _refuse(place, found, whole or place)


def refuse_foreign_files(folder: Path, *, deep: bool = False, whole: Path | None = None) -> None:
    """Raise ForeignError when others may have put there something that lies in a folder, or with `deep` below it."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):
            _refuse(Path(entry.path), entry.stat(follow_symlinks=False), whole or folder)
            if deep and entry.is_dir(follow_symlinks=False):
                refuse_foreign_files(Path(entry.path), deep=True, whole=whole or folder)


def refuse_foreign_run(run: Path) -> None:
    """Raise ForeignError when others may have put there what training would load from a run folder.

    That is the folder, its checkpoint, and inside a study every folder up to the study's.
    """
    run = Path(os.path.abspath(run))
    study = run.parents[2] if len(run.parts) > 3 and os.path.lexists(run.parents[2] / "plan.json") else run
    refuse_swappable(study.parent)
    refuse_foreign(run, study.parent, whole=study)
    refuse_foreign_files(run, whole=study)
    refuse_foreign_files(run / "checkpoint", deep=True, whole=study)


def refuse_foreign_cache(folder: Path) -> None:
    """Raise ForeignError when others may have put compiled programs into a cache folder of the user's choice."""
    refuse_swappable(folder.parent)
    refuse_foreign(folder)
    refuse_foreign_files(folder)


def _refuse(place: Path, found: os.stat_result, whole: Path) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise ForeignError(f"{place}: is a link, and jobs follow none to what they load; put there what it points to")
    if found.st_uid not in (0, os.getuid()):
        raise ForeignError(
            f"{place}: belongs to another account (uid {found.st_uid}), and jobs load what is in it; use a folder "
            "of your own (runs=DIR, study=NAME, --logdir DIR), or a copy that you trust"
        )
    if found.st_mode & OTHERS_WRITE:
        raise ForeignError(
            f"{place}: others may write it (mode {stat.S_IMODE(found.st_mode):o}), and jobs load what is in it; if it "
            f"holds nothing but yours: chmod -R go-w {whole}"
        )


def refuse_swappable(folder: Path) -> None:
    """Raise ForeignError when everybody may exchange what lies in a folder, or the folder.

    As in /tmp, a folder in which everybody may write is fine where each may remove only what is their own. That of a
    group is fine as well: who shares one can put nothing below that is not seen to be theirs.
    """
    real = folder.resolve()
    for place in (real, *real.parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            mode = place.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                raise ForeignError(
                    f"{place}: everybody may exchange what is in it; use another folder, or chmod o-w {place}"
                )
