"""One task's runs by themselves: mean and spread, Student's interval, the area under a curve."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.runs import strata
from analysis.stats.ties import exact_mean, exact_std


@dataclass(frozen=True)
class Description:
    """One task's runs: n, mean, median, extremes; spread with n-1 in the denominator, NaN for a single run."""

    n: int
    mean: float
    median: float
    low: float
    high: float
    std: float
    sem: float
    t_half_width: float


def describe(scores: ArrayLike, level: float = 0.95) -> Description:
    """Return the description of one task's runs; `t_half_width` is half of Student's interval for the mean."""
    (values,) = strata([scores])
    n = len(values)
    std = exact_std(values)
    sem = std / math.sqrt(n)
    half = student_quantile((1 + level) / 2, n - 1) * sem if n > 1 else math.nan
    return Description(
        n, exact_mean(values), float(np.median(values)), float(values.min()), float(values.max()), std, sem, half
    )


def student_quantile(probability: float, freedom: int) -> float:
    """Return the quantile (probability from 1/2 up) of Student's t with a whole number of degrees of freedom.

    The distribution function is a finite sum then; the quantile is found by bisection.
    Source: Abramowitz & Stegun, 26.7.3-4.
    """
    if not 0.5 <= probability < 1 or freedom < 1:
        raise ValueError(f"a quantile needs 1/2 <= probability < 1 and freedom >= 1, not {probability} and {freedom}")
    low, high = 0.0, math.pi / 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 + _student_central(middle, freedom)) / 2 < probability else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def _student_central(angle: float, freedom: int) -> float:
    """Return P(|T| < tan(angle)·√freedom)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = cosine if odd else 1.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    if not odd:
        return sine * total
    return 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0))


def area_under_curve(steps: ArrayLike, values: ArrayLike) -> float:
    """Return the trapezoidal mean of a curve over its steps: its area divided by the length of the steps."""
    x, y = np.asarray(steps, np.float64), np.asarray(values, np.float64)
    if len(x) != len(y) or len(x) < 2 or not np.isfinite(y).all() or not (np.diff(x) > 0).all():
        raise ValueError("a curve needs two or more finite values at ascending steps")
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / (x[-1] - x[0]))
