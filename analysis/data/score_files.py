"""Score files of others: tidy CSV, and what DreamerV3 writes (`*.json.gz`, and `scores.jsonl` per run).

DreamerV3's files hold training episodes (`xs` are frames, `ys` returns), which are scored as its authors score them: by
the mean of the episodes that end in the last 10 000 of 400 000 frames, or in the last fortieth of another length. Where
all runs of a file have their scores at the same frames, they are evaluations or means over bins, and the last counts.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from agent.contract import files
from agent.contract.words import ConfigError, typed_path
from analysis.data import scores
from analysis.data.scores import TRAINING_WINDOW, RunScores, read_text
from analysis.data.values import MAX_FRAMES, is_finite


def split_name(text: str) -> tuple[str, Path]:
    """Return the method's name (or "") and the path of `PATH` or `NAME:PATH`; a path that exists is one."""
    name, colon, path = text.partition(":")
    whole = typed_path("extra", text)
    return ("", whole) if not colon or whole.exists() else (name.strip(), typed_path("extra", path))


def read_scores(text: str) -> list[RunScores]:
    """Return the runs of `PATH` or `NAME:PATH`, their method called NAME where one is given.

    Raises: ConfigError that names the file, and the place in it.
    """
    name, path = split_name(text)
    if path.is_dir():
        runs = _windowed(path, [_run_file(file) for file in sorted(path.rglob("scores.jsonl"))])
    elif path.name.endswith(".jsonl"):
        runs = _windowed(path, [_run_file(path)])
    elif path.name.endswith((".json", ".json.gz")):
        runs = _windowed(path, _records(path))
    else:
        runs = scores.read_tidy(path)
    methods = sorted({run.method for run in runs})
    names = {method: f"{name} {method}" if len(methods) > 1 else name for method in methods} if name else {}
    return [replace(run, method=names.get(run.method, run.method)) for run in runs]


def _records(path: Path) -> list[RunScores]:
    """Return the runs of a list of records with task, method, seed, xs, ys."""
    try:
        data: Any = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON ({error})") from error
    if not isinstance(data, list) or not data:
        raise ConfigError(f"{path}: a list of runs with task, method, seed, xs and ys is expected")
    found: list[RunScores] = []
    for number, entry in enumerate(cast("list[Any]", data)):
        where = f"{path}, run {number}"
        record = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        lacking = [key for key in ("task", "method", "seed", "xs", "ys") if key not in record]
        if lacking:
            raise ConfigError(f"{where}: no {lacking[0]!r}; task, method, seed, xs and ys are expected")
        xs, ys = (cast("list[Any]", record[key]) if isinstance(record[key], list) else None for key in ("xs", "ys"))
        if xs is None or ys is None or len(xs) != len(ys):
            raise ConfigError(f"{where}: xs and ys must be lists of one length")
        points = zip(xs, ys, strict=True)
        names = [" ".join(str(record[key]).split()) for key in ("method", "task")]
        found.append(_run((names[0], names[1], _seed(where, record["seed"])), points, where))
    return found


def _run_file(path: Path) -> RunScores:
    """Return the run of a `scores.jsonl`, whose folder is TASK/METHOD/SEED or TIME-TASK-METHOD-SEED."""
    rows, problems = files.read_rows(path)
    if problems and not problems[-1].endswith("an interrupted write"):
        raise ConfigError(problems[0])
    folders = path.absolute().parts[-4:-1]
    named = folders[-1].split("-")
    task, method, seed = named[1:] if len(named) == 4 else folders if len(folders) == 3 else ("", "", "")
    points = [(row["step"], row["episode/score"]) for row in rows if "step" in row and "episode/score" in row]
    if not points:
        hint = "; a study of this harness is read by grid= or study=" if any("frames" in row for row in rows) else ""
        raise ConfigError(f"{path}: no rows with 'step' and 'episode/score'{hint}")
    return _run((method, task, _seed(f"{path}: its folder", seed)), points, str(path))


def _seed(where: str, value: Any) -> int:
    match = re.fullmatch(r"(?:seed[-_]?)?([0-9]{1,10})", str(value))
    if match is None:
        raise ConfigError(f"{where}: {str(value)!r} is no seed; TASK/METHOD/SEED or TIME-TASK-METHOD-SEED is expected")
    return int(match[1])


def _run(key: tuple[str, str, int], points: Iterable[tuple[Any, Any]], where: str) -> RunScores:
    """Return a run of (frames, score); scores at one frame are averaged, empty bins (null) left out."""
    found: dict[int, list[float]] = {}
    for frames, score in points:
        if score is None or (isinstance(score, float) and math.isnan(score)):
            continue
        if not is_finite(frames) or not 0 <= frames <= MAX_FRAMES or not is_finite(score):
            raise ConfigError(f"{where}: {score!r} at {frames!r} frames is no score")
        found.setdefault(round(frames), []).append(float(score))
    at = sorted(found)
    means = [math.fsum(found[frame]) / len(found[frame]) for frame in at]
    return RunScores(*key, np.array(at, np.int64), np.array(means, np.float64))


def _windowed(path: Path, runs: list[RunScores]) -> list[RunScores]:
    """Return the runs with the window in which the episodes lie that make their scores."""
    runs = [run for run in runs if len(run.frames)]
    if not runs:
        raise ConfigError(f"{path}: no scores in it; a tidy CSV, DreamerV3's json.gz, or scores.jsonl per run are read")
    if len(runs) > 1 and all(np.array_equal(run.frames, runs[0].frames) for run in runs):
        return runs
    last: dict[str, int] = {}
    for run in runs:
        last[run.task] = max(last.get(run.task, 0), int(run.frames[-1]))
    return [replace(run, window=_window(last[run.task])) for run in runs]


def _window(last: int) -> tuple[int, int]:
    if TRAINING_WINDOW[0] <= last <= 1.125 * TRAINING_WINDOW[1]:  # DreamerV3 trains on for 10% after its 400 000 frames
        return TRAINING_WINDOW
    step = 10 ** max(0, len(str(last)) - 2)
    end = -(-last // step) * step
    return end - end // 40, end
