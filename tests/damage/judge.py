"""What becomes of a damaged run: it is read as a resumed one is, and compared with what was there before."""

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from agent.contract.rows import Rows
from agent.run import checkpoint
from agent.run.checkpoint import CheckpointError
from tests.damage.spoil import FOLDERS, KINDS

ROWS = ("metrics.jsonl", "scores.jsonl")
PREVIOUS, REFUSED, HARMLESS, SILENT = "previous used", "refused by name", "harmless", "SILENT"
State = dict[str, Any]


@dataclass
class Subject:
    """A stopped run with two checkpoints, and others whose files may come to lie in its folder."""

    run: Path
    identity: dict[str, Any]
    final: int
    others: list[Path]


@dataclass
class Verdicts:
    """Outcomes by kind of damage, and a sentence for each silent one."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    silent: list[str] = field(default_factory=list[str])


def state_of(found: checkpoint.Found, run: Path) -> State:
    """Return everything that a run goes on from: index, arrays, replay, and the rows that are kept."""
    kept: State = {"index": found.index, "state": found.arrays}
    kept |= {f"replay {first}": chunk for first, chunk in checkpoint.load_chunks(run / "checkpoint", found.index)}
    for name in ROWS:
        Rows(run / name).go_on(found.index["rows"][name])
        kept[name] = (run / name).read_bytes()
    return kept


def same(left: Any, right: Any) -> bool:
    """Return whether two states are equal to the bit."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, np.ndarray):
        return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())
    return bool(left == right)


def states(subject: Subject, scratch: Path) -> list[State]:
    """Return the states that the latest checkpoint and the one before stand for."""
    found: list[State] = []
    for _ in range(2):
        copy = copy_of(subject.run, scratch)
        if found:
            (copy / "checkpoint" / checkpoint.INDEX).unlink()
        whole = checkpoint.find(copy / "checkpoint", subject.identity, subject.final)
        assert whole is not None
        found.append(state_of(whole, copy))
    return found


def judge(subject: Subject, cases: int, seed: int, scratch: Path) -> Verdicts:
    """Return what became of that many damaged copies, the damage drawn from the seed."""
    latest, before = states(subject, scratch)
    verdicts, rng = Verdicts(), Random(seed)
    for case in range(cases):
        copy = copy_of(subject.run, scratch)
        name, kind = _spoil(copy, rng, subject.others)
        verdict = verdict_on(copy, subject, name, latest, before)
        verdicts.counts[kind, verdict] += 1
        if verdict == SILENT:
            verdicts.silent.append(f"case {case}, seed {seed}: {kind} of {name}")
    return verdicts


def copy_of(run: Path, scratch: Path) -> Path:
    """Return a copy of the run to be damaged; the one before goes."""
    copy = scratch / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    return Path(shutil.copytree(run, copy))


def _spoil(copy: Path, rng: Random, others: list[Path]) -> tuple[str, str]:
    if rng.random() < 0.05:
        spoil, name = rng.choice(FOLDERS), "checkpoint"
        spoil(copy, rng, others)
    else:
        files = [p for p in sorted(copy.rglob("*")) if p.is_file() and ("checkpoint" in p.parts or p.name in ROWS)]
        path, spoil = rng.choice(files), rng.choice(KINDS)
        name = path.name
        spoil(path, rng, others)
    return name, spoil.__name__


def verdict_on(copy: Path, subject: Subject, name: str, latest: State, before: State) -> str:
    """Return what became of a damaged copy."""
    try:
        found = checkpoint.find(copy / "checkpoint", subject.identity, subject.final)
    except CheckpointError as error:
        return REFUSED if name in str(error) else SILENT
    if found is None:
        return SILENT
    state = state_of(found, copy)
    if not found.damage:
        return HARMLESS if same(state, latest) or same(state, before) else SILENT
    return PREVIOUS if name in found.damage and same(state, before) else SILENT
