"""Benchmarks, one file of `scores/benchmarks/` each: tasks, frames, and the scores that results are normalised with.

A file is CSV, `task,random,human` or `task,random,reference`, or `task` alone where nothing is normalised. Lines above
the header that begin with # say the rest: title, frames, source, and notes for under the tables.
"""

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import ArrayLike

from agent.contract.words import ConfigError, matched, nearest
from analysis import stats
from analysis.data.scores import NUMBER, SCORES, csv_rows, read_text
from analysis.data.values import is_finite
from analysis.stats.resample import Floats

FOLDER = SCORES / "benchmarks"
TOPS = ("human", "reference")
WORDS = ("title", "frames", "source", "exact", "integer")
KINDS = ("exact", "integer")


@dataclass(frozen=True)
class Reference:
    """The scores of a task that become 0 and 1: a random player's, and a human's or another reference (`kind`)."""

    random: float
    top: float
    kind: str
    file: Path

    def normalise(self, scores: ArrayLike) -> Floats:
        """Return the scores on the scale of the reference."""
        return stats.normalise(scores, self.random, self.top)


@dataclass(frozen=True)
class Benchmark:
    """What its file says; `frames` is 0 where it names none. `words` are the remarks above its header."""

    name: str
    tasks: tuple[str, ...]
    references: Mapping[str, Reference]
    words: Mapping[str, str]
    file: Path

    @property
    def title(self) -> str:
        """Return its name for readers."""
        return self.words.get("title", self.name)

    @property
    def frames(self) -> int:
        """Return at how many frames its runs are scored."""
        return int(self.words.get("frames", "0"))


@functools.cache
def benchmarks(folder: Path = FOLDER) -> dict[str, Benchmark]:
    """Return every benchmark by the name of its file; ConfigError where two give a task different references."""
    found = {path.stem: read_benchmark(path) for path in sorted(folder.glob("*.csv"))}
    seen: dict[str, Reference] = {}
    for benchmark in found.values():
        for task, reference in benchmark.references.items():
            other = seen.setdefault(task, reference)
            if (other.random, other.top) != (reference.random, reference.top):
                raise ConfigError(f"{benchmark.file}: {task} has other references than in {other.file}")
    return found


def references(kind: str = "exact") -> dict[str, Reference]:
    """Return the references of every benchmark's tasks, as published (`exact`) or rounded half to even (`integer`)."""
    if kind not in KINDS:
        raise ConfigError(nearest(kind, KINDS, "reference"))
    exact = {task: found for benchmark in benchmarks().values() for task, found in benchmark.references.items()}
    if kind == "exact":
        return exact
    return {t: Reference(float(round(r.random)), float(round(r.top)), r.kind, r.file) for t, r in exact.items()}


def normalised(
    runs: Mapping[str, ArrayLike], tasks: Sequence[str], table: Mapping[str, Reference] | None = None
) -> list[Floats]:
    """Return the normalised scores per task, in the order of `tasks`, by the exact references without others."""
    return [(table or references())[task].normalise(runs[task]) for task in tasks]


def read_benchmark(path: Path) -> Benchmark:
    """Return what a file says; ConfigError names file, line, value and what is expected."""
    rows = list(csv_rows(path, ("task",)))
    columns = list(rows[0][1])
    tops = [name for name in TOPS if name in columns]
    if len(tops) > 1 or bool(tops) != ("random" in columns):
        raise ConfigError(
            f"{path}: columns are {','.join(columns)}; task,random,human or task,random,reference is expected"
        )
    lines: dict[str, int] = {}
    found: dict[str, Reference] = {}
    for number, row in rows:
        task = row["task"]
        if not task:
            raise ConfigError(f"{path}, line {number}: task must not be empty")
        if task in lines:
            raise ConfigError(f"{path}, line {number}: {task} is given twice (line {lines[task]})")
        lines[task] = number
        if tops:
            random, top = (_score(path, number, name, row[name]) for name in ("random", *tops))
            if random == top:
                raise ConfigError(f"{path}, line {number}: random and {tops[0]} are both {random:g}; they must differ")
            found[task] = Reference(random, top, tops[0], path)
    return Benchmark(path.stem, tuple(lines), found, _words(path), path)


def _score(path: Path, number: int, name: str, text: str) -> float:
    score = float(text) if NUMBER.fullmatch(text) else math.nan
    if not is_finite(score):
        raise ConfigError(f"{path}, line {number}: {name} is {text!r}, a finite number is expected")
    return score


def _words(path: Path) -> dict[str, str]:
    """Return the remarks above the header; other lines with # are comments."""
    found: dict[str, str] = {}
    for line in read_text(path).splitlines():
        if not line.startswith("#"):
            break
        name, colon, text = line.removeprefix("#").partition(":")
        if colon and name.strip() in WORDS:
            found[name.strip()] = text.strip()
    if not re.fullmatch("[0-9]{1,12}", found.get("frames", "0")):
        raise ConfigError(f"{path}: frames is {found['frames']!r}, a whole number is expected")
    return found


def read_references(path: Path) -> dict[str, Reference]:
    """Return the references in a file that has to have some."""
    found = read_benchmark(path).references
    if not found:
        raise ConfigError(
            f"{path}: no column 'random'; the header must name task,random,human or task,random,reference"
        )
    return dict(found)


def spelt_as(given: Mapping[str, Reference], tasks: Sequence[str]) -> dict[str, Reference]:
    """Return given references by the names that the report has for their tasks; those of no task keep theirs.

    Raises: ConfigError when none of them is of a task of the report, or two are of one.
    """
    names = matched(given, list(tasks))
    known = {name: task for task, name in names.items() if name}
    if given and not known:
        (file,) = {reference.file for reference in given.values()}
        raise ConfigError(
            f"references={file}: none of its tasks is in the report; {nearest(next(iter(given)), tasks, 'task')}"
        )
    for task, name in names.items():
        if name and known[name] != task:
            raise ConfigError(f"references: {known[name]} and {task} are both {name}")
    return {names[task] or task: reference for task, reference in given.items()}


def benchmark_of(tasks: Iterable[str], frames: tuple[int, int]) -> Benchmark | None:
    """Return the benchmark that has all these tasks, of several the nearest, None without one."""
    wanted = set(tasks)
    having = [b for b in benchmarks().values() if wanted <= set(b.tasks)]
    return min(having, key=lambda b: (not at_frames(b, frames), len(b.tasks)), default=None)


def at_frames(benchmark: Benchmark, frames: tuple[int, int]) -> bool:
    """Return whether runs are scored at the benchmark's frames, within a fortieth."""
    return not benchmark.frames or all(abs(end - benchmark.frames) <= benchmark.frames / 40 for end in frames)
