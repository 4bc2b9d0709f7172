"""The state of a study as text: a table of tasks × methods, and what to do about what ended."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from agent.contract.words import spell_seeds
from harness.command import counted
from harness.state.diagnose import grouped
from harness.state.hours import Spent
from harness.state.run_state import STARTING, Overview, RunState
from harness.state.vocabulary import STYLES, Retry, State, rank

LINES = 24  # of a traceback
KNOWN_AFTER_S = 30  # of work
METHODS_BESIDE = 4


def duration(seconds: float | None) -> str:
    """Return a time as `45 s`, `12 min`, `3.5 h` or `2.1 d`; `–` when it is not known."""
    if seconds is None:
        return "–"
    for unit, size, limit in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 48 * 3600)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}" if unit == "h" else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.1f} d"


def progress(state: RunState) -> float:
    """Return how much of a run is done, 0 to 1."""
    if state.state is State.DONE:
        return 1.0
    total = state.status.total_env_steps if state.status else 0
    return min(1.0, state.status.env_steps / total) if state.status and total else 0.0


def cell(states: Sequence[RunState]) -> str:
    """Return one task and method as text: `3 done, 1 running 45%, 1 gpu_oom`."""
    counts = Counter(state.label for state in states)
    words: list[str] = []
    for label in sorted(counts, key=rank):
        style = STYLES.get(label, "red")
        text = f"{counts[label]} {label}"
        if label == State.RUNNING:
            shares = [progress(state) for state in states if state.label == label]
            text += f" {sum(shares) / len(shares):.0%}"
        words.append(f"[{style}]{text}[/{style}]")
    return ", ".join(words)


def rich_table(view: Overview) -> Any:
    """Return the table of tasks × methods, with the speed and the time left of each task.

    Where there are more methods than fit side by side, a task has a row for each of its methods.
    """
    from rich.table import Table

    methods = list(dict.fromkeys(state.run.key.method for state in view.runs))
    beside = len(methods) <= METHODS_BESIDE
    groups: dict[tuple[str, ...], list[RunState]] = {}
    for state in view.runs:
        key = state.run.key
        groups.setdefault((key.task,) if beside else (key.task, key.method), []).append(state)
    table = Table(pad_edge=False)
    table.add_column("task", no_wrap=True)
    for name in methods if beside else ("method", "runs"):
        table.add_column(name)
    table.add_column("steps/s", justify="right")
    table.add_column("left", justify="right")
    for names, rows in groups.items():
        parts = [[state for state in rows if state.run.key.method == name] for name in methods] if beside else [rows]
        speed = sum(state.steps_per_s for state in rows)
        left = [state.eta_s for state in rows if state.eta_s is not None]
        table.add_row(*names, *map(cell, parts), f"{speed:.1f}" if speed else "–", duration(max(left)) if left else "–")
    return table


def summary(states: Sequence[RunState]) -> str:
    """Return all runs in one line: `12 runs: 8 done, 4 running (57% of all steps)`."""
    if not states:
        return "no runs"
    counts = Counter(state.label for state in states)
    parts = [f"{counts[k]} {k}" for k in sorted(counts, key=rank)]
    share = sum(map(progress, states)) / len(states)
    left = time_left(states)
    pace = f", about {duration(left)} at the present pace" if left is not None else ""
    return f"{counted(len(states), 'run')}: {', '.join(parts)} ({share:.0%} of all steps{pace})"


def time_left(states: Sequence[RunState]) -> float | None:
    """Return seconds until all unfinished runs are done, None while nothing runs or little is known of their speed.

    A run is taken to be as fast as those of its task were so far, compilation and evaluations included, or, before any,
    as all; one that has not begun counts as long as the others are on average.
    """
    totals = [s.status.total_env_steps for s in states if s.status and s.status.total_env_steps]
    live = [state for state in states if state.live]
    running = sum(state.state is State.RUNNING for state in live)
    steps, seconds = _worked(states)
    if not totals or not running or steps <= 0 or seconds < KNOWN_AFTER_S:
        return None
    mean, left = sum(totals) / len(totals), 0.0
    for task, members in _by_task(live).items():
        own_steps, own_seconds = _worked([state for state in states if state.run.key.task == task])
        pace = own_seconds / own_steps if own_steps and own_seconds >= KNOWN_AFTER_S else seconds / steps
        left += pace * sum((1 - progress(s)) * ((s.status.total_env_steps if s.status else 0) or mean) for s in members)
    return left / max(running, min(_slots(live), len(live)))


def _worked(states: Iterable[RunState]) -> tuple[int, float]:
    work = [state.worked for state in states]
    return sum(steps for steps, _ in work), sum(seconds for _, seconds in work)


def _by_task(states: Iterable[RunState]) -> dict[str, list[RunState]]:
    found: dict[str, list[RunState]] = {}
    for state in states:
        found.setdefault(state.run.key.task, []).append(state)
    return found


def _slots(live: Iterable[RunState]) -> int:
    """Return how many runs the local pools have at once, also at a moment at which one takes another's place."""
    launches = {s.where.launch.id: s.where.launch for s in live if s.where and s.where.launch.pooled}
    return sum((a.data.jobs_at_once or 1) * max(map(len, a.packs), default=1) for a in launches.values())


