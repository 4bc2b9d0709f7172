"""Files that prove themselves: arrays with their size and SHA-256, and JSON objects with a digest of their own.

Arrays are kept as npz: exact for every type in use, written from memory straight into the digest, and compressed where
that pays. safetensors takes a fifth of its CPU time, but writes to a name only, so that the digest would be of what
came out instead of what was meant, and it stores arrays that are not contiguous in another order without a word.
Imports neither JAX nor an environment.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from agent.contract.files import RecordError, open_plain, parse_json, replacing, write_json

Arrays = dict[str, np.ndarray]
Entry = dict[str, Any]
"""A file as an index names it: `name` below the index's folder, `bytes` and `sha256`."""
SEAL = "seal"


class _Digesting(io.RawIOBase):
    """Passes on what is written and digests it; it cannot seek, so the archive is written front to back."""

    def __init__(self, file: BinaryIO | io.BufferedIOBase) -> None:
        self.file, self.bytes, self.sha256 = file, 0, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.file.write(view)
        self.sha256.update(view)
        self.bytes += len(view)
        return len(view)


def write_arrays(folder: Path, name: str, arrays: Arrays, *, compress: bool) -> Entry:
    """Write arrays durably and return the file's entry; its digest is that of what was in memory.

    Raises OSError (disk full, no permission).
    """
    # Straight into the file: what is built in memory first leaves holes of its size in a heap that is kept (`heap`).
    with replacing(folder / name) as file:
        digesting = _Digesting(file)
        (np.savez_compressed if compress else np.savez)(digesting, **arrays)  # pyright: ignore[reportArgumentType]
    return {"name": name, "bytes": digesting.bytes, "sha256": digesting.sha256.hexdigest()}


def read_arrays(folder: Path, entry: Entry) -> Arrays:
    """Return the arrays of a file that `verify` has found whole; RecordError when it cannot be read."""
    path = folder / entry["name"]
    try:
        with open_plain(path) as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RecordError(f"{path}: cannot be read ({error})") from error


def verify(folder: Path, entry: Entry, *, from_disk: bool = False) -> None:
    """Raise RecordError unless the file is what its entry says; `from_disk`: drop what memory holds of it first."""
    path = folder / entry["name"]
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size != entry["bytes"]:
            raise RecordError(f"{path}: is {size} bytes long, its checkpoint has written {entry['bytes']}")
        if from_disk:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
        except OSError as error:
            raise RecordError(f"{path}: cannot be read ({error.strerror})") from error
    if digest != entry["sha256"]:
        raise RecordError(f"{path}: is not what its checkpoint has written (SHA-256 {digest[:12]}…)")


def seal_of(data: dict[str, Any]) -> str:
    """Return the digest of an object without its seal, in a form that its spelling does not change."""
    rest = {key: value for key, value in data.items() if key != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_sealed(path: Path, data: dict[str, Any]) -> dict[str, Any]:
    """Replace a JSON file by an object with its digest, read it back, and return it as it was read.

    Raises OSError, or RecordError when something else was read than written.
    """
    write_json(path, data | {SEAL: seal_of(data)})
    return read_sealed(path)


def read_sealed(path: Path) -> dict[str, Any]:
    """Return the object of a file that `write_sealed` has written; RecordError when it is missing or damaged."""
    with open_plain(path) as file:
        try:
            found = parse_json(file.read())
        except OSError as error:
            raise RecordError(f"{path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise RecordError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise RecordError(f"{path}: an object is expected, got {type(found).__name__}")
    data = cast("dict[str, Any]", found)
    if SEAL not in data and data.get("format") in (1, 2):
        raise RecordError(f"{path}: is of an earlier version (format {data['format']}), which this one cannot continue")
    if data.get(SEAL) != seal_of(data):
        raise RecordError(f"{path}: is not what was written there (its seal does not fit)")
    return data
