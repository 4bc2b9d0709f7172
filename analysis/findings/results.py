"""From the runs of some methods on some tasks to every number of the report."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from analysis import stats
from analysis.data.benchmarks import Reference, references
from analysis.data.last import last_remarks
from analysis.data.scores import OURS, PUBLISHED, RunScores
from analysis.findings.scales import HUMAN, RAW, REFERENCE, SUCCESS, Scale
from analysis.findings.versus import Comparison, Settings, compare_all
from analysis.stats.metrics import named
from analysis.stats.resample import Floats
from analysis.stats.runs import Interval
from analysis.stats.ties import exact_mean


@dataclass(frozen=True)
class Cell:
    """One method on one task: n runs, mean and standard deviation (n-1; NaN for one run), and the mean normalised.

    `largest` is the largest magnitude of the runs' scores: the scale on which means may tie.
    """

    n: int
    mean: float
    std: float
    normalised: float
    frames: tuple[int, int]
    largest: float


@dataclass
class TaskGroup:
    """Tasks that share a scale, with everything that can be said across them."""

    scale: Scale
    tasks: list[str]
    methods: list[str]
    scores: dict[str, list[Floats]]
    aggregates: dict[str, dict[str, Interval]] = field(default_factory=dict[str, dict[str, Interval]])
    comparisons: list[Comparison] = field(default_factory=list[Comparison])
    average_rank: dict[str, float] = field(default_factory=dict[str, float])
    profiles: dict[str, stats.Profile] = field(default_factory=dict[str, stats.Profile])
    curves: dict[str, dict[str, stats.Curve]] = field(default_factory=dict[str, dict[str, stats.Curve]])
    areas: dict[str, dict[str, Interval]] = field(default_factory=dict[str, dict[str, Interval]])
    frames: tuple[int, int] = (0, 0)

    def magnitudes(self) -> Floats:
        """Return each task's largest score of any method, at least 1 where scores have a common scale."""
        largest = [
            max(float(np.abs(scores[k]).max()) for scores in self.scores.values()) for k in range(len(self.tasks))
        ]
        return np.maximum(largest, 1.0 if self.scale.averaged else 0.0)


@dataclass
class Results:
    """Everything the tables and figures show.

    `references` are those of all tasks that are known. `withheld` says why there are no aggregates, "" if there are;
    `remarks` what the aggregates leave out or mix.
    """

    settings: Settings
    methods: list[str]
    tasks: list[str]
    runs: list[RunScores]
    cells: dict[tuple[str, str], Cell]
    groups: list[TaskGroup]
    units: dict[str, str]
    references: Mapping[str, Reference]
    withheld: str = ""
    remarks: list[str] = field(default_factory=list[str])

    def without_means(self, mixed: Collection[tuple[str, str]]) -> None:
        """Take mean and deviation from the cells (method, task) whose runs have none in common."""
        unknown = {"mean": math.nan, "std": math.nan, "normalised": math.nan}
        self.cells |= {key: replace(self.cells[key], **unknown) for key in mixed if key in self.cells}


def order_methods(names: Sequence[str]) -> list[str]:
    """Return the names with Harmony before its baseline, ours before the published, variants beside their base."""
    known = [*OURS, *PUBLISHED]

    def place(name: str) -> tuple[int, str]:
        base = name.partition("@")[0]
        return (known.index(base) if base in known else len(known), name)

    return sorted(dict.fromkeys(names), key=place)


def order_tasks(names: Sequence[str]) -> list[str]:
    """Return the names sorted, the built-in Catch last."""
    return sorted(dict.fromkeys(names), key=lambda name: (name == "catch", name))


def compute(runs: Sequence[RunScores], settings: Settings, withheld: str = "") -> Results:
    """Return all results of the runs; unfinished runs appear in learning curves only.

    With `withheld` set, nothing across tasks or methods is computed.
    """
    methods, tasks = order_methods([r.method for r in runs]), order_tasks([r.task for r in runs])
    table = {**references(settings.reference), **settings.given}
    finals: dict[tuple[str, str], list[float]] = {}
    frames: dict[tuple[str, str], list[int]] = {}
    for run in sorted(runs, key=lambda r: r.seed):
        score = run.final(settings.last, settings.last_frames)
        if run.complete and not math.isnan(score):
            finals.setdefault((run.method, run.task), []).append(score)
            frames.setdefault((run.method, run.task), []).append(run.window[1] if run.window else int(run.frames[-1]))
    cells = {key: _cell(scores, frames[key], table.get(key[1])) for key, scores in finals.items()}
    units = units_of(runs)
    results = Results(settings, methods, tasks, list(runs), cells, [], units, table, withheld)
    results.remarks += last_remarks(runs, settings.last, settings.last_frames)
    for scale, members in _scales(tasks, units, table).items():
        group = _group(scale, members, methods, finals, table)
        results.remarks += _remarks(scale, members, methods, cells, runs)
        if group is not None:
            spans = [cells[m, t].frames for m in group.methods for t in group.tasks]
            group.frames = (min(a for a, _ in spans), max(b for _, b in spans))
            if not withheld:
                _fill(group, settings)
                group.areas = _areas(group, runs, settings, table)
                if lacking := _add_curves(group, runs, settings, table):
                    why = "no frame at which runs of every task were evaluated"
                    results.remarks.append(f"no learning curve over tasks ({scale}) of {', '.join(lacking)}: {why}")
            results.groups.append(group)
    return results


