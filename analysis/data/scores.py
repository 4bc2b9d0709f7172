"""Scores of runs, bundled or added as tidy CSV."""

import csv
import functools
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.contract.methods import HARMONY, PAIR, PLAIN, methods
from agent.contract.words import ConfigError, nearest
from analysis.data.values import MAX_FRAMES, is_finite, is_whole
from analysis.stats.resample import Floats
from analysis.stats.ties import exact_mean

SCORES = Path(__file__).resolve().parents[2] / "scores"
BENCHMARK = "atari100k"  # of the published scores
PUBLISHED = ("harmony_dreamerv3_published", "dreamerv3_published")
OUR_LABELS = {name: method.label for name, method in methods().items()}
OURS = (HARMONY, PLAIN, *(name for name in OUR_LABELS if name not in PAIR))
TRAINING_WINDOW = (390_000, 400_000)
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")  # not 1_000, nan, or other scripts' digits
MAX_TEXT = 2**29
COLUMNS = ("method", "task", "seed", "frames", "score")


@dataclass(frozen=True, eq=False)
class RunScores:
    """The scores of one run along training: frames [n] ascending, scores [n] finite.

    `complete` is False for a run that has not reached its end. `window` is set where scores are training episodes: the
    run's score is the mean of those within it; otherwise it is the last evaluation. `folder` is the run's place in its
    study, also where it has not begun; None for scores that were added or published.
    """

    method: str
    task: str
    seed: int
    frames: NDArray[np.int64]
    scores: Floats
    complete: bool = True
    window: tuple[int, int] | None = None
    unit: str = "return"
    folder: Path | None = None

    def final(self, last: int = 1, frames: int = 0) -> float:
        """Return the mean of the last `last` evaluations, or of those in the last `frames` frames; NaN without any.

        Where scores are training episodes, it is the mean of those in the window.
        """
        if self.window is not None:
            inside = (self.frames >= self.window[0]) & (self.frames <= self.window[1])
            return exact_mean(self.scores[inside]) if inside.any() else math.nan
        if not len(self.scores):
            return math.nan
        return exact_mean(self.scores[self.frames > self.frames[-1] - frames] if frames else self.scores[-last:])


@dataclass(frozen=True)
class Method:
    """What is known of a method with published figures."""

    name: str
    label: str
    year: int
    kind: str
    source: str
    note: str


@functools.cache
def published_methods() -> dict[str, Method]:
    """Return the methods of `scores/` by name."""
    rows = csv_rows(SCORES / "methods.csv", ("method", "label", "year", "kind", "source", "note"))
    return {
        r["method"]: Method(r["method"], r["label"], int(r["year"]), r["kind"], r["source"], r["note"]) for _, r in rows
    }


other_labels: dict[str, str] = {}  # of the other agents' methods in the report's study, as its plan has them


def label(method: str) -> str:
    """Return a method's name for readers; an unknown method keeps its own."""
    base, at, variant = method.partition("@")
    known_here = other_labels | OUR_LABELS
    if base in known_here:
        return known_here[base] + (f" [{variant}]" if at else "")
    known = published_methods().get(method)
    return known.label if known else method


def bundled(methods: Sequence[str] = PUBLISHED) -> list[RunScores]:
    """Return the runs of the named published methods that come with learning curves or single runs."""
    wanted, known = set(methods), published_methods()
    for method in methods:
        if method not in known or known[method].kind == "means":
            having = [name for name, entry in known.items() if entry.kind != "means"]
            raise ConfigError(nearest(method, having, "published method"))
    found: list[RunScores] = []
    files = {
        "evaluations": "atari100k_harmonydream.csv",
        "training": "atari100k_dreamerv3_2024_ppo.csv",
        "runs": "atari100k_literature_runs.csv",
    }
    for kind, file in files.items():
        if any(known[method].kind == kind for method in wanted):
            window = TRAINING_WINDOW if kind == "training" else None
            found += [run for run in read_tidy(SCORES / file, window=window) if run.method in wanted]
    return found


@dataclass(frozen=True)
class Literature:
    """Per-task means of a published method, and its single runs where they are public."""

    method: Method
    means: dict[str, float]
    runs: dict[str, list[float]]


