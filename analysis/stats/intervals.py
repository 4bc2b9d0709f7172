"""Intervals whose coverage is measured: `python -m tests.benchmarks.coverage`, with its table in analysis/README.md.

`student`, the default: estimate ± Student's t × standard error. The standard error is that of runs drawn within tasks,
corrected for small numbers of runs (n-1, not n); the degrees of freedom are Welch's and Satterthwaite's over tasks.
Mean and optimality gap have it in closed form, IQM and median take it from the bootstrap; the median rests on one or
two tasks, so that it has the degrees of freedom of one. P(X > Y) and profiles are shares: Wilson's interval.

`tasks` answers another question, what other tasks like these would show: each task is one draw, whatever its runs.

Sources: Welch, Biometrika 34 (1947); Satterthwaite, Biometrics Bulletin 2 (1946); Tukey and McLaughlin, Sankhya A 25
(1963), for the winsorised variance of a trimmed mean; Wilson, JASA 22 (1927); Brunner and Munzel, Biometrical Journal
42 (2000), for the variance of P(X > Y).
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from analysis.stats.metrics import METRICS, Metric, Pool, Sample, named, of_each_run
from analysis.stats.resample import Floats, Stream, stratified_indices
from analysis.stats.ties import exact_mean

KINDS = ("student", "percentile", "tasks")
LEAST_FREEDOM = 4  # below it not even intervals of normal scores would be of use, and others cover far too seldom
LEAST_ALONE = 3  # runs per task, where the interval has the degrees of freedom of one: n-1
NORMAL_FROM = 20_000  # degrees of freedom from which Student's quantile is the normal one to four digits


def basis(kind: str, level: float, reps: int, seed: int, tasks: int) -> str:
    """Return what a report's intervals are, what they cover, and of what they speak."""
    on = f"the {tasks} tasks" if tasks > 1 else "this task"
    here = f"They speak of more runs on {on} shown, not of other tasks (--task-bootstrap)."
    if kind == "percentile":
        return (
            f"Intervals: {level:.0%} percentile intervals of {reps} bootstrap samples (seed {seed}), runs resampled "
            "within tasks, as in the literature; with few seeds they hold the truth too seldom (on 26 tasks in about "
            f"75 of 100 simulations with 2 seeds, 90 with 5). {here}"
        )
    if kind == "tasks":
        return (
            f"Intervals: {level:.0%} Student intervals over tasks, each of which is one draw whatever its runs: what "
            "other tasks of the same kind would show, if these were drawn at random from them."
        )
    labels = [m.label for m in METRICS.values() if m.bootstrap and not m.count]
    drawn = " and ".join([", ".join(labels[:-1]), labels[-1]] if labels[1:] else labels)
    return (
        f"Intervals: {level:.0%} Student intervals of runs within tasks ({drawn} with standard errors of {reps} "
        f"bootstrap samples, seed {seed}; P(X > Y) and profiles Wilson's). From 5 tasks × 3 seeds on they held the "
        "truth in 86 to 100 of 100 simulations, on fewer tasks of bimodal scores in as few as 49 (analysis/README.md). "
        f"{here}"
    )


def check_kind(kind: str) -> None:
    """Raise ValueError unless `kind` is one of KINDS."""
    if kind not in KINDS:
        raise ValueError(f"unknown interval '{kind}'; there are {', '.join(KINDS)}")