def units_of(runs: Sequence[RunScores]) -> dict[str, str]:
    """Return each task's unit, as the runs with evaluations have it; runs without any cannot tell."""
    units = {run.task: run.unit for run in runs}
    return units | {run.task: run.unit for run in runs if len(run.frames)}


def _cell(scores: Sequence[float], frames: Sequence[int], reference: Reference | None) -> Cell:
    d = stats.describe(scores)
    normalised = float(reference.normalise(d.mean)) if reference else math.nan
    return Cell(d.n, d.mean, d.std, normalised, (min(frames), max(frames)), max(abs(d.low), abs(d.high)))


def _scales(tasks: Sequence[str], units: Mapping[str, str], table: Mapping[str, Reference]) -> dict[Scale, list[str]]:
    scales: dict[Scale, list[str]] = {}
    for task in tasks:
        if (reference := table.get(task)) is not None:
            scale = HUMAN if reference.kind == "human" else REFERENCE
        else:
            scale = SUCCESS if units[task] == "success" else RAW
        scales.setdefault(scale, []).append(task)
    return scales


def _group(
    scale: Scale,
    tasks: list[str],
    methods: Sequence[str],
    finals: Mapping[tuple[str, str], list[float]],
    table: Mapping[str, Reference],
) -> TaskGroup | None:
    """Return the group of the tasks on which every method with any finished run has one; None without such tasks."""
    present = [m for m in methods if any((m, t) in finals for t in tasks)]
    shared = [t for t in tasks if all((m, t) in finals for m in present)]
    if not present or not shared:
        return None
    # Sorted, so that a number does not depend on which seed had which score.
    scores = {m: [np.sort(_scaled(finals[m, t], scale, table.get(t))) for t in shared] for m in present}
    return TaskGroup(scale, shared, present, scores)


def _remarks(
    scale: Scale,
    tasks: Sequence[str],
    methods: Sequence[str],
    cells: Mapping[tuple[str, str], Cell],
    runs: Sequence[RunScores],
) -> list[str]:
    """Return what the group's aggregates leave out or mix: tasks, frames, kinds of scores."""
    present = [m for m in methods if any((m, t) in cells for t in tasks)]
    trained = [m for m in present if any(r.window for r in runs if r.method == m)]
    found: list[str] = []
    if trained:
        others = ", the others' evaluations" if len(trained) < len(present) else ""
        found.append(f"scores of {', '.join(trained)} are training episodes{others}")
    for method in present:
        lacking = [t for t in tasks if (method, t) not in cells and any((m, t) in cells for m in present)]
        if lacking:
            names = ", ".join(lacking[:6]) + (f", … {len(lacking) - 6} more" if len(lacking) > 6 else "")
            found.append(f"{method} has no finished run of {names}: left out of everything across tasks ({scale})")
    spans = {m: [cells[m, t].frames for t in tasks if (m, t) in cells] for m in present}
    ends = {m: (min(first for first, _ in span), max(last for _, last in span)) for m, span in spans.items()}
    if ends and max(last for _, last in ends.values()) > 1.05 * min(first for first, _ in ends.values()):
        texts = {m: f"{first} to {last}" if last > first else str(last) for m, (first, last) in ends.items()}
        listed = ", ".join(f"{m} {text}" for m, text in texts.items())
        found.append(f"runs are scored at different frames ({scale}): {listed}")
    return found


def _scaled(scores: ArrayLike, scale: Scale, reference: Reference | None) -> Floats:
    return reference.normalise(scores) if scale.referenced and reference else np.asarray(scores, np.float64)


