"""The report as one self-contained HTML page: no network, light and dark, sortable tables, inline figures."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from analysis.data.load import LoadedRun, Problem
from analysis.data.scores import label
from analysis.data.values import count
from analysis.findings.guard import Finding
from analysis.findings.results import Results, TaskGroup, order_methods, order_tasks
from analysis.output.html import HERE, fill
from analysis.output.table import Table
from analysis.output.tables import fixed, frames_text, interval_text, task_label
from analysis.stats.metrics import METRICS
from analysis.stats.runs import Interval

if TYPE_CHECKING:
    from analysis.output.figure import Plot

MARKS = {
    "done": "",
    "running": "▸",
    "silent": "?",
    "stopped": "‖",
    "failed": "×",
    "planned": "·",
    "missing": "·",
    "damaged": "!",
}
# Tables and figures of a group of tasks, in the order of reading; each name is followed by the group's scale.
ORDER = (
    (("aggregates",), ("aggregates",)),
    (("comparisons", "ranking"), ("improvement",)),
    (("leave_one_out", "seeds", "tests", "areas"), ("learning", "profile")),
)
CSV_FILES = ("aggregates.csv", "per_task.csv", "comparisons.csv", "coverage.csv", "problems.csv")
TABLE_FORMATS, FIGURE_FORMATS = ("csv", "md", "tex", "html"), ("png", "pdf", "svg")
TRAINING = ("harmony_weights", "losses_")


@dataclass(frozen=True)
class Contents:
    """All that the page shows."""

    title: str
    lead: str
    results: Results
    tables: Sequence[Table]
    plots: "Sequence[Plot]"
    findings: Sequence[Finding]
    problems: Sequence[Problem]
    runs: Sequence[LoadedRun]
    provenance: Sequence[tuple[str, str]]
    out: Path
    forced: bool = False


@dataclass(frozen=True)
class Card:
    """One number of the page's head, with what it is in a few short lines."""

    head: str
    value: str
    lines: Sequence[str]


def render(report: Contents) -> str:
    """Return the page."""
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    values: dict[str, Any] = {
        "report": report,
        "sections": _sections(report),
        "groups": [(group, _cards(group)) for group in report.results.groups],
        "order": ORDER,
        "training": _training(report),
        "coverage": _coverage(report),
        "states": dict(sorted(Counter(run.state for run in report.runs).items())),
        "marks": MARKS,
        "named": _named,
        "count": count,
        "table_formats": TABLE_FORMATS,
        "figure_formats": FIGURE_FORMATS,
        "csv_files": CSV_FILES,
        "shown_problems": 500,
        "shown_details": 12,
        "style": style,
        "script": script,
    }
    return fill("page.html.j2", values)


def _named(names: Sequence[str], group: TaskGroup) -> list[str]:
    return [f"{name}_{group.scale}" for name in names]


def _training(report: Contents) -> list[str]:
    return [plot.name for plot in report.plots if plot.name.startswith(TRAINING)]


def _sections(report: Contents) -> dict[str, str]:
    """Return the titles of the sections that have something to show, by their anchors."""
    shown = {
        "results": ("Results", bool(report.results.groups)),
        "tasks": ("Per task", True),
        "training": ("Training", bool(_training(report))),
        "coverage": ("Coverage", bool(report.runs)),
        "data": ("Data quality", True),
        "provenance": ("Provenance", True),
    }
    return {anchor: title for anchor, (title, is_shown) in shown.items() if is_shown}


def _cards(group: TaskGroup) -> list[Card]:
    cards = [_method_card(group, method) for method in group.aggregates]
    if group.scale.averaged and group.comparisons:
        first = group.comparisons[0]
        i = first.improvement.overall
        lines = [f"probability {_spread(i)}", f"{group.scale.label}, {count(i.n_tasks, 'task')}"]
        cards.append(Card(f"{label(first.x)} better than {label(first.y)}", fixed(i.estimate, 3), lines))
    return cards


def _method_card(group: TaskGroup, method: str) -> Card:
    found = group.aggregates[method]
    headline, i = METRICS[group.scale.headline], found[group.scale.headline]
    others = [f"{m.label} {fixed(found[m.name].estimate, m.digits)}" for m in group.scale.metrics if m != headline]
    basis = f"{count(i.n_runs, 'run')} of {count(i.n_tasks, 'task')}, {frames_text(group.frames)}"
    lines = [f"{headline.label} {group.scale.label} {_spread(i)}", basis, ", ".join(others)]
    return Card(label(method), fixed(i.estimate, headline.digits), lines)


def _spread(i: Interval) -> str:
    return f"(no interval: {i.reason})" if i.low is None else interval_text(i).partition(" ")[2]


def _coverage(report: Contents) -> dict[str, Any]:
    """Return the rows of tasks, with a cell for each run of each method."""
    keys = [run.key for run in report.runs]
    methods = order_methods([key.method for key in keys])
    cells: dict[tuple[str, str], list[dict[str, str]]] = {}
    for run in sorted(report.runs, key=lambda r: r.key.seed):
        cells.setdefault((run.key.task, run.key.method), []).append(_coverage_cell(report, run))
    tasks = order_tasks([key.task for key in keys])
    rows = [(task_label(task), [cells.get((task, method), []) for method in methods]) for task in tasks]
    return {"methods": [label(method) for method in methods], "rows": rows}


def _coverage_cell(report: Contents, run: LoadedRun) -> dict[str, str]:
    step, total, reason = (run.summary[name] for name in ("env_steps", "total_env_steps", "reason"))
    progress = f", {step} of {total} steps" if total else ""
    hint = f"{run.key.task}, {run.key.method}, seed {run.key.seed}: {run.state}{progress}"
    href = quote(Path(os.path.relpath(run.folder, report.out)).as_posix()) + "/" if run.folder.is_dir() else ""
    return {
        "state": run.state,
        "text": f"{run.key.seed}{MARKS[run.state]}",
        "hint": hint + (f", {reason}" if reason else ""),
        "href": href,
    }
