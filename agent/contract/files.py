"""Files that survive what happens to processes: replaced in one step, or appended to row by row and read with damage.

Imports neither JAX nor an environment.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydantic_core import from_json

MAX_LINE = 16 * 2**20
MAX_RECORD = 256 * 2**20


class RecordError(Exception):
    """A file of a run folder is missing, damaged or not ours to write; the message names it and the reason."""


def open_plain(path: Path, flags: int = os.O_RDONLY) -> BinaryIO:
    """Return an ordinary file, opened by these flags; RecordError when it is missing, a link, a folder or a pipe."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = "is a link" if error.errno == errno.ELOOP else f"cannot be opened ({error.strerror})"
        raise RecordError(f"{path}: {reason}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RecordError(f"{path}: is not an ordinary file")
    mode = "r+b" if flags & os.O_RDWR else "wb" if flags & os.O_WRONLY else "rb"
    return os.fdopen(descriptor, mode)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Generator[BinaryIO]:
    """Give a file to write to that replaces `path` in one step: written aside, fsynced when durable, renamed.

    Where writing raises, the file at `path` stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    if durable:
        sync_folder(path.parent)


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace the file in one step, as `replacing` does."""
    with replacing(path, durable=durable) as file:
        file.write(data)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, data: Any, *, durable: bool = True) -> None:
    """Replace a JSON file in one step. NaN is refused by the reader, so it is refused here."""
    write_bytes(path, (json.dumps(data, allow_nan=False, indent=1) + "\n").encode(), durable=durable)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read; OSError where something else has its name: a link, a folder, a device, a pipe.

    Files of a run are written in place of the one before, so nothing of ours is a link.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "a folder is in its place" if stat.S_ISDIR(mode) else "it is no plain file")
    return open(descriptor, "rb")


def read_plain(path: Path) -> bytes | None:
    """Return what a file holds, None when there is none; RecordError when it cannot be read or is no plain file."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_RECORD:
                raise RecordError(f"{path}: has {size} bytes, at most {MAX_RECORD} are expected")
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = "is a link" if error.errno == errno.ELOOP else f"cannot be read ({error.strerror})"
        raise RecordError(f"{path}: {reason}") from error


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, None when the file is missing; RecordError when it is damaged."""
    text = read_plain(path)
    if text is None:
        return None
    try:
        data = parse_json(text)
    except ValueError as error:
        raise RecordError(f"{path}: not JSON ({error})") from error
    if not isinstance(data, dict):
        raise RecordError(f"{path}: an object is expected, got {type(data).__name__}")
    return cast("dict[str, Any]", data)


def parse_json(text: bytes) -> Any:
    """Return what a JSON text says; ValueError where it says nothing.

    Pydantic's parser takes half as long as Python's; what it refuses is Python's to judge, since they differ a little.
    """
    try:
        return from_json(text)
    except ValueError:
        try:
            return json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def set_aside(path: Path) -> Path:
    """Rename what is damaged, so that it is kept and no longer read, and return its new name."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}.damaged-{stamp}-{uuid.uuid4().hex[:4]}")
    os.rename(path, aside)
    return aside


def row_line(row: dict[str, Any]) -> bytes:
    """Return a row as its line; non-finite numbers become the strings "nan", "inf" and "-inf"."""
    text = json.dumps({k: _finite(v) for k, v in row.items()}, allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def append_row(path: Path, row: dict[str, Any], *, durable: bool = False) -> None:
    """Append one row, on a line of its own whatever was there."""
    with open(path, "ab") as file:
        if file.tell() and not _ends_with_newline(path):
            file.write(b"\n")
        file.write(row_line(row))
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read_rows(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the objects of a JSON-lines file in order, and one sentence for each line that is not one.

    A missing file has no rows. A last line without its newline that does not parse is an interrupted write: it is
    left out and reported like any other damage. Lines over 16 MiB are skipped without being held in memory.
    """
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return rows, problems
    except OSError as error:
        return rows, [f"{path}: cannot be read ({error.strerror})"]
    with file:
        for number, line in enumerate(_lines(file), start=1):
            if line is None:
                problems.append(f"{path}, line {number}: longer than {MAX_LINE} bytes")
                continue
            if not line.strip():
                continue
            try:
                row = parse_json(line)
            except ValueError:
                kind = "a damaged line" if line.endswith(b"\n") else "an interrupted write"
                problems.append(f"{path}, line {number}: {kind}")
                continue
            if isinstance(row, dict):
                rows.append(cast("dict[str, Any]", row))
            else:
                problems.append(f"{path}, line {number}: an object is expected, got {type(row).__name__}")
    return rows, problems


def _lines(file: Any) -> Iterator[bytes | None]:
    while line := file.readline(MAX_LINE):
        if len(line) < MAX_LINE or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)
        yield None


def keep_rows(path: Path, keep: Callable[[dict[str, Any]], bool]) -> int:
    """Rewrite a JSON-lines file with the rows to keep and return how many rows or damaged lines went."""
    rows, problems = read_rows(path)
    kept = [row for row in rows if keep(row)]
    gone = len(rows) - len(kept) + len(problems)
    if gone:
        text = "".join(json.dumps(row, allow_nan=False, separators=(",", ":")) + "\n" for row in kept)
        write_bytes(path, text.encode())
    return gone
