"""The statistics, one row of METRICS each: what they compute of many bootstrap samples at once, and what they are."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from analysis.stats.resample import Floats, Indices
from analysis.stats.ties import TOLERANCE

EXACT_BELOW = 2**62  # sums of counts beyond it would overflow

# What each run adds to a statistic to first order, and each task's degrees of freedom.
Influence = tuple[list[Floats], list[float]]


class Pool:
    """The runs of all tasks in one row, task after task, with their order by score.

    Sorting samples of 32-bit ranks takes half as long as sorting samples of scores, and tells which run is which.
    """

    def __init__(self, arrays: Sequence[Floats]) -> None:
        self.values = np.concatenate(arrays)
        self.sizes = tuple(len(array) for array in arrays)
        self.n_tasks = len(arrays)
        self.equal = len(set(self.sizes)) == 1
        common = math.lcm(*self.sizes)
        if common > EXACT_BELOW // self.n_tasks:
            common = EXACT_BELOW // self.n_tasks  # counts are whole all the same, and off by less than 1e-12
        # How often a run counts, so that all tasks count the same.
        self.multiplicities = np.repeat([common // n for n in self.sizes], self.sizes).astype(np.int64)
        self.order = np.argsort(self.values, kind="stable")
        self.ordered = self.values[self.order]
        self.ranks = np.empty(len(self.values), np.uint32)
        self.ranks[self.order] = np.arange(len(self.values), dtype=np.uint32)

    def itself(self) -> "Sample":
        """Return the one sample that draws every run once, its sums the same in whatever order the runs come."""
        return Sample(self, np.arange(len(self.values))[None], exact=True)


class Sample:
    """Samples of a pool, drawn by indices [reps, runs], with what several metrics need of them computed once."""

    def __init__(self, pool: Pool, indices: Indices, exact: bool = False) -> None:
        self.pool = pool
        self.indices = indices
        self.exact = exact

    @cached_property
    def values(self) -> Floats:
        """Return the drawn scores [reps, runs]."""
        return self.pool.values.take(self.indices)

    @cached_property
    def sorted_ranks(self) -> NDArray[np.uint32]:
        """Return the ranks of the drawn runs [reps, runs], ascending."""
        ranks = self.pool.ranks.take(self.indices)
        ranks.sort(axis=1)
        return ranks

    @cached_property
    def task_means(self) -> Floats:
        """Return each task's mean over its drawn runs [reps, tasks]."""
        return self.task_sums(self.values) / np.asarray(self.pool.sizes, np.float64)

    def task_sums(self, values: Floats) -> Floats:
        """Return sums over the runs of each task [reps, tasks], added in the order of the runs unless exact."""
        if self.exact:
            ends = np.cumsum(self.pool.sizes)[:-1]
            return np.array([[math.fsum(part) for part in np.split(row, ends)] for row in values])
        if self.pool.equal:
            cube = values.reshape(len(values), self.pool.n_tasks, -1)
            total = cube[:, :, 0].copy()
            for run in range(1, cube.shape[2]):
                total += cube[:, :, run]
            return total
        ends = np.cumsum(self.pool.sizes)
        sums: list[Floats] = []
        for end, size in zip(ends, self.pool.sizes, strict=True):
            total = values[:, end - size].copy()
            for run in range(end - size + 1, end):
                total += values[:, run]
            sums.append(total)
        return np.stack(sums, axis=1)


def mean(sample: Sample) -> Floats:
    """Return the mean over tasks [reps]."""
    return sample.task_means.sum(axis=1) / sample.pool.n_tasks


def median(sample: Sample) -> Floats:
    """Return the median over tasks [reps]."""
    ordered = np.sort(sample.task_means, axis=1)
    half = sample.pool.n_tasks // 2
    if sample.pool.n_tasks % 2:
        return ordered[:, half].copy()
    return (ordered[:, half - 1] + ordered[:, half]) / 2


