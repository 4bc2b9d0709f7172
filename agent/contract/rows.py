"""The rows of a run's metrics and scores as its process writes them: counted and digested, so that others can verify.

Imports neither JAX nor an environment.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.contract.files import RecordError, open_plain, row_line

BLOCK = 2**20


class Rows:
    """A file of JSON lines that this process alone appends to."""

    def __init__(self, path: Path) -> None:
        self.path, self.count, self.bytes = path, 0, 0
        self._sha256 = hashlib.sha256()

    def append(self, row: dict[str, Any], *, durable: bool = False) -> None:
        """Append a row; RecordError when the file is not as the last one left it."""
        line = row_line(row)
        with open_plain(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            size = os.fstat(file.fileno()).st_size
            if size != self.bytes:
                raise RecordError(f"{self.path}: is {size} bytes long, the run has written {self.bytes} of them")
            file.write(line)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        self.count, self.bytes = self.count + 1, self.bytes + len(line)
        self._sha256.update(line)

    def mark(self) -> dict[str, Any]:
        """Return the number of rows so far, their bytes and SHA-256."""
        return {"rows": self.count, "bytes": self.bytes, "sha256": self._sha256.hexdigest()}

    def go_on(self, mark: dict[str, Any] | None = None) -> None:
        """Cut what came after a mark (default: everything) and append from there; the mark has been verified."""
        self.count, self.bytes, self._sha256 = 0, 0, hashlib.sha256()
        if mark is not None and mark["bytes"]:
            for block in _blocks(self.path, mark["bytes"]):
                self._sha256.update(block)
            self.count, self.bytes = mark["rows"], mark["bytes"]
        if os.path.lexists(self.path):
            with open_plain(self.path, os.O_RDWR) as file:
                os.ftruncate(file.fileno(), self.bytes)
                os.fsync(file.fileno())


def verify_rows(path: Path, mark: dict[str, Any], *, durable: bool = False) -> None:
    """Raise RecordError unless the file begins with the marked rows; `durable`: bring them to the disk first."""
    if not mark["bytes"]:
        return
    if durable:
        with open_plain(path) as file:
            os.fsync(file.fileno())
    sha256 = hashlib.sha256()
    for block in _blocks(path, mark["bytes"]):
        sha256.update(block)
    if sha256.hexdigest() != mark["sha256"]:
        raise RecordError(f"{path}: its first {mark['rows']} rows are not those that the run has written")


def _blocks(path: Path, size: int) -> Iterator[bytes]:
    with open_plain(path) as file:
        while size:
            block = file.read(min(BLOCK, size))
            if not block:
                raise RecordError(f"{path}: ends {size} bytes before the last row that its checkpoint has counted")
            size -= len(block)
            yield block
