"""May these runs be compared? What is mixed, unpaired, missing or suspicious, and the command that mends it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from agent.contract.config import NOT_IDENTITY
from agent.contract.run_folder import RunKey
from agent.contract.words import ConfigError
from analysis.data.load import LoadedRun, LoadedStudy, Problem
from analysis.data.scores import RunScores
from analysis.data.values import count
from analysis.findings.fill import fill_command

SHOWN = 6


@dataclass(frozen=True)
class Finding:
    """One thing to know before believing the numbers; a blocking one withholds aggregates unless forced."""

    kind: str
    text: str
    blocking: bool = False
    command: str = ""
    details: list[str] = field(default_factory=list[str])


def check(study: LoadedStudy, runs: Sequence[LoadedRun], grid: str, extra_words: str = "") -> list[Finding]:
    """Return the findings about the selected runs of a study, blocking ones first."""
    done = [run for run in runs if run.state == "done"]
    settings = study.plan.settings if study.plan else ""
    shown = [run for run in runs if run.state != "damaged" and len(run.scores.frames)]  # in learning curves at least
    commands = _by_command(study, shown)
    found = [
        *_units(shown),
        *(finding for alike in commands.values() for finding in _configurations(study, alike)),
        *(finding for alike in commands.values() for finding in _code(alike)),
        *_others(commands),
        *_budgets(done),
        *_pairs(runs, grid, extra_words, settings),
        *_missing(runs, grid, extra_words, settings),
        *_packages(shown),
    ]
    return sorted(found, key=lambda finding: not finding.blocking)


def _units(runs: Sequence[LoadedRun]) -> list[Finding]:
    units: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        units.setdefault(run.key.task, {}).setdefault(run.scores.unit, []).append(_name(run.key))
    found: list[Finding] = []
    for task, kinds in sorted(units.items()):
        if len(kinds) > 1:
            details = [f"{unit}: {count(len(names), 'run')} ({some(names)})" for unit, names in kinds.items()]
            found.append(
                Finding("units", f"runs of {task} count success in part and returns in part", True, details=details)
            )
    return found


def _by_command(study: LoadedStudy, runs: Sequence[LoadedRun]) -> dict[str, list[LoadedRun]]:
    """Return the runs by the command that trained them, "" for our agent: two differ in settings and code."""
    found: dict[str, list[LoadedRun]] = {}
    for run in runs:
        words = study.configs.get(run.config_id, {}).get("train", [])
        found.setdefault(" ".join(map(str, words)), []).append(run)
    return found


def _others(commands: Mapping[str, Sequence[LoadedRun]]) -> list[Finding]:
    found: list[Finding] = []
    methods = Counter(method for runs in commands.values() for method in {run.key.method for run in runs})
    for method in (name for name, number in methods.items() if number > 1):
        details = [f"{command or 'our agent'}: {some(_name(r.key) for r in runs if r.key.method == method)}"
                   for command, runs in commands.items()]  # fmt: skip
        found.append(Finding("configuration", f"runs of {method} were trained by different agents", True, "", details))
    for command, runs in sorted(commands.items()):
        if command and len(commands) > 1:
            names = ", ".join(sorted({run.key.method for run in runs}))
            text = f"another agent trained {names} ({command}): its settings are not compared with the others'"
            found.append(Finding("configuration", text))
    return found


def _configurations(study: LoadedStudy, runs: Sequence[LoadedRun]) -> list[Finding]:
    """A setting may depend on the task or on the method, but on nothing else; what a method's name hides is said."""
    kinds = {(r.key.task, r.key.method, r.config_id) for r in runs if r.config_id in study.configs}
    keys = {key for _, _, config in kinds for key in study.configs[config]} - set(NOT_IDENTITY)
    found: list[Finding] = []
    for key in sorted(keys):
        values = [(task, method, repr(study.configs[config].get(key))) for task, method, config in kinds]
        if len({v for _, _, v in values}) == 1 or _depends_on(0, values):
            continue
        if _depends_on(1, values):
            if key != "method" and not any(f"{key}=" in method for _, method, _ in values):
                text = f"methods differ in {key} too: " + ", ".join(sorted({f"{m} has {v}" for _, m, v in values}))
                found.append(Finding("configuration", text))
            continue
        by_value: dict[str, list[str]] = {}
        for run in runs:
            if run.config_id in study.configs:
                by_value.setdefault(repr(study.configs[run.config_id].get(key)), []).append(_name(run.key))
        ordered = sorted(by_value.items(), key=lambda item: -len(item[1]))
        details = [f"{key}: {value} in {count(len(names), 'run')} ({some(names)})" for value, names in ordered]
        found.append(Finding("configuration", f"runs of one method differ in {key}", True, details=details))
    return found