def iqm(sample: Sample) -> Floats:
    """Return the interquartile mean of the drawn runs [reps], each as often as its task's size asks for."""
    pool = sample.pool
    if pool.equal:
        n = sample.indices.shape[1]
        cut = n // 4
        return pool.ordered.take(sample.sorted_ranks[:, cut : n - cut]).sum(axis=1) / (n - 2 * cut)
    counts = pool.multiplicities[pool.order]
    upper = np.cumsum(counts.take(sample.sorted_ranks), axis=1)
    # A task's drawn runs always count as often as its own runs do, so that every sample has the same total.
    total = int(upper[0, -1])
    cut = total // 4
    kept = np.diff(np.clip(upper, cut, total - cut), axis=1, prepend=cut)
    return (pool.ordered.take(sample.sorted_ranks) * kept).sum(axis=1) / (total - 2 * cut)


def optimality_gap(sample: Sample) -> Floats:
    """Return 1 - the mean of min(score, 1) [reps]."""
    capped = np.minimum(sample.values, 1.0)
    if sample.pool.equal and not sample.exact:
        return 1.0 - capped.sum(axis=1) / capped.shape[1]
    task_means = sample.task_sums(capped) / np.asarray(sample.pool.sizes, np.float64)
    return 1.0 - task_means.sum(axis=1) / sample.pool.n_tasks


def superhuman(sample: Sample) -> Floats:
    """Return the number of tasks whose mean exceeds 1 [reps]."""
    return (sample.task_means > 1.0 + TOLERANCE).sum(axis=1).astype(np.float64)


def of_each_run(arrays: Sequence[Floats]) -> Influence:
    """Return the runs themselves, as the mean takes them."""
    return list(arrays), [float(len(array) - 1) for array in arrays]


def of_capped_runs(arrays: Sequence[Floats]) -> Influence:
    """Return what each run adds to the optimality gap: nothing beyond 1."""
    return [-np.minimum(array, 1.0) for array in arrays], of_each_run(arrays)[1]


def of_kept_runs(arrays: Sequence[Floats]) -> Influence:
    """Return what each run adds to the IQM.

    Runs that it cuts move it only by where it cuts: they are winsorised, and no degree of freedom.
    """
    pool = Pool(arrays)
    upper = np.cumsum(pool.multiplicities[pool.order])
    total = int(upper[-1])
    cut = total // 4
    low, high = (pool.ordered[np.searchsorted(upper, place, side="right")] for place in (cut, total - cut - 1))
    freedom = [max(1.0, len(array) - 1 - float(((array < low) | (array > high)).sum())) for array in arrays]
    return [np.clip(array, low, high) * (total / (total - 2 * cut)) for array in arrays], freedom


@dataclass(frozen=True)
class Metric:
    """A statistic of a method's runs, and all that intervals, tables, figures and files know of it.

    `function` gives its value for each sample [reps]. `influence` says what each run adds to it; without one its
    interval is the bootstrap's, with the degrees of freedom of a single task. With `bootstrap` False the standard error
    follows from the influence alone. `pooled` ones are of single runs and cannot be told from the tasks' means;
    `referenced` ones mean something only where 1 is a reference score. A `count` of tasks has neither interval nor
    difference. No value lies below `least`.
    """

    name: str
    label: str
    function: Callable[[Sample], Floats]
    influence: Callable[[Sequence[Floats]], Influence] | None = None
    bootstrap: bool = True
    pooled: bool = False
    referenced: bool = False
    count: bool = False
    lower_is_better: bool = False
    least: float = -math.inf

    @property
    def digits(self) -> int:
        """Return how many decimals are shown."""
        return 0 if self.count else 3

    @property
    def arrow(self) -> str:
        """Return the sign of its better direction."""
        return "↓" if self.lower_is_better else "↑"


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mean", "Mean", mean, of_each_run, bootstrap=False),
        Metric("median", "Median", median),
        Metric("iqm", "IQM", iqm, of_kept_runs, pooled=True),
        Metric(
            "optimality_gap", "Optimality gap", optimality_gap, of_capped_runs, bootstrap=False, pooled=True,
            referenced=True, lower_is_better=True, least=0.0,
        ),
        Metric("superhuman", "Superhuman", superhuman, referenced=True, count=True),
    )
}  # fmt: skip


def named(name: str) -> Metric:
    """Return the row of a statistic; ValueError for an unknown name."""
    if name not in METRICS:
        raise ValueError(f"unknown metric '{name}'; there are {', '.join(METRICS)}")
    return METRICS[name]


def subtracted() -> list[str]:
    """Return the statistics that two methods may differ by."""
    return [name for name, metric in METRICS.items() if not metric.count]
