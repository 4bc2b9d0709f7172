"""Aggregates, their bootstrap intervals, profiles and learning curves of one method's runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.intervals import check_kind, profile_bounds, spread, task_half_width, task_reason, unusable
from analysis.stats.metrics import METRICS, Pool, Sample, named, subtracted
from analysis.stats.resample import Floats, Stream, percentile_bounds, stratified_indices
from analysis.stats.runs import Interval, Runs, check_bootstrap, no_interval, strata
from analysis.stats.ties import exact_mean, margin

REPS = 50_000
NO_SPREAD = "no run differs from another"


def normalise(scores: ArrayLike, random: float, human: float) -> Floats:
    """Return (scores - random) / (human - random), 0 for a random player and 1 for the human reference."""
    if not (math.isfinite(random) and math.isfinite(human)) or random == human:
        raise ValueError(f"a reference needs two different finite scores, not random={random} and human={human}")
    return (np.asarray(scores, np.float64) - random) / (human - random)


def estimate(name: str, runs: Runs) -> float:
    """Return a statistic of METRICS by its name."""
    return float(named(name).function(Pool(strata(runs)).itself())[0])


def mean(runs: Runs) -> float:
    """Return the mean over tasks of each task's mean over runs."""
    return estimate("mean", runs)


def median(runs: Runs) -> float:
    """Return the median over tasks of each task's mean over runs."""
    return estimate("median", runs)


def iqm(runs: Runs) -> float:
    """Return the interquartile mean of all runs of all tasks: ⌊N/4⌋ of N pooled values are cut at each end.

    In ragged data a run counts lcm(sizes)/size times in the pool, so that all tasks have equally many values in it.
    """
    return estimate("iqm", runs)


def optimality_gap(runs: Runs) -> float:
    """Return 1 - mean(min(score, 1)): how far runs fall short of 1, a surplus on one task not making up for another."""
    return estimate("optimality_gap", runs)


def superhuman(runs: Runs) -> int:
    """Return the number of tasks whose mean over runs exceeds 1."""
    return int(estimate("superhuman", runs))


def replicates(runs: Runs, metrics: Sequence[str], reps: int = REPS, seed: int = 0, key: int = 0) -> dict[str, Floats]:
    """Return for each metric its value [reps] on bootstrap samples: runs drawn with replacement within each task.

    The same (seed, key) draws the same indices for equally sized runs; use another key for an independent method.
    """
    check_bootstrap(reps)
    arrays = strata(runs)
    parts: dict[str, list[Floats]] = {name: [] for name in metrics}
    functions = {name: named(name).function for name in metrics}
    pool = Pool(arrays)
    for indices in stratified_indices(pool.sizes, reps, Stream(seed, key)):
        sample = Sample(pool, indices)
        for name, function in functions.items():
            parts[name].append(function(sample))
    return {name: np.concatenate(part) for name, part in parts.items()}


def aggregate(
    runs: Runs,
    metrics: Sequence[str] | None = None,
    *,
    reps: int = REPS,
    seed: int = 0,
    level: float = 0.95,
    interval: str = "student",
) -> dict[str, Interval]:
    """Return the estimate with its interval of each metric, or of all: of a KIND of analysis/stats/intervals.py."""
    arrays = strata(runs)
    points = {name: estimate(name, arrays) for name in (METRICS if metrics is None else metrics)}
    return _intervals([arrays], points, reps, seed, level, interval)


def difference(
    x: Runs,
    y: Runs,
    metrics: Sequence[str] | None = None,
    *,
    reps: int = REPS,
    seed: int = 0,
    level: float = 0.95,
    interval: str = "student",
) -> dict[str, Interval]:
    """Return metric(x) - metric(y) with intervals, the runs of x and of y drawn independently (tasks together).

    Without `metrics`, of all but counts.
    """
    first, second = strata(x), strata(y)
    if len(first) != len(second):
        raise ValueError(f"methods must be compared on the same tasks, not on {len(first)} and {len(second)}")
    points = {
        name: estimate(name, first) - estimate(name, second) for name in (subtracted() if metrics is None else metrics)
    }
    return _intervals([first, second], points, reps, seed, level, interval)


def _intervals(
    groups: list[list[Floats]], points: dict[str, float], reps: int, seed: int, level: float, kind: str
) -> dict[str, Interval]:
    """Return intervals of one method's metrics, or of their differences between two."""
    check_kind(kind)
    check_bootstrap(reps, seed, level)
    reasons = {name: _reason(name, groups, kind) for name in points}
    needed = [
        n for n in points if not reasons[n] and (kind == "percentile" or (kind == "student" and named(n).bootstrap))
    ]
    drawn = [replicates(arrays, needed, reps, seed, key) if needed else {} for key, arrays in enumerate(groups)]
    n_runs, n_tasks = sum(len(array) for arrays in groups for array in arrays), len(groups[0])
    found: dict[str, Interval] = {}
    for name, point in points.items():
        ends = None
        if not reasons[name]:
            ends = _ends(name, groups, point, [one.get(name) for one in drawn], reps, seed, level, kind)
        low, high = ends or (None, None)
        reason = reasons[name] or ("" if ends else NO_SPREAD)
        found[name] = Interval(point, low, high, n_runs, n_tasks, reason)
    return found


def _reason(name: str, groups: Sequence[Sequence[Floats]], kind: str) -> str:
    if kind == "percentile":
        return no_interval([array for arrays in groups for array in arrays])
    if kind == "tasks" and not named(name).count:
        return task_reason(len(groups[0]), named(name))
    return next((reason for arrays in groups if (reason := unusable(name, arrays))), "")