def _fill(group: TaskGroup, s: Settings) -> None:
    means = {m: np.array([exact_mean(scores) for scores in group.scores[m]]) for m in group.methods}
    magnitude = group.magnitudes()
    if group.scale.averaged:
        names = [metric.name for metric in group.scale.metrics]
        group.aggregates = {m: _aggregate(group.scores[m], names, group.scale, s) for m in group.methods}
        taus = profile_thresholds(group)
        group.profiles = {
            m: stats.performance_profile(group.scores[m], taus, seed=s.seed, level=s.level, interval=s.interval)
            for m in group.methods
        }
    if len(group.methods) > 1:
        group.average_rank = stats.average_rank(means, magnitude)
    group.comparisons = compare_all(group.scores, group.tasks, means, magnitude, group.scale.subtracted, s)


def _aggregate(runs: stats.Runs, names: Sequence[str], scale: Scale, s: Settings) -> dict[str, Interval]:
    found = stats.aggregate(runs, names, reps=s.reps, seed=s.seed, level=s.level, interval=s.interval)
    return {name: _possible(i, max(scale.low, named(name).least), scale.high) for name, i in found.items()}


def _possible(i: Interval, low: float, high: float) -> Interval:
    """Return an interval without values that cannot be: success rates end at 0 and 1, an optimality gap at 0."""
    return i if i.low is None or i.high is None else replace(i, low=max(low, i.low), high=min(high, i.high))


def profile_thresholds(group: TaskGroup) -> Floats:
    """Return 201 thresholds from 0 to where 2.5% of the best method's runs remain, at least 1."""
    top = max(float(np.quantile(np.concatenate(scores), 0.975)) for scores in group.scores.values())
    return np.linspace(0.0, min(max(1.0, math.ceil(top * 2) / 2), group.scale.high), 201)


def _add_curves(group: TaskGroup, runs: Sequence[RunScores], s: Settings, table: Mapping[str, Reference]) -> list[str]:
    """Add each method's curves; return the methods without any, as no frame has evaluations of all tasks."""
    lacking: list[str] = []
    if not group.scale.averaged:
        return lacking
    for method in group.methods:
        steps, evaluations = evaluation_matrices([r for r in runs if r.method == method], group.tasks)
        if len(steps) < 2:
            continue
        scaled = [_scaled(m, group.scale, table.get(t)) for m, t in zip(evaluations, group.tasks, strict=True)]
        found = {
            name: stats.curve(steps, scaled, name, reps=s.curve_reps, seed=s.seed, level=s.level, interval=s.interval)
            for name in group.scale.subtracted
        }
        if any(len(curve.steps) for curve in found.values()):
            group.curves[method] = found
        else:
            lacking.append(method)
    return lacking


def _areas(
    group: TaskGroup, runs: Sequence[RunScores], s: Settings, table: Mapping[str, Reference]
) -> dict[str, dict[str, Interval]]:
    """Return the statistics of the area under finished runs' curves per method whose runs all have two evaluations."""
    found: dict[str, dict[str, Interval]] = {}
    for method in group.methods if group.scale.averaged else ():
        areas: list[list[float]] = []
        for task in group.tasks:
            members = [bin_episodes(r) for r in runs if (r.method, r.task) == (method, task) and r.complete]
            curves = [(r.frames, _scaled(r.scores, group.scale, table.get(task))) for r in members]
            areas.append(sorted(stats.area_under_curve(f, c) for f, c in curves if len(f) > 1))
            if not areas[-1] or len(areas[-1]) < len(members):
                break
        else:
            found[method] = _aggregate(areas, group.scale.subtracted, group.scale, s)
    return found


def evaluation_matrices(runs: Sequence[RunScores], tasks: Sequence[str]) -> tuple[list[int], list[Floats]]:
    """Return the frames at which runs were evaluated and per task a matrix [runs, frames], NaN where there is none.

    Training episodes are averaged in windows of 1/20 of the longest run, each at the end of its window.
    """
    binned = [bin_episodes(run) for run in runs]
    steps = sorted({int(frame) for run in binned for frame in run.frames})
    place = {frame: column for column, frame in enumerate(steps)}
    matrices: list[Floats] = []
    for task in tasks:
        members = [run for run in binned if run.task == task]
        matrix = np.full((len(members), len(steps)), np.nan)
        for row, run in enumerate(members):
            matrix[row, [place[int(frame)] for frame in run.frames]] = run.scores
        matrices.append(matrix)
    return steps, matrices


def bin_episodes(run: RunScores, bins: int = 20) -> RunScores:
    """Return a run of training episodes as `bins` window means; a run of evaluations is returned as it is."""
    if run.window is None:
        return run
    width = run.window[1] // bins
    number = np.minimum((run.frames - 1) // width, bins - 1)
    places = np.unique(number)
    scores = np.array([run.scores[number == place].mean() for place in places])
    return RunScores(
        run.method, run.task, run.seed, (places + 1) * width, scores, run.complete, run.window, run.unit, run.folder
    )
