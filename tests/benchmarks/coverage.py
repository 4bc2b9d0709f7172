"""Measure how often "95%" intervals hold the truth: `python -m tests.benchmarks.coverage [--repetitions 400]`.

Scores of made-up tasks, whose truth is known, are drawn again and again: normal ones, skewed ones (exponential), and
bimodal ones (three runs in ten succeed), with a spread in proportion to each task's mean, as human-normalised scores
have it. Each cell of the tables is the percentage of repetitions whose interval held the truth, for normal / skewed /
bimodal scores; of those repetitions that gave an interval, – where none did. For 400 repetitions a cell's own standard
error is about 1 point. Differences and P(X > Y) are between two equal methods: what is lacking to 100 is how
often they are called different. `ragged` tasks have 2 to 7 runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from analysis import stats
from analysis.stats.intervals import t_quantile

SHAPES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, size: 0.35 * rng.normal(size=size),
    "skewed": lambda rng, size: 0.7 * (rng.exponential(size=size) - 1),
    "bimodal": lambda rng, size: np.where(rng.random(size) < 0.3, 1.4, -0.6) + 0.1 * rng.normal(size=size),
}
TASKS = (1, 3, 5, 10, 26)
SEEDS = (2, 3, 5, 10, 0)  # 0 is ragged
RAGGED = (2, 3, 4, 5, 7)
METRICS = ("mean", "median", "iqm", "optimality_gap")
QUANTITIES = (*METRICS, "Δmean", "Δmedian", "ΔIQM", "P(X>Y)")
REPS = 400
Ends = tuple[float | None, float | None]


def task_means(tasks: int) -> np.ndarray:
    """Return the true means of so many tasks: lognormal, the same for every call."""
    return np.exp(-0.5 + np.random.default_rng(tasks).normal(size=tasks))


def draw(rng: np.random.Generator, shape: str, tasks: int, seeds: int) -> list[np.ndarray]:
    """Return one method's runs per task."""
    sizes = [seeds or RAGGED[k % len(RAGGED)] for k in range(tasks)]
    return [mean * (1 + SHAPES[shape](rng, (n,))) for mean, n in zip(task_means(tasks), sizes, strict=True)]


def truths(shape: str, tasks: int) -> dict[str, float]:
    """Return each quantity's true value; for IQM and optimality gap that of 20 000 runs per task."""
    rng = np.random.default_rng(0)
    many = [mean * (1 + SHAPES[shape](rng, (20_000,))) for mean in task_means(tasks)]
    found = {"mean": float(task_means(tasks).mean()), "median": float(np.median(task_means(tasks)))}
    found |= {"iqm": stats.iqm(many), "optimality_gap": stats.optimality_gap(many)}
    return found | {"Δmean": 0.0, "Δmedian": 0.0, "ΔIQM": 0.0, "P(X>Y)": 0.5}


def intervals(x: list[np.ndarray], y: list[np.ndarray], kind: str, seed: int) -> dict[str, Ends]:
    """Return the ends of every quantity's interval as the library gives them."""
    given = {"reps": REPS, "seed": seed, "interval": kind}
    found = {name: (i.low, i.high) for name, i in stats.aggregate(x, METRICS, **given).items()}
    for name, i in stats.difference(x, y, METRICS[:3], **given).items():
        found["Δ" + name.replace("iqm", "IQM")] = (i.low, i.high)
    overall = stats.probability_of_improvement(x, y, **given).overall
    return {**found, "P(X>Y)": (overall.low, overall.high)}


def scaled(x: list[np.ndarray], seed: int) -> dict[str, Ends]:
    """Return percentile intervals of replicates moved away from the estimate by √(n/(n-1))."""
    least = min(map(len, x))
    return _of_replicates(x, seed, lambda point, drawn: point + np.sqrt(least / (least - 1)) * (drawn - point))


def bca(x: list[np.ndarray], seed: int) -> dict[str, Ends]:
    """Return bias-corrected and accelerated intervals; the acceleration is that of leaving out one run."""
    drawn, normal, found = stats.replicates(x, METRICS, REPS, seed), NormalDist(), dict[str, Ends]()
    for name in METRICS:
        metric = getattr(stats, name)
        point, values = metric(x), np.sort(drawn[name])
        left = np.array(
            [metric([*x[:t], np.delete(a, k), *x[t + 1 :]]) for t, a in enumerate(x) for k in range(len(a))]
        )
        off = left.mean() - left
        bend = float((off**3).sum() / (6 * (off**2).sum() ** 1.5)) if (off**2).sum() > 0 else 0.0
        below = float(np.clip((values < point).mean() + (values == point).mean() / 2, 1 / REPS, 1 - 1 / REPS))
        bias = normal.inv_cdf(below)
        places = [bias + (bias + z) / (1 - bend * (bias + z)) for z in (-1.959964, 1.959964)]
        low, high = (float(np.quantile(values, normal.cdf(p))) for p in places)
        found[name] = (low, high)
    return found


