"""What every statistic takes and gives: runs per task, checked, and an estimate with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.resample import Floats

Runs = Sequence[ArrayLike]


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its interval, which are None where `reason` says why there is none."""

    estimate: float
    low: float | None
    high: float | None
    n_runs: int
    n_tasks: int
    reason: str = ""


def strata(runs: Runs) -> list[Floats]:
    """Return one checked float array per task; ValueError names the task and run of what is not a finite number."""
    arrays = [np.asarray(task, np.float64) for task in runs]
    if not arrays:
        raise ValueError("no tasks: there is nothing to aggregate")
    for task, array in enumerate(arrays):
        if array.ndim != 1:
            raise ValueError(f"task {task}: scores must be one number per run, not an array of shape {array.shape}")
        if not len(array):
            raise ValueError(f"task {task} has no runs; leave the task out for all methods or add a run")
        if not np.isfinite(array).all():
            run = int(np.flatnonzero(~np.isfinite(array))[0])
            raise ValueError(
                f"task {task}, run {run}: the score is {array[run]}; repair it or leave the run out by name"
            )
    return arrays


def no_interval(arrays: Sequence[Floats]) -> str:
    """Return why no interval can be given, or "" if one can."""
    single = sum(len(array) < 2 for array in arrays)
    if not single:
        return ""
    return "one seed" if single == len(arrays) else f"{single} of {len(arrays)} tasks with one seed"


def check_bootstrap(reps: int, seed: int = 0, level: float = 0.95) -> None:
    """Raise ValueError unless number of replicates, seed and level are usable."""
    if reps < 100:
        raise ValueError(f"an interval needs at least 100 replicates, not {reps}")
    if seed < 0:
        raise ValueError(f"a bootstrap seed is a whole number from 0 on, not {seed}")
    if not 0 < level < 1:
        raise ValueError(f"an interval's level lies between 0 and 1, not at {level}")
