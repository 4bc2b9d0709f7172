"""A run's checkpoint: a file of arrays, chunks of its replay, and the sealed index that makes them one thing.

The index names the run and its files with sizes and digests, and the rows of metrics and scores that belong to it.
`latest.json` is replaced last, after everything it names has reached the disk and has been read back; what it said
before stays as `previous.json`, with its arrays, for the day on which the latest is damaged. Replay chunks are written
once and serve both; one that no index names is left from an interrupted write and is overwritten. `begun.json` stands
there until the first checkpoint: without it, a folder that holds rows but no index has lost one.
"""

from __future__ import annotations

import contextlib
import copy
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from agent.contract.files import RecordError
from agent.contract.rows import verify_rows
from agent.contract.sealed import Arrays, read_arrays, read_sealed, verify, write_arrays, write_sealed

INDEX, PREVIOUS, BEGUN = "latest.json", "previous.json", "begun.json"
FORMAT = 3
STATE = re.compile(r"state-(\d{9})-\d+\.npz")
CHUNK = re.compile(r"replay/\d{9}\.npz")

Index = dict[str, Any]


class CheckpointError(RecordError):
    """Nothing of a run's checkpoints can be used; the message names what is wrong, and how to start the run afresh."""


@dataclass
class Snapshot:
    """Everything a checkpoint holds but the replay before it: arrays by name, plain values, and the new rounds.

    It is a copy of the moment: training goes on while it is written, and changes what it was made from. `before` is
    the index of the checkpoint before it.
    """

    arrays: Arrays
    values: dict[str, Any]
    chunk: Arrays
    chunk_start: int
    chunk_rounds: int
    before: Index | None = None

    def __post_init__(self) -> None:
        self.arrays = {name: np.array(array) for name, array in self.arrays.items()}
        self.chunk = {name: np.array(array) for name, array in self.chunk.items()}
        self.values, self.before = copy.deepcopy(self.values), copy.deepcopy(self.before)


@dataclass(frozen=True)
class Found:
    """A checkpoint that is whole; `damage` says what is wrong with a later one, `lost` the steps between the two."""

    index: Index
    arrays: Arrays
    damage: str = ""
    lost: int | None = 0


def flatten_tree(tree: Any, prefix: str) -> Arrays:
    """Return a pytree's arrays by path, copied to the host."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    host = jax.device_get([leaf for _, leaf in leaves])
    return {prefix + jax.tree_util.keystr(path): np.asarray(leaf) for (path, _), leaf in zip(leaves, host, strict=True)}


def restore_tree(template: Any, arrays: Arrays, prefix: str) -> Any:
    """Return a pytree like `template` with the arrays saved under `prefix`.

    Raises CheckpointError naming the first array that is missing or has another shape or type.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    restored: list[Any] = []
    for path, leaf in leaves:
        name = prefix + jax.tree_util.keystr(path)
        saved = arrays.get(name)
        if saved is None or saved.shape != leaf.shape or saved.dtype != leaf.dtype:
            found = "missing" if saved is None else f"{saved.dtype}{list(saved.shape)}"
            raise CheckpointError(f"checkpoint: {name} is {found}, {leaf.dtype}{list(leaf.shape)} is expected")
        restored.append(saved)
    return jax.tree_util.tree_unflatten(structure, restored)


def note_begun(folder: Path, run: dict[str, Any]) -> None:
    """Note that this run has no checkpoint yet."""
    folder.mkdir(parents=True, exist_ok=True)
    write_sealed(folder / BEGUN, {"format": FORMAT, "run": run})


def save(folder: Path, snapshot: Snapshot) -> Index:
    """Write a checkpoint, read it back, and return its index; `snapshot.values["run"]` names the run.

    Raises OSError (disk full, no permission), or RecordError when the disk gives back something else. The checkpoint
    before then stays valid.
    """
    (folder / "replay").mkdir(parents=True, exist_ok=True)
    before = snapshot.before or {"number": 0, "chunks": []}
    number, chunks, new = before["number"] + 1, list(before["chunks"]), list[dict[str, Any]]()
    if snapshot.chunk_rounds:
        name = f"replay/{snapshot.chunk_start:09d}.npz"
        new.append(write_arrays(folder, name, snapshot.chunk, compress=True))
        chunks.append(new[-1] | {"first": snapshot.chunk_start, "rounds": snapshot.chunk_rounds})
    name = f"state-{snapshot.values['env_steps']:09d}-{number}.npz"
    new.append(write_arrays(folder, name, snapshot.arrays, compress=False))
    for entry in new:
        verify(folder, entry, from_disk=True)
    for rows, mark in snapshot.values["rows"].items():
        verify_rows(folder.parent / rows, mark, durable=True)
    if snapshot.before is not None:
        write_sealed(folder / PREVIOUS, snapshot.before)
    index = {"format": FORMAT, "number": number, "state": new[-1], "chunks": chunks, **snapshot.values}
    index = write_sealed(folder / INDEX, index)
    _drop_states(folder, {new[-1]["name"], before.get("state", {}).get("name")})
    (folder / BEGUN).unlink(missing_ok=True)
    return index


