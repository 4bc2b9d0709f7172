"""Two or more methods on the same tasks: probability of improvement, ranks, wins, and a paired test across tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.resample import Floats, Stream, percentile_bounds, stratified_indices
from analysis.runs import Interval, Runs, check_bootstrap, no_interval, strata


@dataclass(frozen=True)
class Improvement:
    """P(a run of x beats a run of y), averaged over tasks, and per task; ties count one half."""

    overall: Interval
    per_task: Floats


def probability_of_improvement(
    x: Runs, y: Runs, *, reps: int = 50_000, seed: int = 0, level: float = 0.95
) -> Improvement:
    """Return the mean over tasks of P(X > Y) + P(X = Y)/2 with a percentile interval, x and y resampled independently.

    Wins are counted in half points, whole numbers that are exact in any order of addition. Scores need no common scale
    across tasks, so raw scores do. Source: Agarwal et al. 2021, section 4.
    """
    first, second = strata(x), strata(y)
    if len(first) != len(second):
        raise ValueError(f"methods must be compared on the same tasks, not on {len(first)} and {len(second)}")
    wins = [2.0 * (a[:, None] > b) + (a[:, None] == b) for a, b in zip(first, second, strict=True)]
    per_task = np.array([win.sum() / (2.0 * win.size) for win in wins])
    n_runs = sum(map(len, first)) + sum(map(len, second))
    point = float(per_task.sum() / len(wins))
    reason = no_interval([*first, *second])
    if reason:
        return Improvement(Interval(point, None, None, n_runs, len(wins), reason), per_task)
    check_bootstrap(reps)
    low, high = percentile_bounds(_improvement_replicates(wins, reps, seed), level)
    return Improvement(Interval(point, float(low), float(high), n_runs, len(wins)), per_task)


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


def ranks(values: ArrayLike) -> Floats:
    """Return ranks from 1 for the smallest value on; equal values share the mean of their ranks."""
    array = np.asarray(values, np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[inverse]


def average_rank(means: Mapping[str, ArrayLike]) -> dict[str, float]:
    """Return each method's rank (1 is best) by its mean per task, ties sharing ranks, averaged over tasks."""
    table = np.array([np.asarray(column, np.float64) for column in means.values()])
    _all_finite(table)
    per_task = np.array([ranks(-column) for column in table.T])
    return {name: float(rank) for name, rank in zip(means, per_task.sum(axis=0) / len(per_task), strict=True)}


def win_tie_loss(x: ArrayLike, y: ArrayLike) -> tuple[int, int, int]:
    """Return on how many tasks x's mean is above, equal to, and below y's."""
    differences = np.asarray(x, np.float64) - np.asarray(y, np.float64)
    _all_finite(differences)
    return int((differences > 0).sum()), int((differences == 0).sum()), int((differences < 0).sum())


def signed_rank_test(differences: ArrayLike) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test on paired differences, one per task.

    Exact, with ties, for any number of tasks: the null distribution of the rank sum is built by convolution. Zero
    differences are left out, as Wilcoxon did; without a non-zero difference p = 1.
    """
    values = np.asarray(differences, np.float64)
    _all_finite(values)
    values = values[values != 0]
    if not len(values):
        return 1.0
    doubled = np.rint(2 * ranks(np.abs(values))).astype(np.int64)  # ranks of ties are halves
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


def _all_finite(values: Floats) -> None:
    if not np.isfinite(values).all():
        raise ValueError("a task's mean is not a finite number; leave the task out for all methods")
