"""What counts as equal: sums that no order of runs changes, and values that differ by rounding alone.

Scores lie on lattices (successes out of ten, means of a hundred returns), so that true ties are common, and floats make
0.1 + 0.2 differ from 0.3. Two values are equal here where they differ by at most TOLERANCE of the scale: the largest
magnitude among them, or 1 where that is larger, the natural scale of normalised scores and success rates. Rounding
makes errors of 1e-15 of the scale; real differences, one point in one of a thousand episodes, are far above 1e-10.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.resample import Floats

TOLERANCE = 1e-10


def exact_mean(values: Iterable[float]) -> float:
    """Return the mean, the same bits in whatever order the values come."""
    listed = [float(value) for value in values]
    return math.fsum(listed) / len(listed)


def exact_std(values: Iterable[float]) -> float:
    """Return the standard deviation with n-1 in the denominator, order-independent; NaN for a single value."""
    listed = [float(value) for value in values]
    if len(listed) < 2:
        return math.nan
    mean = math.fsum(listed) / len(listed)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in listed) / (len(listed) - 1))


def margin(*values: ArrayLike, scale: ArrayLike = 1.0) -> Floats:
    """Return by how much values may differ and still be equal, elementwise over the arrays given."""
    largest = np.abs(np.asarray(scale, np.float64))
    for value in values:
        largest = np.maximum(largest, np.abs(np.asarray(value, np.float64)))
    return TOLERANCE * largest


def signs(x: ArrayLike, y: ArrayLike, scale: ArrayLike = 1.0) -> Floats:
    """Return 1, 0 or -1 where x is above, equal to or below y."""
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    difference = first - second
    return np.where(np.abs(difference) <= margin(first, second, scale=scale), 0.0, np.sign(difference))


def is_best(value: float, best: float, scale: float = 1.0) -> bool:
    """Return whether a value equals the best one; never where either is NaN."""
    return bool(abs(value - best) <= margin(value, best, scale=scale))


def all_equal(values: Iterable[float], scale: float = 1.0) -> bool:
    """Return whether the values differ by rounding alone."""
    listed = list(values)
    return not listed or is_best(max(listed), min(listed), scale)


def ranks(values: ArrayLike, scale: ArrayLike = 1.0) -> Floats:
    """Return ranks from 1 for the smallest value on; values that are equal share the mean of their ranks."""
    array = np.asarray(values, np.float64)
    order = np.argsort(array, kind="stable")
    ordered = array[order]
    within = float(np.max(margin(array, scale=scale), initial=0.0))
    first = np.concatenate([[True], np.diff(ordered) > within])
    group = np.cumsum(first) - 1
    counts = np.bincount(group)
    last = np.cumsum(counts)
    found = np.empty(len(array))
    found[order] = ((last - counts + 1 + last) / 2)[group]
    return found