def literature() -> list[Literature]:
    """Return the published methods other than the two of the HarmonyDream paper, oldest first."""
    known = {name: method for name, method in published_methods().items() if name not in PUBLISHED and name != "ppo"}
    runs: dict[str, dict[str, list[float]]] = {name: {} for name in known}
    for run in bundled([name for name, method in known.items() if method.kind != "means"]):
        if not math.isnan(score := run.final()):
            runs[run.method].setdefault(run.task, []).append(score)
    means = {name: {task: float(np.mean(scores)) for task, scores in by_task.items()} for name, by_task in runs.items()}
    for _, row in csv_rows(SCORES / "atari100k_literature_means.csv", ("method", "task", "n", "mean", "std")):
        means[row["method"]][row["task"]] = float(row["mean"])
    return [
        Literature(method, means[name], runs[name])
        for name, method in sorted(known.items(), key=lambda item: item[1].year)
    ]


def read_tidy(path: Path, window: tuple[int, int] | None = None) -> list[RunScores]:
    """Return the runs of a tidy CSV with columns method, task, seed, frames, score (others are ignored).

    Raises: ConfigError naming file, line, value and what is expected.
    """
    points: dict[tuple[str, str, int], dict[int, float]] = {}
    for number, row in csv_rows(path, COLUMNS):
        seed, frames = (_whole(path, number, name, row[name]) for name in ("seed", "frames"))
        score = float(row["score"]) if NUMBER.fullmatch(row["score"]) else math.nan
        if not is_finite(score):
            raise ConfigError(f"{path}, line {number}: score is {row['score']!r}, a finite number is expected")
        if not row["method"] or not row["task"]:
            raise ConfigError(f"{path}, line {number}: method and task must not be empty")
        curve = points.setdefault((row["method"], row["task"], seed), {})
        if frames in curve:
            who = f"{row['method']}, {row['task']}, seed {seed}"
            raise ConfigError(f"{path}, line {number}: a second score of {who} at {frames} frames")
        curve[frames] = score
    return [_run(key, curve, window) for key, curve in points.items()]


def _run(key: tuple[str, str, int], curve: dict[int, float], window: tuple[int, int] | None) -> RunScores:
    frames = sorted(curve)
    scores = np.array([curve[frame] for frame in frames], np.float64)
    return RunScores(*key, np.array(frames, np.int64), scores, window=window)


def _whole(path: Path, number: int, name: str, text: str) -> int:
    value = int(text) if re.fullmatch(r"[0-9]{1,20}", text) else -1
    if not is_whole(value, MAX_FRAMES):
        raise ConfigError(f"{path}, line {number}: {name} is {text!r}, a whole number from 0 on is expected")
    return value


def csv_rows(path: Path, columns: Sequence[str]) -> Iterable[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV file, gzip or not, with their lines.

    Spaces around a cell are left out, and so are lines above the header that begin with #.
    """
    lines = read_text(path).splitlines(keepends=True)
    above = next((k for k, line in enumerate(lines) if not line.startswith("#")), len(lines))
    try:
        reader = csv.DictReader(io.StringIO("".join(lines[above:]), newline=""), restval=None)
        header = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = header
        _check_header(path, header, columns)
        rows = [(above + reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ConfigError(f"{path}: not a CSV file ({error})") from error
    for number, row in rows:
        if any(row[name] is None for name in columns):  # pyright: ignore[reportUnnecessaryComparison] # short rows give None
            raise ConfigError(f"{path}, line {number}: fewer columns than the header's {len(header)}")
        if None in row:  # DictReader keeps what is left over under None
            hint = "a decimal point is expected, and no comma inside numbers"
            raise ConfigError(f"{path}, line {number}: more columns than the header's {len(header)}; {hint}")
    if not rows:
        raise ConfigError(f"{path}: no rows below the header")
    return [(number, {name: " ".join((row[name] or "").split()) for name in header}) for number, row in rows]


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    """Raise ConfigError unless the header names the columns, with what separates them where that is not a comma."""
    missing = [name for name in columns if name not in header]
    if not missing:
        return
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and set(columns) <= {part.strip() for part in header[0].split(separator)}:
            raise ConfigError(f"{path}: columns are separated by {name}; write commas, and a point in decimal numbers")
    raise ConfigError(f"{path}: no column {missing[0]!r}; the header must name {','.join(columns)}")


def read_text(path: Path) -> str:
    """Return a file's text; ConfigError where it has none."""
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(MAX_TEXT + 1)
        if len(data) > MAX_TEXT:
            raise ConfigError(f"{path}: longer than {MAX_TEXT >> 20} MiB")
        return data.decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(f"{path}: damaged gzip ({error})") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a CSV file in UTF-8 ({error.reason} at byte {error.start})") from error
