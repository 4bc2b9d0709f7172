"""The report as one self-contained HTML page: no network, light and dark, sortable tables, inline figures."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from analysis.data.load import LoadedRun, Problem
from analysis.data.scores import label
from analysis.findings.guard import Finding
from analysis.findings.results import Group, Results, order_methods, order_tasks
from analysis.output.table import Table
from analysis.output.tables import count, fixed, frames_text, interval_text, task_label
from analysis.stats.metrics import METRICS
from analysis.stats.runs import Interval

if TYPE_CHECKING:
    from analysis.output.figure import Plot

HERE = Path(__file__).resolve().parent
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
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
SHOWN_PROBLEMS = 500
SHOWN_DETAILS = 12


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


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<style>
{style}</style></head>
<body>
<header><h1>{title}</h1><p class="lead">{lead}</p></header>
<nav aria-label="Sections"><div>{links}<button type="button" id="theme">Light / dark</button></div></nav>
<main>
{body}</main>
<footer>Machine-readable: aggregates.csv, per_task.csv, comparisons.csv, coverage.csv, problems.csv. Figures as PNG, PDF
and SVG in figures/; tables as Markdown, LaTeX, CSV and HTML in tables/.</footer>
<script>
{script}</script>
</body></html>
"""


def render(c: Contents) -> str:
    """Return the page."""
    sections = [
        ("results", "Results", "".join(_group(c, group) for group in c.results.groups)),
        (
            "tasks",
            "Per task",
            _named(c, ("per_task",), ("tasks", *(f"gains_{group.scale}" for group in c.results.groups))),
        ),
        ("training", "Training", _named(c, (), ("harmony_weights", "losses"))),
        ("coverage", "Coverage", _coverage(c)),
        ("data", "Data quality", _problems(c)),
        ("provenance", "Provenance", _provenance(c)),
    ]
    sections = [section for section in sections if section[2]]
    body = [f'<section id="{name}"><h2>{title}</h2>{content}</section>\n' for name, title, content in sections]
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return PAGE.format(
        title=escape(c.title),
        lead=escape(c.lead),
        policy=POLICY,
        links="".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections),
        body=_warnings(c) + "".join(body),
        style=style,
        script=script,
    )


def _warnings(c: Contents) -> str:
    parts: list[str] = []
    if c.results.withheld:
        parts.append(_box("No aggregates and comparisons.", escape(c.results.withheld), blocking=True))
    elif c.forced and any(f.blocking for f in c.findings):
        text = "The aggregates below mix runs that should not be compared; the reasons follow."
        parts.append(_box("Forced.", text, blocking=True))
    parts += [finding_html(finding) for finding in c.findings]
    if c.problems:
        text = f'{count(len(c.problems), "place")} in the data: see <a href="#data">data quality</a>.'
        parts.append(_box("Damaged or odd.", text))
    return "".join(parts)


def _box(head: str, body: str, blocking: bool = False) -> str:
    return f'<div class="finding{" blocking" if blocking else ""}"><strong>{head}</strong> {body}</div>\n'


def finding_html(finding: Finding) -> str:
    """Return one finding with its details and the command that mends it."""
    details = [f"<li>{escape(detail)}</li>" for detail in finding.details[:SHOWN_DETAILS]]
    if len(finding.details) > SHOWN_DETAILS:
        details.append(f"<li>… {len(finding.details) - SHOWN_DETAILS} more</li>")
    listing = f"<ul>{''.join(details)}</ul>" if details else ""
    command = f"<div>To mend it: <code>{escape(finding.command)}</code></div>" if finding.command else ""
    return _box(f"{finding.kind.capitalize()}.", f"{escape(finding.text)}.{listing}{command}", finding.blocking)


def _group(c: Contents, group: Group) -> str:
    cards = [_method_card(group, method) for method in group.aggregates]
    if group.scale.averaged:
        cards += [_comparison_card(group, number) for number in range(min(1, len(group.comparisons)))]
    parts = [f'<div class="cards">{"".join(cards)}</div>'] if cards else []
    for tables, plots in (
        (("aggregates",), ("aggregates",)),
        (("comparisons", "ranking"), ("improvement",)),
        (("leave_one_out", "seeds", "tests"), ("leave_one_out",)),
        (("areas",), ()),
        ((), ("learning", "profile")),
    ):
        parts.append(_named(c, [f"{t}_{group.scale}" for t in tables], [f"{p}_{group.scale}" for p in plots]))
    return "".join(parts)


