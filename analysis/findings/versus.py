"""Everything that is said of one method against another, and which methods are compared."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from analysis import stats
from analysis.data.benchmarks import Reference
from analysis.stats.compare import Improvement
from analysis.stats.influence import Design, Without, designs, leave_one_out
from analysis.stats.resample import Floats
from analysis.stats.runs import Interval
from analysis.stats.significance import ALPHA, TaskTest, compare_tasks, holm
from analysis.stats.ties import signs

MOST_PAIRED = 5  # methods of which all pairs are compared


@dataclass(frozen=True)
class Settings:
    """What the numbers depend on besides the runs; `given` are references besides those of the benchmarks."""

    reference: str = "exact"
    reps: int = stats.REPS
    curve_reps: int = 2000
    seed: int = 0
    level: float = 0.95
    last: int = 1
    last_frames: int = 0
    interval: str = "student"
    given: Mapping[str, Reference] = field(default_factory=dict[str, Reference])


@dataclass
class Comparison:
    """Method x against method y on the tasks of one scale.

    `p_value` is NaN where it cannot reach 0.05; `holm` is it, corrected over all comparisons of the group.
    """

    x: str
    y: str
    improvement: Improvement
    differences: dict[str, Interval]
    wins: int
    ties: int
    losses: int
    p_value: float
    tests: list[TaskTest] = field(default_factory=list[TaskTest])
    without: list[Without] = field(default_factory=list[Without])
    designs: list[Design] = field(default_factory=list[Design])
    holm: float = math.nan


def pairs(methods: Sequence[str]) -> list[tuple[str, str]]:
    """Return all pairs of up to MOST_PAIRED methods; of more, each against the first."""
    if len(methods) <= MOST_PAIRED:
        return list(combinations(methods, 2))
    return [(methods[0], other) for other in methods[1:]]


def compare_all(
    scores: Mapping[str, Sequence[Floats]],
    tasks: Sequence[str],
    means: Mapping[str, Floats],
    magnitude: Floats,
    differing: Sequence[str],
    s: Settings,
) -> list[Comparison]:
    """Return the comparisons of a group's methods; `differing` names the metrics that may be subtracted, if any may."""
    given: dict[str, Any] = {"reps": s.reps, "seed": s.seed, "level": s.level, "interval": s.interval}
    found: list[Comparison] = []
    for x, y in pairs(list(scores)):
        both = (scores[x], scores[y])
        improvement = stats.probability_of_improvement(*both, **given)
        # The signed-rank test ranks differences across tasks, which raw returns do not allow.
        p = _signed_rank(means[x] - means[y], magnitude) if differing else math.nan
        found.append(
            Comparison(
                x,
                y,
                improvement,
                stats.difference(*both, differing, **given) if differing else {},
                *stats.win_tie_loss(means[x], means[y], magnitude),
                p,
                compare_tasks(tasks, *both, improvement.per_task.tolist(), s.level),
                leave_one_out(tasks, *both, improvement.per_task, differing),
                designs(*both, differing, s.reps, s.seed),
            )
        )
    for comparison, corrected in zip(found, holm([c.p_value for c in found]), strict=True):
        comparison.holm = corrected
    return found


def _signed_rank(differences: Floats, magnitude: Floats) -> float:
    """Return the p-value, NaN where so few tasks differ that it could not reach ALPHA."""
    count = int((signs(differences, 0.0, magnitude) != 0).sum())
    return stats.signed_rank_test(differences, magnitude) if 2.0 ** (1 - count) <= ALPHA else math.nan
