"""Scores that are not of the study, added from CSV files or published: may they stand beside it?"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from agent.contract.words import ConfigError, close, matched
from analysis.data import scores
from analysis.data.score_files import read_scores
from analysis.data.scores import RunScores
from analysis.data.values import count
from analysis.findings import results
from analysis.findings.guard import Finding, some

# Runs that end within this share of their frames count as ending together: episodes and evaluations do not end on the
# same frame in everybody's logs. One evaluation more or less of twenty is 5%.
SAME_END = 0.01


def take(paths: Iterable[str], own: Sequence[RunScores], known: Sequence[str]) -> tuple[list[RunScores], list[Finding]]:
    """Return the runs in score files, tasks named as the study or else `known`, and what is to be said of them.

    Raises: ConfigError for what cannot be read, and for methods and runs that are there already.
    """
    runs = [run for path in paths for run in read_scores(path)]
    ours = sorted({run.task for run in own})
    names = matched({run.task for run in runs}, ours, known)
    unknown: dict[str, list[str]] = {}
    for run in runs:
        if names[run.task] is None and run.task not in unknown.setdefault(run.method, []):
            unknown[run.method].append(run.task)
    found = [
        Finding("task", f"{method}: {hints}")
        for method, tasks in unknown.items()
        if (hints := "; ".join(_unknown(task, {*ours, *known}) for task in tasks))
    ]
    runs = in_units_of(own, [replace(run, task=names[run.task] or run.task) for run in runs])
    refuse_overlap(own, runs)
    return runs, found


def _unknown(task: str, known: Iterable[str]) -> str:
    near = close(task, known)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"neither the study nor the references know its task {task!r}{hint}"


def refuse_overlap(own: Sequence[RunScores], extra: Sequence[RunScores]) -> None:
    """Raise ConfigError for an added method that has the name of another, or a run that is given twice."""
    taken = {run.method for run in own}
    published = scores.published_methods()
    labels = {scores.label(name).casefold() for name in (*taken, *published, *scores.OUR_LABELS)}
    given: set[tuple[str, str, int]] = set()
    for run in extra:
        if run.method in taken:
            raise ConfigError(f"extra: {run.method} is there already; give the added method another name")
        if run.method in published or (run.method not in scores.OUR_LABELS and run.method.casefold() in labels):
            raise ConfigError(f"extra: {run.method} is the name of another method; give the added method another one")
        if (key := (run.method, run.task, run.seed)) in given:
            raise ConfigError(f"extra: {run.method}, {run.task}, seed {run.seed} is given twice")
        given.add(key)


def in_units_of(own: Sequence[RunScores], extra: Sequence[RunScores]) -> list[RunScores]:
    """Return added runs in the unit that the study has for their task; a CSV file does not name it."""
    units = results.units_of(own)
    for run in extra:
        if units.get(run.task) == "success" and not ((run.scores >= 0) & (run.scores <= 1)).all():
            raise ConfigError(
                f"extra: {run.method}, {run.task}, seed {run.seed} has scores outside 0 to 1, but the study has "
                "success rates of this task"
            )
    return [replace(run, unit=units.get(run.task, run.unit)) for run in extra]


def check(runs: Iterable[RunScores], own: Sequence[RunScores]) -> list[Finding]:
    """Return the findings about runs that are not of the study: where they end, and which seeds they have."""
    members = list(runs)
    return [*_budgets(members), *_unlike_seeds(members, own), *_alone(members), *_without_score(members)]


def mixed(runs: Iterable[RunScores]) -> set[tuple[str, str]]:
    """Return (method, task) wherever added runs end at different frames, so that they have no mean."""
    added = [run for run in runs if run.folder is None]
    return {cell for cell, ends in _ends(added).items() if not _together(ends.values())}


def _budgets(runs: Sequence[RunScores]) -> list[Finding]:
    """A method's runs of one task end together, and where the other methods' do: less training is not worse."""
    ends = _ends(runs)
    added = {run.method for run in runs if run.folder is None}
    found: list[Finding] = []
    for method in sorted(added):
        details = [
            f"{task}: {some(f'seed {seed} at {frame}' for seed, frame in sorted(seeds.items()))}"
            for (name, task), seeds in sorted(ends.items())
            if name == method and not _together(seeds.values())
        ]
        if details:
            found.append(Finding("budget", f"runs of {method} end at different frames", True, details=details))
    apart: dict[str, list[str]] = {}
    names: set[str] = set()
    for task in sorted({task for _, task in ends}):
        last = {method: max(seeds.values()) for (method, name), seeds in sorted(ends.items()) if name == task}
        if added & last.keys() and not _together(last.values()):
            listed = ", ".join(f"{method} at {frame}" for method, frame in last.items())
            apart.setdefault(listed, []).append(task)
            names |= last.keys()
    if apart:
        details = [f"{some(tasks)}: {listed}" for listed, tasks in apart.items()]
        text = f"runs of {', '.join(sorted(names))} end at different frames of the same tasks"
        found.append(Finding("budget", text, True, details=details))
    return found


def _ends(runs: Iterable[RunScores]) -> dict[tuple[str, str], dict[int, int]]:
    """Return the frame at which finished runs are scored: by method and task, by seed."""
    found: dict[tuple[str, str], dict[int, int]] = {}
    for run in runs:
        if run.complete and len(run.frames):
            end = run.window[1] if run.window else int(run.frames[-1])
            found.setdefault((run.method, run.task), {})[run.seed] = end
    return found


def _together(frames: Iterable[int]) -> bool:
    known = list(frames)
    return max(known) - min(known) <= SAME_END * max(known)


def _alone(runs: Sequence[RunScores]) -> list[Finding]:
    """Return a note for each added method that has no task in common with any other: it is in no aggregate."""
    tasks: dict[str, set[str]] = {}
    for run in runs:
        tasks.setdefault(run.method, set()).add(run.task)
    added = sorted({run.method for run in runs if run.folder is None})
    return [
        Finding("task", f"{method} shares no task with another method: it is compared with none")
        for method in added
        if len(tasks) > 1 and tasks[method].isdisjoint(set[str]().union(*(t for m, t in tasks.items() if m != method)))
    ]


def _without_score(runs: Iterable[RunScores]) -> list[Finding]:
    """Return a note on added and published runs of which nothing lies in the window that makes their score."""
    without = [run for run in runs if run.folder is None and math.isnan(run.final())]
    if not without:
        return []
    (first, last) = without[0].window or (0, 0)
    names = some(f"{run.method} {run.task} seed {run.seed}" for run in without)
    text = f"{count(len(without), 'run')} without a score, as no episode ends from {first} to {last} frames: {names}"
    return [Finding("missing", text)]


def _unlike_seeds(runs: Iterable[RunScores], own: Sequence[RunScores]) -> list[Finding]:
    """Return a note for each method without the study's finished tasks and seeds: it stays whole."""
    ours = {(run.task, run.seed) for run in own}
    theirs: dict[str, set[tuple[str, int]]] = {}
    for run in runs:
        if run.folder is None and ours:
            theirs.setdefault(run.method, set()).add((run.task, run.seed))
    return [
        Finding("unpaired", f"{method} is not of the study and has other runs than it: {', '.join(parts)}")
        for method, keys in theirs.items()
        if (parts := _unlike(ours, keys))
    ]


def _unlike(ours: set[tuple[str, int]], theirs: set[tuple[str, int]]) -> list[str]:
    named: Mapping[str, set[tuple[str, int]]] = {"without {}": ours - theirs, "with {} besides": theirs - ours}
    return [
        text.format(some(f"{task} seed {seed}" for task, seed in sorted(keys))) for text, keys in named.items() if keys
    ]
