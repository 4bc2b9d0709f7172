"""A run's checkpoint: one file of arrays, chunks of its replay, and the index that makes them valid.

`latest.json` is replaced last and atomically, so a checkpoint exists as a whole or not at all. Replay chunks are
written once and never changed; a chunk that no index names is left from an interrupted write and is overwritten.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from agent.files import RecordError, read_json, replacing, write_json

INDEX = "latest.json"
FORMAT = 2

Arrays = dict[str, np.ndarray]


@dataclass
class Snapshot:
    """Everything a checkpoint holds but the replay before it: arrays by name, plain values, and the new rounds.

    It is a copy of the moment: training goes on while it is written, and changes what it was made from.
    """

    arrays: Arrays
    values: dict[str, Any]
    chunk: Arrays
    chunk_start: int
    chunk_rounds: int
    chunks: list[list[Any]] = field(default_factory=list[list[Any]])

    def __post_init__(self) -> None:
        self.arrays = {name: np.array(array) for name, array in self.arrays.items()}
        self.chunk = {name: np.array(array) for name, array in self.chunk.items()}
        self.values, self.chunks = copy.deepcopy(self.values), copy.deepcopy(self.chunks)


def flatten_tree(tree: Any, prefix: str) -> Arrays:
    """Return a pytree's arrays by path, copied to the host."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    host = jax.device_get([leaf for _, leaf in leaves])
    return {prefix + jax.tree_util.keystr(path): np.asarray(leaf) for (path, _), leaf in zip(leaves, host, strict=True)}


def restore_tree(template: Any, arrays: Arrays, prefix: str) -> Any:
    """Return a pytree like `template` with the arrays saved under `prefix`.

    Raises RecordError naming the first array that is missing or has another shape or type.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    restored: list[Any] = []
    for path, leaf in leaves:
        name = prefix + jax.tree_util.keystr(path)
        saved = arrays.get(name)
        if saved is None or saved.shape != leaf.shape or saved.dtype != leaf.dtype:
            found = "missing" if saved is None else f"{saved.dtype}{list(saved.shape)}"
            raise RecordError(f"checkpoint: {name} is {found}, {leaf.dtype}{list(leaf.shape)} is expected")
        restored.append(saved)
    return jax.tree_util.tree_unflatten(structure, restored)


def save(folder: Path, snapshot: Snapshot) -> list[list[Any]]:
    """Write a checkpoint and return its list of replay chunks ([name, first round, rounds] each).

    Raises OSError (disk full, no permission); the checkpoint before then stays valid.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "replay").mkdir(exist_ok=True)
    chunks = list(snapshot.chunks)
    if snapshot.chunk_rounds:
        name = f"replay/{snapshot.chunk_start:09d}.npz"
        _write(folder / name, snapshot.chunk, compress=True)
        chunks.append([name, snapshot.chunk_start, snapshot.chunk_rounds])
    state = f"state-{snapshot.values['env_steps']:09d}-{snapshot.values['attempt']}.npz"
    _write(folder / state, snapshot.arrays, compress=False)
    write_json(folder / INDEX, {"format": FORMAT, "state": state, "chunks": chunks, **snapshot.values})
    for old in folder.glob("state-*.npz"):
        if old.name != state:
            old.unlink()
    return chunks


def load(folder: Path) -> tuple[Arrays, dict[str, Any]] | None:
    """Return the latest checkpoint's arrays and values, None when there is none; RecordError when it is damaged."""
    index = read_json(folder / INDEX)
    if index is None:
        return None
    if index.get("format") != FORMAT:
        raise RecordError(f"{folder / INDEX}: format {index.get('format')!r}, this version reads {FORMAT}")
    return _read(folder / index["state"]), index


def load_chunks(folder: Path, chunks: list[list[Any]]) -> list[tuple[int, Arrays]]:
    """Return the replay chunks, each with the round it begins with."""
    return [(int(start), _read(folder / name)) for name, start, _ in chunks]


def drop_replay(folder: Path) -> None:
    """Remove the replay of a finished run, by far the largest part of its folder; its parameters stay."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder / "replay")


def _write(path: Path, arrays: Arrays, *, compress: bool) -> None:
    # Straight into the file: what is built in memory first leaves holes of its size in a heap that is kept (`heap`).
    with replacing(path) as file:
        (np.savez_compressed if compress else np.savez)(file, **arrays)  # pyright: ignore[reportArgumentType]


def _read(path: Path) -> Arrays:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RecordError(
            f"{path}: cannot be read ({error}); delete the run's checkpoint folder to start it afresh"
        ) from error


class Writer:
    """Writes one checkpoint at a time in the background; a failure surfaces at the next `wait`."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._chunks: list[list[Any]] | None = None

    def start(self, folder: Path, snapshot: Snapshot) -> None:
        """Begin to write; waits for the one before first."""
        self.wait()

        def work() -> None:
            try:
                self._chunks = save(folder, snapshot)
            except BaseException as error:  # noqa: BLE001 - raised again by wait(), in the thread that asked
                self._error = error

        self._thread = threading.Thread(target=work, name="checkpoint")
        self._thread.start()

    def wait(self) -> list[list[Any]] | None:
        """Return the chunks on disk after the last write, None if nothing was written since the last call."""
        if self._thread is None:
            return None
        self._thread.join()
        self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        chunks, self._chunks = self._chunks, None
        return chunks