def _depends_on(column: int, values: Sequence[tuple[str, str, str]]) -> bool:
    seen: dict[str, str] = {}
    return all(seen.setdefault(row[column], row[2]) == row[2] for row in values)


def _code(runs: Sequence[LoadedRun]) -> list[Finding]:
    trees = Counter(_trees(run)[0] for run in runs)
    unknown = trees.pop("", 0)
    found: list[Finding] = []
    if len(trees) > 1:
        details = [
            f"{tree[:16]}: {count(n, 'run')} ({some(_name(r.key) for r in runs if _trees(r)[0] == tree)})"
            for tree, n in trees.most_common()
        ]
        found.append(Finding("code", f"runs come from {len(trees)} different code trees", True, details=details))
    changed = [run for run in runs if len(_trees(run)) > 1]
    if changed:
        details = [f"{_name(run.key)}: {' → '.join(tree[:16] for tree in _trees(run))}" for run in changed]
        number = f"{len(changed)} {'runs were' if len(changed) > 1 else 'run was'}"
        text = f"the code changed between attempts: {number} continued by another code tree than begun"
        found.append(Finding("code", text, True, details=details))
    if unknown and trees:
        found.append(Finding("code", f"the code of {count(unknown, 'run')} is unknown (no provenance.json)"))
    return found


def _trees(run: LoadedRun) -> list[str]:
    """Return the code trees that a run's attempts ran from, in order; runs without attempts have their provenance's."""
    code = str(run.summary["code"])
    trees = [str(tree) for tree in run.summary["attempt_trees"]]
    return list(dict.fromkeys([code, *trees] if code and trees else trees or [code]))


def _packages(runs: Sequence[LoadedRun]) -> list[Finding]:
    sets = Counter(str(run.summary["packages"]) for run in runs if run.summary["packages"])
    if len(sets) < 2:
        return []
    return [Finding("packages", f"runs used {len(sets)} different sets of package versions; see their provenance.json")]


def _budgets(runs: Sequence[LoadedRun]) -> list[Finding]:
    found: list[Finding] = []
    for task in sorted({run.key.task for run in runs}):
        last = {run: int(run.scores.frames[-1]) for run in runs if run.key.task == task and len(run.scores.frames)}
        ends = Counter(last.values())
        if len(ends) > 1:
            details = [
                f"{frames} frames: {count(n, 'run')} ({some(_name(r.key) for r, f in last.items() if f == frames)})"
                for frames, n in ends.most_common()
            ]
            found.append(Finding("budget", f"finished runs of {task} end at different frames", True, details=details))
    return found


def mixed(study: LoadedStudy, runs: Iterable[LoadedRun]) -> set[tuple[str, str]]:
    """Return (method, task) wherever finished runs differ in unit, setting or budget, so that they have no mean."""
    settings = {
        config: repr(sorted((key, repr(value)) for key, value in flat.items() if key not in NOT_IDENTITY))
        for config, flat in study.configs.items()
    }
    kinds: dict[tuple[str, str], set[tuple[str, str, int]]] = {}
    for run in runs:
        if run.state == "done" and len(run.scores.frames):
            kind = (run.scores.unit, settings.get(run.config_id, ""), int(run.scores.frames[-1]))
            kinds.setdefault((run.key.method, run.scores.task), set()).add(kind)
    return {cell for cell, found in kinds.items() if len(found) > 1}


