"""Aggregates of many bootstrap samples at once: what the statistics compute in bulk."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from analysis.stats.resample import Floats, Indices
from analysis.stats.ties import TOLERANCE

EXACT_BELOW = 2**62  # sums of counts beyond it would overflow


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


METRICS: dict[str, Callable[[Sample], Floats]] = {
    "mean": mean,
    "median": median,
    "iqm": iqm,
    "optimality_gap": optimality_gap,
    "superhuman": superhuman,
}
