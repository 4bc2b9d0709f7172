"""Tests of two methods on one task, Holm's correction of several tests, and effect sizes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from analysis.stats.intervals import t_quantile
from analysis.stats.resample import Floats
from analysis.stats.ties import exact_mean, exact_std, margin

ALPHA = 0.05
MOST_SPLITS = 20_000  # of 8 runs against 8 there are 12 870


@dataclass(frozen=True)
class TaskTest:
    """Two methods on one task: the difference of means with Welch's interval, tests, and effect sizes.

    NaN where there is none: a p-value that cannot reach ALPHA, an interval or effect without spread. `holm` is Welch's
    p corrected over the tasks tested.
    """

    task: str
    runs: tuple[int, int]
    difference: float
    low: float
    high: float
    hedges_g: float
    improvement: float
    permutation_p: float
    welch_p: float
    holm: float = math.nan


def permutation_test(x: Floats, y: Floats) -> tuple[float, float]:
    """Return the exact two-sided p of the difference of means, and the smallest p that other scores could have had.

    Every way to split the runs into two groups of these sizes is as likely as the one seen if the methods are equal. Of
    more than MOST_SPLITS ways none is counted: NaN. Source: Fisher, The Design of Experiments (1935), section 21.
    """
    n, total = len(x), len(x) + len(y)
    ways = math.comb(total, n)
    if ways > MOST_SPLITS:
        return math.nan, math.nan
    pool = np.concatenate([x, y])
    centred = pool - exact_mean(pool)
    sums = centred[np.array(list(combinations(range(total), n)))].sum(axis=1)
    # With the total at 0 the difference of means is in proportion to the first group's sum.
    seen = abs(math.fsum(centred[:n]))
    within = float(n * np.max(margin(pool)))
    smallest = (2 if n == len(y) else 1) / ways
    return float((np.abs(sums) >= seen - within).sum()) / ways, smallest


def welch_test(x: Floats, y: Floats, level: float = 0.95) -> tuple[float, float, float]:
    """Return Welch's two-sided p and the interval of the difference of means; NaN where no run differs from another."""
    if min(len(x), len(y)) < 2:
        return math.nan, math.nan, math.nan
    terms = [exact_std(group) ** 2 / len(group) for group in (x, y)]
    variance = math.fsum(terms)
    difference = exact_mean(x) - exact_mean(y)
    if variance <= float(np.max(margin(x, scale=0.0))) ** 2 + float(np.max(margin(y, scale=0.0))) ** 2:
        return math.nan, math.nan, math.nan
    freedom = variance**2 / sum(t**2 / (len(g) - 1) for t, g in zip(terms, (x, y), strict=True))
    half = t_quantile(level, freedom) * math.sqrt(variance)
    return student_p(difference / math.sqrt(variance), freedom), difference - half, difference + half


def student_p(t: float, freedom: float) -> float:
    """Return the two-sided tail of Student's t, its density integrated over the angle whose tangent is t/√freedom."""
    place = math.atan(abs(t) / math.sqrt(freedom))
    tail, whole = (np.linspace(start, math.pi / 2, 4001) for start in (place, 0.0))
    areas = [float(np.trapezoid(np.cos(angles) ** (freedom - 1), angles)) for angles in (tail, whole)]
    return min(1.0, areas[0] / areas[1])


def hedges_g(x: Floats, y: Floats) -> float:
    """Return the difference of means in pooled standard deviations, corrected for few runs; NaN without spread.

    Source: Hedges, Journal of Educational Statistics 6 (1981).
    """
    freedom = len(x) + len(y) - 2
    if min(len(x), len(y)) < 2:
        return math.nan
    pooled = math.sqrt(sum((len(g) - 1) * exact_std(g) ** 2 for g in (x, y)) / freedom)
    if pooled <= float(np.max(margin(x, scale=0.0), initial=0.0)):
        return math.nan
    return (exact_mean(x) - exact_mean(y)) / pooled * (1 - 3 / (4 * freedom - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for how many there are; NaN stays NaN and counts for nothing.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    known = sorted((p, k) for k, p in enumerate(p_values) if not math.isnan(p))
    found, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, k) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        found[k] = largest
    return found


def compare_tasks(
    tasks: Sequence[str], x: Sequence[Floats], y: Sequence[Floats], improvement: Sequence[float], level: float = 0.95
) -> list[TaskTest]:
    """Return the tests of two methods' runs task by task."""
    rows: list[TaskTest] = []
    for task, a, b, better in zip(tasks, x, y, improvement, strict=True):
        p, smallest = permutation_test(a, b)
        welch, low, high = welch_test(a, b, level)
        exact = p if smallest <= ALPHA else math.nan
        difference = exact_mean(a) - exact_mean(b)
        g = hedges_g(a, b)
        rows.append(TaskTest(task, (len(a), len(b)), difference, low, high, g, float(better), exact, welch))
    corrected = holm([row.welch_p for row in rows])
    return [replace(row, holm=p) for row, p in zip(rows, corrected, strict=True)]