def _pairs(runs: Sequence[LoadedRun], grid: str, words: str, settings: str) -> list[Finding]:
    methods = sorted({run.key.method for run in runs})
    done = {run.key for run in runs if run.state == "done"}
    lacking: list[RunKey] = []
    for task in sorted({key.task for key in done}):
        seeds = {key.seed for key in done if key.task == task}
        lacking += [key for m in methods for s in sorted(seeds) if (key := RunKey(task, m, s)) not in done]
    if len(methods) < 2 or not lacking:
        return []
    states = {run.key: run.state for run in runs}
    details = [f"{_name(key)}: {states.get(key, 'missing')}" for key in lacking]
    number = f"{len(lacking)} {'runs have' if len(lacking) > 1 else 'run has'}"
    text = f"methods were not run on the same seeds: {number} no finished counterpart"
    return [Finding("unpaired", text, True, fill_command(lacking, runs, grid, words, settings), details)]


def _missing(runs: Sequence[LoadedRun], grid: str, words: str, settings: str) -> list[Finding]:
    """Everything not finished, by state: failed runs matter most, since their absence can bias what remains."""
    open_runs = [run for run in runs if run.state != "done"]
    if not open_runs:
        return []
    states = Counter(run.state for run in open_runs)
    by_state = ", ".join(f"{n} {state}" for state, n in states.most_common())
    text = f"{len(open_runs)} of {len(runs)} runs are not finished ({by_state})"
    if states["failed"]:
        text += "; leaving out failed runs can bias what remains"
    reasons = Counter(str(run.summary["reason"]) for run in open_runs if run.summary["reason"])
    details = [f"{n} × {reason}" for reason, n in reasons.most_common(SHOWN)]
    keys = [run.key for run in open_runs]
    return [Finding("missing", text, False, fill_command(keys, runs, grid, words, settings), details)]


@dataclass(frozen=True)
class Duplicate:
    """Two seeds of one method and task whose evaluations coincide."""

    method: str
    task: str
    seeds: tuple[int, int]
    equal: int
    points: int
    differs_at: tuple[int, ...]


def duplicates(runs: Iterable[RunScores]) -> list[Duplicate]:
    """Return pairs of runs that share most of a curve.

    Equal scores are evidence in so far as a score says which evaluation it is of: fully if the four evaluations around
    it have others, by half if two of them have the same, not at all at a floor or ceiling. They must come to three
    evaluations, and to more than there are different ones.
    """
    groups: dict[tuple[str, str], list[RunScores]] = {}
    for run in runs:
        groups.setdefault((run.method, run.task), []).append(run)
    found: list[Duplicate] = []
    for (method, task), members in sorted(groups.items()):
        bounds = _bounds(members)
        telling = {id(run): _telling(run.scores, bounds) for run in members}
        for a, b in combinations(sorted(members, key=lambda r: r.seed), 2):
            shared, ia, ib = np.intersect1d(a.frames, b.frames, return_indices=True)
            same = a.scores[ia] == b.scores[ib]
            evidence = np.minimum(telling[id(a)][ia], telling[id(b)][ib])[same].sum()
            if evidence >= 3 and evidence > (~same).sum():
                where = tuple(int(frame) for frame in shared[~same])
                found.append(Duplicate(method, task, (a.seed, b.seed), int(same.sum()), len(shared), where))
    return found


def _bounds(runs: Sequence[RunScores]) -> list[float]:
    """Return the least and the largest score of a task, where runs have them at several numbers of frames."""
    scores = np.concatenate([run.scores for run in runs])
    frames = np.concatenate([run.frames for run in runs])
    ends = [float(scores.min()), float(scores.max())] if len(scores) else []
    known = [0.0, 1.0] if any(run.unit == "success" for run in runs) else []
    return known + [end for end in ends if len(np.unique(frames[scores == end])) > 1]


