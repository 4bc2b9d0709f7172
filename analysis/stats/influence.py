"""What a comparison hangs on: single games, and the number of seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis import stats
from analysis.stats.intervals import spread, t_quantile, unusable
from analysis.stats.metrics import named
from analysis.stats.resample import Floats
from analysis.stats.ties import signs

POWER = 0.8
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Without:
    """A comparison's differences and P(X > Y), `improvement`, with one task left out; task "" is with all."""

    task: str
    values: dict[str, float]


def leave_one_out(
    tasks: Sequence[str], x: Sequence[Floats], y: Sequence[Floats], improvement: Floats, metrics: Sequence[str]
) -> list[Without]:
    """Return the comparison with all tasks, then, of several, without each: differences of `metrics`, P(X > Y)."""
    found: list[Without] = []
    for left in (None, *(range(len(tasks)) if len(tasks) > 1 else ())):
        kept = [k for k in range(len(tasks)) if k != left]
        first, second = [x[k] for k in kept], [y[k] for k in kept]
        values = {name: stats.estimate(name, first) - stats.estimate(name, second) for name in metrics}
        values["improvement"] = math.fsum(improvement[k] for k in kept) / len(kept)
        found.append(Without("" if left is None else tasks[left], values))
    return found


def strongest(rows: Sequence[Without], name: str) -> Without:
    """Return the task that moves a quantity farthest when it is left out."""
    whole = rows[0].values[name]
    return max(rows[1:], key=lambda row: abs(row.values[name] - whole))


def changes_sign(rows: Sequence[Without], name: str) -> list[str]:
    """Return the tasks without which a difference leaves its side of zero, or P(X > Y) its side of 1/2."""
    zero = 0.5 if name == "improvement" else 0.0
    sides = [float(signs(row.values[name], zero)) for row in rows]
    return [row.task for row, side in zip(rows[1:], sides[1:], strict=True) if side != sides[0]]


@dataclass(frozen=True)
class Design:
    """What so many seeds can tell of one difference: its standard error, the smallest difference they would find.

    `detectable` is found with POWER at the level 0.05, two-sided; `needed` is how many seeds per task and method would
    find a difference of the size observed, None where more than MOST_SEEDS would be needed.
    """

    metric: str
    observed: float
    error: float
    seeds: float
    detectable: float
    needed: int | None


def designs(x: Sequence[Floats], y: Sequence[Floats], metrics: Sequence[str], reps: int, seed: int) -> list[Design]:
    """Return what the runs' spread says of those metrics to which each run adds its part; nothing where it cannot."""
    found: list[Design] = []
    runs = [len(a) for a in (*x, *y)]
    per_task = len(runs) / sum(1 / n for n in runs)  # their harmonic mean: variances go with 1/n
    for metric in metrics:
        if named(metric).influence is None or unusable(metric, x) or unusable(metric, y):
            continue
        drawn = [
            stats.replicates(side, [metric], reps, seed, key)[metric] if named(metric).bootstrap else None
            for key, side in enumerate((x, y))
        ]
        spreads = [one for side, d in zip((x, y), drawn, strict=True) if (one := spread(metric, side, d))]
        if not spreads:
            continue
        both = sum(spreads[1:], spreads[0])
        error, freedom = math.sqrt(both.variance), both.linear**2 / both.wobble
        observed = stats.estimate(metric, x) - stats.estimate(metric, y)
        needed = _needed(observed, error, freedom, per_task)
        found.append(Design(metric, observed, error, per_task, _margin(freedom) * error, needed))
    return found


def _margin(freedom: float) -> float:
    """Return how many standard errors a difference must have to be found with POWER."""
    return t_quantile(0.95, max(1.0, freedom)) + t_quantile(2 * POWER - 1, max(1.0, freedom))


def _needed(observed: float, error: float, freedom: float, seeds: float) -> int | None:
    """Return the fewest seeds that would find a difference of the size observed, None for more than MOST_SEEDS."""
    if not observed:
        return None
    least = seeds * (_margin(math.inf) * error / observed) ** 2  # Student's quantiles are above the normal ones
    for n in range(max(2, math.ceil(least)), MOST_SEEDS + 1):
        if _margin(freedom * (n - 1) / max(seeds - 1, 1)) * error * math.sqrt(seeds / n) <= abs(observed):
            return n
    return None