def find(folder: Path, run: dict[str, Any], final: int) -> Found | None:
    """Return the latest checkpoint of this run that is whole, None when it has never had one.

    Every file that it names is verified; replay is not asked for at step `final`, after which none is needed.
    Raises CheckpointError when files of a checkpoint, or rows, lie there and no checkpoint is whole.
    """
    damage: list[str] = []
    newest = max((int(match[1]) for match in _states(folder)), default=None)  # where the index cannot say it
    there = [name for name in (INDEX, PREVIOUS) if (folder / name).exists() or (folder / name).is_symlink()]
    if not there and _never_saved(folder, run, damage):
        return None
    for name in (INDEX, PREVIOUS):
        try:
            index = read_sealed(folder / name)
            _check_keys(folder, name, index)
            newest = index["env_steps"] if name == INDEX else newest
            _check(folder, name, index, run, final)
            arrays = read_arrays(folder, index["state"])
        except RecordError as error:
            damage.append(str(error))
            continue
        lost = None if newest is None else newest - index["env_steps"]
        return Found(index, arrays, damage[0] if damage else "", lost if damage else 0)
    places = " ".join(str(folder.parent / name) for name in ("checkpoint", "metrics.jsonl", "scores.jsonl"))
    raise CheckpointError(
        f"{damage[0]}; no checkpoint before it can be used; to start this run afresh: rm -r {places}, then train it "
        "again, or resubmit --state checkpoint"
    )


def load_chunks(folder: Path, index: Index) -> list[tuple[int, Arrays]]:
    """Return the replay chunks of a checkpoint that `find` has verified, each with the round it begins with."""
    return [(entry["first"], read_arrays(folder, entry)) for entry in index["chunks"]]


def drop_replay(folder: Path) -> None:
    """Remove what only a continuation needs, as a run has finished: by far the largest part of its folder."""
    replay = folder / "replay"
    if not replay.is_symlink():  # whatever else lies there is not ours
        for path in replay.glob("*"):
            if CHUNK.fullmatch(f"replay/{path.name}"):
                path.unlink()
        with contextlib.suppress(OSError):
            replay.rmdir()
    (folder / PREVIOUS).unlink(missing_ok=True)
    _drop_states(folder, {read_sealed(folder / INDEX)["state"]["name"]})


def _check(folder: Path, name: str, index: Index, run: dict[str, Any], final: int) -> None:
    """Raise RecordError unless an index belongs to the run and everything it names is as it was written."""
    if index["run"] != run:
        found, wanted = (", ".join(f"{key} {value}" for key, value in known.items()) for known in (index["run"], run))
        raise RecordError(f"{folder / name}: belongs to another run ({found}), not to this one ({wanted})")
    for rows, mark in index["rows"].items():
        verify_rows(folder.parent / rows, mark)
    for entry in [index["state"], *(index["chunks"] if index["env_steps"] < final else [])]:
        verify(folder, entry)


def _check_keys(folder: Path, name: str, index: Index) -> None:
    if index.get("format") != FORMAT:
        raise RecordError(f"{folder / name}: format {index.get('format')!r}, this version reads {FORMAT}")
    if not {"run", "env_steps", "rows", "state", "chunks"} <= index.keys():
        raise RecordError(f"{folder / name}: is not the index of a checkpoint")
    names = [index["state"]["name"], *(entry["name"] for entry in index["chunks"])]
    if not STATE.fullmatch(names[0]) or not all(CHUNK.fullmatch(chunk) for chunk in names[1:]):
        raise RecordError(f"{folder / name}: names files that no checkpoint has")


def _never_saved(folder: Path, run: dict[str, Any], damage: list[str]) -> bool:
    """Return whether the run has never had a checkpoint; what speaks against it goes to `damage`."""
    if (folder / BEGUN).exists():
        try:
            index = read_sealed(folder / BEGUN)
        except RecordError as error:
            damage.append(str(error))
            return False
        if index == {"format": FORMAT, "run": run, "seal": index["seal"]}:
            return True
        damage.append(f"{folder / BEGUN}: belongs to another run, or another version")
        return False
    rows = [folder.parent / name for name in ("metrics.jsonl", "scores.jsonl")]
    rows = [path for path in rows if path.exists() and path.stat().st_size]
    left = [*_states(folder), *folder.glob("replay/*"), *rows]
    if left:
        damage.append(f"{folder / INDEX}: is missing, but what belongs to it lies there")
    return not left


def _states(folder: Path) -> list[re.Match[str]]:
    return [match for path in folder.glob("state-*") if (match := STATE.fullmatch(path.name))]


def _drop_states(folder: Path, kept: set[str | None]) -> None:
    for match in _states(folder):
        if match[0] not in kept:
            (folder / match[0]).unlink()


class Writer:
    """Writes one checkpoint at a time in the background; a failure surfaces at the next `wait`."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._index: Index | None = None

    def start(self, folder: Path, snapshot: Snapshot) -> None:
        """Begin to write; waits for the one before first."""
        self.wait()

        def work() -> None:
            try:
                self._index = save(folder, snapshot)
            except BaseException as error:  # noqa: BLE001 - raised again by wait(), in the thread that asked
                self._error = error

        self._thread = threading.Thread(target=work, name="checkpoint")
        self._thread.start()

    def wait(self) -> Index | None:
        """Return the index of the last write, None if nothing was written since the last call."""
        if self._thread is None:
            return None
        self._thread.join()
        self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        index, self._index = self._index, None
        return index
