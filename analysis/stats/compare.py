"""Two or more methods on the same tasks: probability of improvement, ranks, wins, and a paired test across tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.intervals import check_kind, improvement_bounds, over_tasks, task_reason, unusable
from analysis.stats.resample import Floats, Stream, percentile_bounds, stratified_indices
from analysis.stats.runs import Interval, Runs, check_bootstrap, no_interval, strata
from analysis.stats.ties import ranks, signs


@dataclass(frozen=True)
class Improvement:
    """P(a run of x beats a run of y), averaged over tasks, and per task; ties count one half."""

    overall: Interval
    per_task: Floats


def probability_of_improvement(
    x: Runs, y: Runs, *, reps: int = 50_000, seed: int = 0, level: float = 0.95, interval: str = "student"
) -> Improvement:
    """Return the mean over tasks of P(X > Y) + P(X = Y)/2 with an interval of one of the KINDS of intervals.py.

    Wins are counted in half points, whole numbers that are exact in any order of addition. Scores need no common scale
    across tasks, so raw scores do. Source: Agarwal et al. 2021, section 4.
    """
    check_kind(interval)
    first, second = strata(x), strata(y)
    if len(first) != len(second):
        raise ValueError(f"methods must be compared on the same tasks, not on {len(first)} and {len(second)}")
    wins = [1.0 + signs(a[:, None], b) for a, b in zip(first, second, strict=True)]
    per_task = np.array([win.sum() / (2.0 * win.size) for win in wins])
    n_runs = sum(map(len, first)) + sum(map(len, second))
    point = float(per_task.sum() / len(wins))
    reason, ends = _improvement_ends(wins, per_task, interval, level, reps, seed)
    low, high = ends or (None, None)
    return Improvement(Interval(point, low, high, n_runs, len(wins), reason), per_task)


def _improvement_ends(
    wins: Sequence[Floats], per_task: Floats, kind: str, level: float, reps: int, seed: int
) -> tuple[str, tuple[float, float] | None]:
    """Return why there is no interval, or "" and its ends."""
    sides = [[win[:, 0] for win in wins], [win[0] for win in wins]]  # only their lengths matter
    if kind == "tasks":
        half = over_tasks(per_task, level)
        point = float(per_task.mean())
        if half is not None:
            return "", (max(0.0, point - half), min(1.0, point + half))
        return task_reason(len(wins)) or "all tasks alike", None
    if kind == "percentile":
        if reason := no_interval([*sides[0], *sides[1]]):
            return reason, None
        check_bootstrap(reps)
        low, high = percentile_bounds(_improvement_replicates(wins, reps, seed), level)
        return "", (float(low), float(high))
    if reason := unusable("mean", sides[0]) or unusable("mean", sides[1]):
        return reason, None
    return "", improvement_bounds(wins, float(per_task.sum() / len(wins)), level)


def _improvement_replicates(wins: Sequence[Floats], reps: int, seed: int) -> Floats:
    rows, columns = [len(win) for win in wins], [win.shape[1] for win in wins]
    parts: list[Floats] = []
    pairs = zip(
        stratified_indices(rows, reps, Stream(seed, 0)), stratified_indices(columns, reps, Stream(seed, 1)), strict=True
    )
    for drawn_x, drawn_y in pairs:
        total = np.zeros(len(drawn_x))
        first_x = first_y = 0
        for win in wins:
            n, m = win.shape
            points = np.zeros(len(drawn_x))
            mine = drawn_x[:, first_x : first_x + n] - first_x
            theirs = drawn_y[:, first_y : first_y + m] - first_y
            against = np.zeros((len(drawn_x), n))  # half points of each run of x against the drawn runs of y
            for column in range(m):
                against += win.T[theirs[:, column]]
            for row in range(n):
                points += np.take_along_axis(against, mine[:, row : row + 1], axis=1)[:, 0]
            total += points / (2.0 * win.size)
            first_x, first_y = first_x + n, first_y + m
        parts.append(total / len(wins))
    return np.concatenate(parts)


def average_rank(means: Mapping[str, ArrayLike], scale: ArrayLike = 1.0) -> dict[str, float]:
    """Return each method's rank (1 is best) by its mean per task, ties sharing ranks, averaged over tasks.

    `scale` is the magnitude of the tasks' scores, one or one per task, of which ties may differ by TOLERANCE.
    """
    columns = _alike(list(means.values()))
    table = np.array(columns)
    scales = np.broadcast_to(np.asarray(scale, np.float64), table[0].shape)
    per_task = np.array([ranks(-column, one) for column, one in zip(table.T, scales, strict=True)])
    return {name: float(rank) for name, rank in zip(means, per_task.sum(axis=0) / len(per_task), strict=True)}


def win_tie_loss(x: ArrayLike, y: ArrayLike, scale: ArrayLike = 1.0) -> tuple[int, int, int]:
    """Return on how many tasks x's mean is above, equal to, and below y's; `scale` as for `average_rank`."""
    first, second = _alike([x, y])
    found = signs(first, second, scale)
    return int((found > 0).sum()), int((found == 0).sum()), int((found < 0).sum())


def signed_rank_test(differences: ArrayLike, scale: ArrayLike = 1.0) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test on paired differences, one per task.

    Exact, with ties, for any number of tasks: the null distribution of the rank sum is built by convolution. Zero
    differences are left out, as Wilcoxon did; without a non-zero difference p = 1. `scale` is the magnitude of what was
    subtracted, one or one per task: differences below TOLERANCE of it are zero.
    """
    (values,) = _alike([differences])
    values = values[signs(values, 0.0, scale) != 0]
    if not len(values):
        return 1.0
    doubled = np.rint(2 * ranks(np.abs(values), np.max(scale))).astype(np.int64)  # ranks of ties are halves
    total = int(doubled.sum())
    chance = np.zeros(total + 1)
    chance[0] = 1.0
    for rank in doubled:
        shifted = np.zeros_like(chance)
        shifted[rank:] = chance[: len(chance) - rank]
        chance = (chance + shifted) / 2
    observed = int(doubled[values > 0].sum())
    tail = min(observed, total - observed)
    return min(1.0, 2.0 * float(chance[: tail + 1].sum()))


def _alike(columns: Sequence[ArrayLike]) -> list[Floats]:
    """Return arrays of finite numbers, one number per task in each."""
    arrays = [np.asarray(column, np.float64) for column in columns]
    shapes = [array.shape for array in arrays]
    if any(len(shape) != 1 for shape in shapes) or len(set(shapes)) > 1:
        listed = " and ".join(map(str, shapes))
        raise ValueError(f"one number per task, of the same tasks, is expected for each method, not shapes {listed}")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a task's mean is not a finite number; leave the task out for all methods")
    return arrays