def _method_card(group: Group, method: str) -> str:
    found = group.aggregates[method]
    headline, i = METRICS[group.scale.headline], found[group.scale.headline]
    others = [f"{m.label} {fixed(found[m.name].estimate, m.digits)}" for m in group.scale.metrics if m != headline]
    basis = f"{count(i.n_runs, 'run')} of {count(i.n_tasks, 'task')}, {frames_text(group.frames)}"
    return _card(label(method), i, f"{headline.label} {group.scale.label}", f"{basis}<br>{', '.join(others)}")


def _comparison_card(group: Group, number: int) -> str:
    comparison = group.comparisons[number]
    i = comparison.improvement.overall
    head = f"{label(comparison.x)} better than {label(comparison.y)}"
    return _card(head, i, "probability", f"{group.scale.label}, {count(i.n_tasks, 'task')}")


def _card(head: str, i: Interval, what: str, basis: str) -> str:
    known = i.low is not None and i.high is not None
    spread = interval_text(i).partition(" ")[2] if known else f"(no interval: {i.reason})"
    lines = f"<span>{what} {spread}<br>{basis}</span>"
    return f'<div class="card"><span>{escape(head)}</span><b>{fixed(i.estimate, 3)}</b>{lines}</div>'


def _named(c: Contents, tables: Sequence[str], plots: Sequence[str]) -> str:
    shown = [t.html() for t in c.tables if t.name in tables]
    return "".join(shown) + "".join(figure_html(p) for p in c.plots if p.name in plots)


def figure_html(plot: "Plot") -> str:
    """Return a figure and how to read it."""
    wide = ' class="wide"' if plot.figure.get_figwidth() > 8 else ""
    caption = f"<figcaption>{escape(plot.caption)}</figcaption>"
    return f'<figure{wide} id="figure-{plot.name}"><div class="frame">{plot.inline_svg()}</div>{caption}</figure>\n'


def _coverage(c: Contents) -> str:
    if not c.runs:
        return ""
    methods, tasks = order_methods([r.key.method for r in c.runs]), order_tasks([r.key.task for r in c.runs])
    cells: dict[tuple[str, str], list[str]] = {}
    for run in sorted(c.runs, key=lambda r: r.key.seed):
        cells.setdefault((run.key.task, run.key.method), []).append(_coverage_cell(c, run))
    head = "".join(f'<th scope="col">{escape(label(m))}</th>' for m in methods)
    rows: list[str] = []
    for task in tasks:
        boxes = "".join(f"<td>{''.join(cells.get((task, m), []))}</td>" for m in methods)
        rows.append(f'<tr><th scope="row">{escape(task_label(task))}</th>{boxes}</tr>')
    states = sorted({run.state for run in c.runs})
    key = [f'<span class="cell {s}">{MARKS[s] or "K"}</span> {s} ({sum(r.state == s for r in c.runs)})' for s in states]
    legend = f'<p class="legend">One box per seed K, linked to its run folder: {", ".join(key)}</p>'
    table = f'<thead><tr><th scope="col">Task</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
    return f'{legend}<div class="scroll"><table class="coverage">{table}</table></div>'


def _coverage_cell(c: Contents, run: LoadedRun) -> str:
    step, total = run.summary["env_steps"], run.summary["total_env_steps"]
    progress = f", {step} of {total} steps" if total else ""
    reason = f", {run.summary['reason']}" if run.summary["reason"] else ""
    hint = escape(f"{run.key.task}, {run.key.method}, seed {run.key.seed}: {run.state}{progress}{reason}")
    text = f"{run.key.seed}{MARKS[run.state]}"
    if not run.folder.is_dir():
        return f'<span class="cell {run.state}" title="{hint}">{text}</span>'
    target = escape(quote(Path(os.path.relpath(run.folder, c.out)).as_posix()))
    return f'<a class="cell {run.state}" href="{target}/" title="{hint}">{text}</a>'


def _problems(c: Contents) -> str:
    if not c.problems:
        return "<p>Every file was read without a finding.</p>"
    rows = [
        f'<tr><th scope="row"><code>{escape(p.path)}</code></th><td class="text">{escape(p.reason)}</td></tr>'
        for p in c.problems[:SHOWN_PROBLEMS]
    ]
    hidden = len(c.problems) - len(rows)
    more = f"<p>… and {hidden} more in problems.csv.</p>" if hidden else ""
    head = '<thead><tr><th scope="col">Where</th><th scope="col">What</th></tr></thead>'
    return f'<div class="scroll"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>{more}'


def _provenance(c: Contents) -> str:
    rows = [f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in c.provenance]
    return f"<dl>{''.join(rows)}</dl>"