def bootstrap_t(x: list[np.ndarray], seed: int) -> dict[str, Ends]:
    """Return the studentised interval of the mean: quantiles of (drawn mean - mean) / its own standard error."""
    rng, tasks = np.random.default_rng(seed), len(x)
    means, squares = np.zeros(REPS), np.zeros(REPS)
    for array in x:
        drawn = array[rng.integers(len(array), size=(REPS, len(array)))]
        means += drawn.mean(axis=1) / tasks
        squares += drawn.var(axis=1, ddof=1) / len(array) / tasks**2
    point, error = stats.mean(x), np.sqrt(sum(a.var(ddof=1) / len(a) for a in x)) / tasks
    usable = squares > 0
    low, high = np.quantile((means[usable] - point) / np.sqrt(squares[usable]), [0.025, 0.975])
    return {"mean": (point - high * error, point - low * error)}


def pooled_t(x: list[np.ndarray], seed: int) -> dict[str, Ends]:
    """Return the t interval of the mean with all degrees of freedom, as if every task had one variance."""
    error = np.sqrt(sum(a.var(ddof=1) / len(a) for a in x)) / len(x)
    half = t_quantile(0.95, sum(len(a) - 1 for a in x)) * float(error)
    return {"mean": (stats.mean(x) - half, stats.mean(x) + half)}


def _of_replicates(
    x: list[np.ndarray], seed: int, change: Callable[[float, np.ndarray], np.ndarray]
) -> dict[str, Ends]:
    drawn = stats.replicates(x, METRICS, REPS, seed)
    found: dict[str, Ends] = {}
    for name in METRICS:
        low, high = np.quantile(change(getattr(stats, name)(x), drawn[name]), [0.025, 0.975])
        found[name] = (float(low), float(high))
    return found


def measure(shape: str, tasks: int, seeds: int, repetitions: int, others: bool) -> dict[str, dict[str, float]]:
    """Return for each kind of interval and quantity the percentage that held the truth, NaN where none was given."""
    rng, truth = np.random.default_rng([tasks, seeds, *shape.encode()]), truths(shape, tasks)
    held: dict[str, dict[str, list[bool]]] = {}
    for seed in range(repetitions):
        x, y = draw(rng, shape, tasks, seeds), draw(rng, shape, tasks, seeds)
        made = {kind: intervals(x, y, kind, seed) for kind in ("student", "percentile")}
        if others:
            made |= {"scaled": scaled(x, seed), "BCa": bca(x, seed), "bootstrap-t": bootstrap_t(x, seed)}
            made["pooled t"] = pooled_t(x, seed)
        for kind, found in made.items():
            for name, (low, high) in found.items():
                if low is not None and high is not None:
                    held.setdefault(kind, {}).setdefault(name, []).append(low <= truth[name] <= high)
    return {kind: {name: 100 * float(np.mean(h)) for name, h in found.items()} for kind, found in held.items()}


def table(title: str, head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] + ["---:"] * (len(head) - 1), *rows)]
    return f"{title}\n\n" + "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Measure and print the tables as Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.coverage", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--tasks", type=int, nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="0 is ragged")
    parser.add_argument("--others", action="store_true", help="scaled residuals, BCa, bootstrap-t and pooled t as well")
    given = parser.parse_args(argv)
    found: dict[tuple[int, int], list[dict[str, dict[str, float]]]] = {}
    for tasks in given.tasks:
        for seeds in given.seeds:
            found[tasks, seeds] = [measure(s, tasks, seeds, given.repetitions, given.others) for s in SHAPES]
            print(f"{tasks} tasks × {seeds or 'ragged'} done", file=sys.stderr, flush=True)
    kinds = dict.fromkeys(kind for cells in found.values() for kind in cells[0] | cells[1])
    for kind in kinds:
        names = [q for q in QUANTITIES if any(q in c.get(kind, {}) for cells in found.values() for c in cells)]
        rows: list[list[str]] = []
        for (tasks, seeds), cells in found.items():
            shown = [" / ".join(_percent(c.get(kind, {}).get(q)) for c in cells) for q in names]
            rows.append([f"{tasks} × {seeds or 'ragged'}", *shown])
        print(table(f"**{kind}**, percent, normal / skewed / bimodal", ["tasks × seeds", *names], rows))
    return 0


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    sys.exit(main())
