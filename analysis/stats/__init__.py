"""Statistics for few runs on many tasks: aggregates, bootstrap intervals, comparisons, profiles, learning curves.

A small library; it needs NumPy alone. Scores of one method are *runs*: a sequence with one 1-D array per task, one
number per run (seed) of it. Tasks may have different numbers of runs.

    >>> from analysis import stats
    >>> harmony = [[0.9, 1.3, 1.1], [0.2, 0.4, 0.3]]
    >>> round(stats.iqm(harmony), 3)
    0.675
    >>> result = stats.aggregate(harmony, reps=2000, seed=0)["iqm"]
    >>> result.n_runs, result.n_tasks, result.low < result.estimate < result.high
    (6, 2, True)

One policy holds for ragged data: **every task counts the same, and within a task every run counts the same.** Where
single runs are pooled (IQM, optimality gap, profiles), a run of a task with n runs has weight 1/n. With equal n these
are the usual definitions. A NaN or infinity raises ValueError that names task and run: to leave something out is the
caller's decision. An interval is given only where the runs tell how they spread, and never one of zero width;
`analysis/stats/intervals.py` says how it is made and what it covers.

Sources: Agarwal et al., "Deep RL at the Edge of the Statistical Precipice", NeurIPS 2021 (IQM, optimality gap,
stratified bootstrap, probability of improvement, performance profiles). Equal to the numbers of rliable 1.2 with
`interval="percentile"`, which tests/benchmarks checks.
"""

from analysis.stats.bootstrap import (
    NO_SPREAD,
    REPS,
    Curve,
    Profile,
    aggregate,
    curve,
    difference,
    estimate,
    iqm,
    mean,
    median,
    normalise,
    optimality_gap,
    performance_profile,
    replicates,
    superhuman,
)
from analysis.stats.compare import average_rank, probability_of_improvement, signed_rank_test, win_tie_loss
from analysis.stats.describe import Description, area_under_curve, describe, student_quantile
from analysis.stats.metrics import METRICS, Metric
from analysis.stats.runs import Interval, Runs

__all__ = [
    "METRICS",
    "NO_SPREAD",
    "REPS",
    "Curve",
    "Description",
    "Interval",
    "Metric",
    "Profile",
    "Runs",
    "aggregate",
    "area_under_curve",
    "average_rank",
    "curve",
    "describe",
    "difference",
    "estimate",
    "iqm",
    "mean",
    "median",
    "normalise",
    "optimality_gap",
    "performance_profile",
    "probability_of_improvement",
    "replicates",
    "signed_rank_test",
    "student_quantile",
    "superhuman",
    "win_tie_loss",
]