def _ends(
    name: str,
    groups: Sequence[list[Floats]],
    point: float,
    drawn: Sequence[Floats | None],
    reps: int,
    seed: int,
    level: float,
    kind: str,
) -> tuple[float, float] | None:
    """Return the ends of an interval, None where no run (no task) differs from another."""
    if kind == "percentile":
        values = [one for one in drawn if one is not None]
        low, high = percentile_bounds(values[0] if len(values) == 1 else values[0] - values[1], level)
        return float(low), float(high)
    if kind == "tasks":
        half = task_half_width(name, groups, reps, seed, level)
    else:
        spreads = [spread(name, arrays, one) for arrays, one in zip(groups, drawn, strict=True)]
        known = [one for one in spreads if one is not None]
        half = sum(known[1:], known[0]).half_width(level) if known else None
    return None if half is None else (point - half, point + half)


@dataclass(frozen=True)
class Profile:
    """The share of runs that score above each threshold, with a pointwise band (None where no interval is given).

    `task_share` is the share of tasks whose mean over runs exceeds the threshold.
    """

    taus: Floats
    share: Floats
    task_share: Floats
    low: Floats | None
    high: Floats | None
    n_runs: int
    n_tasks: int


def performance_profile(
    runs: Runs, taus: ArrayLike, *, reps: int = 10_000, seed: int = 0, level: float = 0.95, interval: str = "student"
) -> Profile:
    """Return the share of runs with score > τ for each τ, every task counting the same, with a pointwise band."""
    check_kind(interval)
    arrays = strata(runs)
    thresholds = np.asarray(taus, np.float64)
    if thresholds.ndim != 1 or not np.isfinite(thresholds).all():
        raise ValueError(f"thresholds are a list of finite numbers, not {taus!r}")
    over = thresholds + margin(thresholds)
    pool = Pool(arrays)
    above = (pool.values[:, None] > over).astype(np.float64)
    total = float(pool.multiplicities.sum())
    share = (above * pool.multiplicities[:, None]).sum(axis=0) / total
    low = high = None
    if not _reason("mean", [arrays], interval):
        if interval == "percentile":
            low, high = percentile_bounds(_drawn_shares(pool, above, reps, seed), level)
        else:
            low, high = profile_bounds(np.split(above, np.cumsum(pool.sizes)[:-1]), level, interval == "tasks")
    means = np.array([exact_mean(array) for array in arrays])
    task_share = (means[:, None] > over).sum(axis=0) / len(arrays)
    return Profile(thresholds, share, task_share, low, high, len(pool.values), len(arrays))


def _drawn_shares(pool: Pool, above: Floats, reps: int, seed: int) -> Floats:
    """Return bootstrap replicates [reps, thresholds] of the shares of runs above thresholds.

    How often a run was drawn times whether it exceeds τ is a product of whole numbers, so the matrix product is exact
    in whatever order it is added.
    """
    check_bootstrap(reps)
    n, weights = len(pool.values), above * pool.multiplicities[:, None]
    parts: list[Floats] = []
    for indices in stratified_indices(pool.sizes, reps, Stream(seed, 0)):
        flat = (indices + np.arange(len(indices))[:, None] * n).ravel()
        counts = np.bincount(flat, minlength=len(indices) * n).reshape(len(indices), n)
        parts.append(counts.astype(np.float64) @ weights)
    return np.concatenate(parts) / float(pool.multiplicities.sum())


@dataclass(frozen=True)
class Curve:
    """One metric along training: estimate and band per step, and how many runs each point rests on."""

    steps: Floats
    estimate: Floats
    low: Floats
    high: Floats
    n_runs: NDArray[np.int64]


def curve(
    steps: ArrayLike,
    evaluations: Sequence[ArrayLike],
    metric: str = "iqm",
    *,
    reps: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    interval: str = "student",
) -> Curve:
    """Return a metric over steps; `evaluations` holds [runs, steps] per task, NaN where a run has no evaluation (yet).

    A step is left out unless every task has a run there, since otherwise the set of tasks would change along the curve.
    The same seed at every step keeps runs whole along the curve. Bands are NaN where there is no interval.
    """
    where = np.asarray(steps, np.float64)
    if where.ndim != 1 or not (np.diff(where) > 0).all():
        raise ValueError("the steps of a curve must be a list of ascending numbers")
    matrices = [np.asarray(matrix, np.float64) for matrix in evaluations]
    if any(matrix.ndim != 2 or matrix.shape[1] != len(where) for matrix in matrices):
        raise ValueError(f"evaluations must be [runs, {len(where)} steps] per task, not {[m.shape for m in matrices]}")
    rows: list[tuple[float, Interval]] = []
    for column, step in enumerate(where):
        present = [matrix[~np.isnan(matrix[:, column]), column] for matrix in matrices]
        if all(map(len, present)):
            found = aggregate(present, [metric], reps=reps, seed=seed, level=level, interval=interval)
            rows.append((float(step), found[metric]))
    numbers = [
        [step, i.estimate, math.nan if i.low is None else i.low, math.nan if i.high is None else i.high]
        for step, i in rows
    ]
    table = np.array(numbers, np.float64).reshape(-1, 4)
    at, estimate, low, high = (table[:, k].copy() for k in range(4))
    return Curve(at, estimate, low, high, np.array([i.n_runs for _, i in rows], np.int64))