def _telling(scores: NDArray[np.float64], bounds: Sequence[float]) -> NDArray[np.float64]:
    """Return per evaluation the share of the two before and the two after it that have another score; 0 at a bound."""
    others, equal = np.zeros(len(scores)), np.zeros(len(scores))
    for distance in range(1, min(3, len(scores))):
        same = scores[distance:] == scores[:-distance]
        for part in (slice(distance, None), slice(None, -distance)):
            others[part] += 1
            equal[part] += same
    share = 1 - equal / np.maximum(others, 1)
    share[np.isin(scores, bounds)] = 0.0
    return share


def suspicious(runs: Iterable[RunScores]) -> tuple[list[Finding], list[Problem]]:
    """Return what looks wrong although it can be read: a finding per method and task, a problem per pair of seeds."""
    pairs: dict[tuple[str, str], list[Duplicate]] = {}
    members = list(runs)
    for d in duplicates(members):
        pairs.setdefault((d.method, d.task), []).append(d)
    folders = {(run.method, run.task, run.seed): run.folder for run in members}
    found: list[Finding] = []
    problems: list[Problem] = []
    for (method, task), group in pairs.items():
        texts = [_shared(d) for d in group]
        if len(group) == 1:
            found.append(Finding("suspicious", f"{method}, {task}: {texts[0]}"))
        else:
            seeds = sorted({seed for d in group for seed in d.seeds})
            text = f"{method}, {task}: seeds {some(map(str, seeds))} share most of their evaluations"
            found.append(Finding("suspicious", text, details=texts))
        for d, text in zip(group, texts, strict=True):
            folder = folders[method, task, d.seeds[1]]
            where = str(folder / "scores.jsonl") if folder else f"{method}, {task}"
            problems.append(Problem(where, f"{text}; both runs count"))
    return found, problems


def _shared(d: Duplicate) -> str:
    text = f"seeds {d.seeds[0]} and {d.seeds[1]} share {d.equal} of {d.points} evaluations"
    return text + (f"; they differ at {some(map(str, d.differs_at))} frames" if d.differs_at else "")


def paired(runs: Sequence[LoadedRun]) -> list[LoadedRun]:
    """Return the finished runs whose task and seed every method has finished, and all unfinished runs.

    A method without a finished run is left out.

    Raises ConfigError when no run is left.
    """
    methods = {run.key.method for run in runs if run.state == "done"}
    done = Counter((run.key.task, run.key.seed) for run in runs if run.state == "done")
    if not methods:
        return list(runs)
    kept = [
        run
        for run in runs
        if run.key.method in methods and (run.state != "done" or done[run.key.task, run.key.seed] == len(methods))
    ]
    if not any(run.state == "done" for run in kept):
        raise ConfigError(f"--paired: no task and seed has been finished by all of {', '.join(sorted(methods))}")
    return kept


def unpaired(runs: Sequence[LoadedRun], pairs: Sequence[LoadedRun]) -> list[Finding]:
    """Return findings that name the finished runs left out by `paired`, and the methods it did not wait for."""
    kept = {run.key for run in pairs}
    left = [_name(run.key) for run in runs if run.state == "done" and run.key not in kept]
    begun = {run.key.method for run in runs if run.state == "done"}
    found: list[Finding] = []
    if left:
        found.append(Finding("paired", f"--paired leaves out {len(left)} finished runs: {some(left)}"))
    if none := sorted({run.key.method for run in runs} - begun):
        found.append(Finding("paired", f"--paired does not wait for {', '.join(none)}: no run of it has finished"))
    return found


def _name(key: RunKey) -> str:
    return f"{key.task}/{key.method}/seed-{key.seed}"


def some(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (f", … {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")