@functools.lru_cache(maxsize=4096)
def t_quantile(level: float, freedom: float) -> float:
    """Return Student's two-sided quantile for any freedom from 1 on, whole or not: its density, integrated."""
    if not 0 < level < 1:
        raise ValueError(f"an interval's level lies between 0 and 1, not at {level}")
    if freedom > NORMAL_FROM:
        return NormalDist().inv_cdf((1 + level) / 2)
    angles = np.linspace(0, math.pi / 2, 20_001)  # t = tan(angle) * sqrt(freedom)
    density = np.cos(angles) ** (max(freedom, 1.0) - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.tan(float(np.interp(level, area / area[-1], angles))) * math.sqrt(max(freedom, 1.0))


@dataclass(frozen=True)
class Spread:
    """The variance of an estimate; `linear` and `wobble` give its degrees of freedom, also where spreads are added."""

    variance: float
    linear: float
    wobble: float

    def __add__(self, other: "Spread") -> "Spread":
        return Spread(self.variance + other.variance, self.linear + other.linear, self.wobble + other.wobble)

    def half_width(self, level: float) -> float:
        """Return Student's quantile times the standard error."""
        return t_quantile(level, self.linear**2 / self.wobble) * math.sqrt(self.variance)


def unusable(metric: str, arrays: Sequence[Floats]) -> str:
    """Return why the runs give no `student` interval of a metric, "" if they do."""
    runs, tasks = sum(map(len, arrays)), len(arrays)
    single = sum(len(array) < 2 for array in arrays)
    if single:
        return "one seed" if single == tasks else f"{single} of {tasks} tasks with one seed"
    row = named(metric)
    if row.count:
        return f"a count of tasks ({row.name})"
    if runs - tasks < LEAST_FREEDOM:
        return f"{runs} runs of {tasks} task{'s' if tasks > 1 else ''}"
    if row.influence is None and min(map(len, arrays)) < LEAST_ALONE:
        return f"two seeds of a task ({row.name})"
    return ""


def spread(metric: str, arrays: Sequence[Floats], drawn: Floats | None) -> Spread | None:
    """Return a metric's spread over the runs of its tasks, None where no run differs from another.

    `drawn` are bootstrap replicates of the metric, which those that are bootstrapped need. The variance of the others
    is that of the mean over tasks of means over what each run adds.
    """
    row = named(metric)
    pieces, freedom = (row.influence or of_each_run)(arrays)
    sizes = np.array([len(piece) for piece in pieces], np.float64)
    terms = np.array([piece.var(ddof=1) for piece in pieces]) / sizes / len(pieces) ** 2
    linear, wobble = math.fsum(terms), math.fsum(terms**2 / np.array(freedom))
    if drawn is None:
        return Spread(linear, linear, wobble) if linear > 0 else None
    least = float(sizes.min())
    raw = float(drawn.var())
    if raw <= (1e-12 * float(np.abs(drawn).max())) ** 2:
        return None
    if row.influence is None or not linear > 0:
        variance = raw * least / (least - 1)
        return Spread(variance, variance, variance**2 / (least - 1))
    # The bootstrap draws from n runs as if they were all there are: its variance lacks n/(n-1), task by task.
    variance = raw * linear / math.fsum(terms * (sizes - 1) / sizes)
    return Spread(variance, linear, wobble)


def wilson(share: Floats, effective: Floats, level: float) -> tuple[Floats, Floats]:
    """Return Wilson's interval of shares that are as certain as of `effective` independent draws."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    scale = 1 + z * z / effective
    centre = (share + z * z / (2 * effective)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / effective + z * z / (4 * effective**2))
    return np.clip(np.minimum(centre - half, share), 0, 1), np.clip(np.maximum(centre + half, share), 0, 1)


def improvement_bounds(wins: Sequence[Floats], share: float, level: float) -> tuple[float, float]:
    """Return the interval of P(X > Y) from half points [runs of x, runs of y] per task.

    The variance is that of each run's share of wins. The effective number of draws stays between that of the worst
    case, in which only the smaller side's runs count (Birnbaum and Klose 1957), and a bit below that of two equal
    methods with continuous scores; so it is finite where every run of x beats every run of y.
    """
    smaller = np.array([float(min(win.shape)) for win in wins])
    variance = worst = usual = 0.0
    for win, n in zip(wins, smaller, strict=True):
        sides = (win.mean(axis=1) / 2, win.mean(axis=0) / 2)
        variance += sum(float(side.var(ddof=1)) / len(side) for side in sides)
        worst += 1 / n
        usual += (n + 1) * 2 / (3 * n * n)
    tasks = len(wins)
    least, most = tasks**2 / worst, tasks**2 / min(usual, worst)
    seen = share * (1 - share) * tasks**2 / variance if variance > 0 else math.inf
    low, high = wilson(np.array([share]), np.array([min(max(seen, least), most)]), level)
    return float(low[0]), float(high[0])


def profile_bounds(above: Sequence[Floats], level: float, over: bool = False) -> tuple[Floats, Floats]:
    """Return the pointwise interval of the share of runs above thresholds from 0 and 1 [runs, thresholds] per task.

    Each task's share is drawn half a run towards 1/2, so that no task is taken to be certain. `over` tasks, each of
    them is one draw.
    """
    share: Floats = np.asarray(np.mean([one.mean(axis=0) for one in above], axis=0), np.float64)
    if over:
        return wilson(share, np.full_like(share, len(above)), level)
    shrunk: list[Floats] = [(one.sum(axis=0) + 0.5) / (len(one) + 1) for one in above]
    centre: Floats = np.asarray(np.mean(shrunk, axis=0), np.float64)
    terms = [p * (1 - p) / len(one) for p, one in zip(shrunk, above, strict=True)]
    variance: Floats = np.asarray(np.sum(terms, axis=0), np.float64) / len(above) ** 2
    return wilson(share, centre * (1 - centre) / variance, level)


def over_tasks(values: Floats, level: float) -> float | None:
    """Return half the width of Student's interval of a mean over tasks, each task one draw; None without any spread."""
    if len(values) - 1 < LEAST_FREEDOM or not np.ptp(values) > 0:
        return None
    return t_quantile(level, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))


def task_reason(tasks: int, row: Metric | None = None) -> str:
    """Return why so many tasks give no interval (of a metric) over tasks, "" if they do."""
    if row and row.influence is None and row.pooled:
        return f"what a task adds is not known ({row.name})"
    return f"fewer than {LEAST_FREEDOM + 1} tasks" if tasks - 1 < LEAST_FREEDOM else ""


def task_half_width(
    metric: str, groups: Sequence[Sequence[Floats]], reps: int, seed: int, level: float
) -> float | None:
    """Return half the width of a metric's interval over tasks, of one method or of the difference of two."""
    tasks, row = len(groups[0]), named(metric)
    if row.influence is not None:
        added = [row.influence(arrays)[0] for arrays in groups]
        return over_tasks(_less([np.array([exact_mean(part) for part in parts]) for parts in added]), level)
    pools = [Pool([np.array([exact_mean(array)]) for array in arrays]) for arrays in groups]
    values = [
        np.concatenate([row.function(Sample(pool, i)) for i in stratified_indices([tasks], reps, Stream(seed, 2))])
        for pool in pools  # the same tasks are drawn for both
    ]
    error = float(_less(values).std()) * math.sqrt(tasks / (tasks - 1))
    return t_quantile(level, tasks - 1) * error if error > 0 else None


def _less(values: Sequence[Floats]) -> Floats:
    """Return the first array, less the second where there are two."""
    return values[0] if len(values) == 1 else values[0] - values[1]