def ends(states: Sequence[RunState]) -> list[str]:
    """Return what ended undone: each cause once, its runs, its words, and its traceback where there is one."""
    lines: list[str] = []
    for diagnosis, names in grouped((s.run.name, s.diagnosis) for s in states if s.diagnosis):
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        lines.append(f"{diagnosis.reason}: {diagnosis.message} – {shown}")
        if diagnosis.traceback and diagnosis.retry is Retry.STOP:
            shown_lines = diagnosis.traceback.rstrip().splitlines()
            cut = [*shown_lines[:2], "…", *shown_lines[1 - LINES :]] if len(shown_lines) > LINES else shown_lines
            lines += [f"    {line}" for line in cut]
    return lines


def notes(states: Sequence[RunState]) -> list[str]:
    """Return what is odd about live runs, each once: why jobs wait, or a status file that cannot be read."""
    found = Counter(state.note for state in states if state.note and state.note != STARTING)
    return [f"{note} ({counted(count, 'run')})" for note, count in found.most_common(5)]


def cost(total: Spent, on_gpu: bool) -> str:
    """Return hours spent and wasted in one line."""
    unit = "GPU-hours" if on_gpu else "hours"
    text = f"{unit} spent: {total.hours:.2f}"
    if total.wasted_hours >= 0.005:
        causes = ", ".join(f"{cause} {hours:.2f}" for cause, hours in sorted(total.wasted.items(), key=lambda x: -x[1]))
        text += f"; of these lost: {total.wasted_hours:.2f} ({causes})"
    return text


def next_command(states: Sequence[RunState], selectors: str) -> str:
    """Return the next useful command for runs in these states."""
    if any(state.live for state in states):
        return f"python -m harness.status {selectors} --watch"
    ended = [state for state in states if state.diagnosis]
    if any(state.diagnosis and state.diagnosis.meaning.fix for state in ended):
        return f"python -m harness.resubmit {selectors} --fix"
    if ended and all(state.diagnosis and state.diagnosis.retry is Retry.STOP for state in ended):
        return f"python -m harness.logs {selectors} {_words(ended[0])}"
    if ended:
        return f"python -m harness.resubmit {selectors}"
    if any(state.state is State.PLANNED for state in states):
        return (
            f"python -m harness.launch {selectors}"
            if "grid=" in selectors
            else f"python -m harness.resubmit {selectors}"
        )
    return f"python -m analysis.report {selectors}"


def _words(state: RunState) -> str:
    key = state.run.key
    return f"tasks={key.task} methods={key.method} seeds={spell_seeds([key.seed])}"


def tell_unknown(view: Overview) -> int:
    """Say what cannot be known, and return of how many runs: they may be missing or not."""
    if view.warning:
        print(view.warning, file=sys.stderr)
    unknown = [state for state in view.runs if state.state is State.UNKNOWN]
    for note, count in Counter(state.note for state in unknown).items():
        print(f"{counted(count, 'run')} unknown: {note}")
    return len(unknown)
