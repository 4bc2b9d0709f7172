"""The report as one self-contained HTML page: no network, light and dark, sortable tables, inline figures."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from analysis.figure import Plot
from analysis.guard import Finding
from analysis.load import LoadedRun, Problem
from analysis.results import RAW, Results, order_methods, order_tasks
from analysis.scores import label
from analysis.tables import METRIC_NAMES, SCALE_NAMES, Table, count, frames_text, task_label

HERE = Path(__file__).resolve().parent
MARKS = {"done": "✓", "running": "▸", "stopped": "‖", "failed": "×", "planned": "·", "missing": "·", "damaged": "!"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Contents:
    """All that the page shows."""

    title: str
    lead: str
    results: Results
    tables: Sequence[Table]
    plots: Sequence[Plot]
    findings: Sequence[Finding]
    problems: Sequence[Problem]
    runs: Sequence[LoadedRun]
    provenance: Sequence[tuple[str, str]]
    out: Path
    forced: bool = False


def render(c: Contents) -> str:
    """Return the page."""
    sections = [
        ("results", "Results", _results(c)),
        ("tasks", "Per task", _by_name(c, ("per_task",), ("tasks", "gains_human_normalised", "gains_success"))),
        ("learning", "Training", _by_name(c, (), ("harmony_weights", "losses"))),
        ("coverage", "Coverage", _coverage(c)),
        ("data", "Data quality", _problems(c)),
        ("provenance", "Provenance", _provenance(c)),
    ]
    sections = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
    body = "".join(f'<section id="{name}"><h2>{title}</h2>{content}</section>\n' for name, title, content in sections)
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(c.title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<style>\n{style}</style></head>\n<body>\n'
        f'<header><h1>{escape(c.title)}</h1><p class="lead">{escape(c.lead)}</p></header>\n'
        f'<nav aria-label="Sections"><div>{links}<button type="button" id="theme">Light / dark</button></div></nav>\n'
        f"<main>\n{_warnings(c)}{body}</main>\n<footer>Machine-readable: aggregates.csv, per_task.csv, comparisons.csv; "
        f"figures as PNG, PDF and SVG in figures/; tables as Markdown, LaTeX, CSV and HTML in tables/.</footer>\n<script>\n{script}</script>\n</body></html>\n"
    )


def _warnings(c: Contents) -> str:
    parts: list[str] = []
    if c.results.withheld:
        parts.append(
            f'<div class="finding blocking"><strong>No aggregates and comparisons.</strong> {escape(c.results.withheld)}</div>'
        )
    elif c.forced and any(f.blocking for f in c.findings):
        parts.append('<div class="finding blocking"><strong>Forced: the aggregates below mix runs that should not be compared.</strong> '
                     "The reasons follow.</div>")  # fmt: skip
    parts += [finding_html(finding) for finding in c.findings]
    if c.problems:
        where = f"{len(c.problems)} damaged or odd {'places' if len(c.problems) > 1 else 'place'} in the data"
        parts.append(f'<div class="finding">{where}: see <a href="#data">data quality</a>.</div>')
    return "".join(parts)


def finding_html(finding: Finding) -> str:
    """Return one finding with its details and the command that mends it."""
    details = "".join(f"<li>{escape(d)}</li>" for d in finding.details[:12])
    more = f"<li>… {len(finding.details) - 12} more</li>" if len(finding.details) > 12 else ""
    listing = f"<ul>{details}{more}</ul>" if details else ""
    command = f"<div>To mend it: <code>{escape(finding.command)}</code></div>" if finding.command else ""
    kind = "finding blocking" if finding.blocking else "finding"
    return f'<div class="{kind}"><strong>{escape(finding.kind.capitalize())}.</strong> {escape(finding.text)}.{listing}{command}</div>\n'


def _results(c: Contents) -> str:
    parts: list[str] = []
    for group in c.results.groups:
        cards: list[str] = []
        for method in group.methods:
            if method in group.aggregates:
                name = "iqm" if group.scale == "human_normalised" else "mean"
                i = group.aggregates[method][name]
                band = (
                    f"[{i.low:.3f}, {i.high:.3f}]"
                    if i.low is not None and i.high is not None
                    else f"no interval: {i.reason}"
                )
                cards.append(f'<div class="card"><span>{escape(label(method))}</span><b>{i.estimate:.3f}</b><span>{METRIC_NAMES[name]} {SCALE_NAMES[group.scale]} '
                             f"{band}<br>{count(i.n_runs, 'run')} of {count(i.n_tasks, 'task')}, {frames_text(group.frames)}</span></div>")  # fmt: skip
        for comparison in group.comparisons[: 0 if group.scale == RAW else 1]:
            i = comparison.improvement.overall
            band = (
                f"[{i.low:.3f}, {i.high:.3f}]"
                if i.low is not None and i.high is not None
                else f"no interval: {i.reason}"
            )
            cards.append(f'<div class="card"><span>{escape(label(comparison.x))} better than {escape(label(comparison.y))}</span><b>{i.estimate:.3f}</b>'
                         f"<span>probability {band}<br>{SCALE_NAMES[group.scale]}, {count(i.n_tasks, 'task')}</span></div>")  # fmt: skip
        parts.append(f'<div class="cards">{"".join(cards)}</div>' if cards else "")
        parts.append(_by_name(c, (f"aggregates_{group.scale}",), (f"aggregates_{group.scale}",)))
        parts.append(_by_name(c, (f"comparisons_{group.scale}",), (f"improvement_{group.scale}",)))
        parts.append(_by_name(c, (), (f"learning_{group.scale}", f"profile_{group.scale}")))
    return "".join(parts)


def _by_name(c: Contents, tables: Sequence[str], plots: Sequence[str]) -> str:
    return "".join(t.html() for t in c.tables if t.name in tables) + "".join(
        figure_html(p) for p in c.plots if p.name in plots
    )


def figure_html(plot: Plot) -> str:
    """Return a figure with its title and how to read it."""
    wide = ' class="wide"' if plot.figure.get_figwidth() > 8 else ""
    caption = escape(plot.caption)
    return f'<figure{wide} id="figure-{plot.name}"><div class="frame">{plot.inline_svg()}</div><figcaption>{caption}</figcaption></figure>\n'


def _coverage(c: Contents) -> str:
    if not c.runs:
        return ""
    methods, tasks = order_methods([r.key.method for r in c.runs]), order_tasks([r.key.task for r in c.runs])
    cells: dict[tuple[str, str], list[str]] = {}
    for run in sorted(c.runs, key=lambda r: r.key.seed):
        cells.setdefault((run.key.task, run.key.method), []).append(_coverage_cell(c, run))
    head = "".join(f'<th scope="col">{escape(label(m))}</th>' for m in methods)
    rows = "".join(
        f'<tr><th scope="row">{escape(task_label(t))}</th>'
        + "".join(f"<td>{''.join(cells.get((t, m), []))}</td>" for m in methods)
        + "</tr>"
        for t in tasks
    )
    states = sorted({run.state for run in c.runs})
    legend = ", ".join(
        f'<span class="cell {s}">{MARKS[s]}</span> {s} ({sum(r.state == s for r in c.runs)})' for s in states
    )
    return (f'<p class="legend">One box per seed, linked to its run folder: {legend}</p><div class="scroll"><table class="coverage">'
            f'<thead><tr><th scope="col">Task</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>')  # fmt: skip


def _coverage_cell(c: Contents, run: LoadedRun) -> str:
    step, total = run.summary["env_steps"], run.summary["total_env_steps"]
    progress = f", {step} of {total} steps" if total else ""
    reason = f", {run.summary['reason']}" if run.summary["reason"] else ""
    hint = escape(f"{run.key.task}, {run.key.method}, seed {run.key.seed}: {run.state}{progress}{reason}")
    text = f"{run.key.seed}{MARKS[run.state] if run.state != 'done' else ''}"
    if not run.folder.is_dir():
        return f'<span class="cell {run.state}" title="{hint}">{text}</span>'
    target = escape(Path(os.path.relpath(run.folder, c.out)).as_posix())
    return f'<a class="cell {run.state}" href="{target}/" title="{hint}">{text}</a>'


def _problems(c: Contents) -> str:
    if not c.problems:
        return "<p>Every file was read without a finding.</p>"
    shown = list(c.problems)[:500]
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(p.path)}</code></th><td style="text-align:left;white-space:normal">{escape(p.reason)}</td></tr>'
        for p in shown
    )
    more = f"<p>… and {len(c.problems) - len(shown)} more in problems.csv.</p>" if len(c.problems) > len(shown) else ""
    return f'<div class="scroll"><table><thead><tr><th scope="col">Where</th><th scope="col">What</th></tr></thead><tbody>{rows}</tbody></table></div>{more}'


def _provenance(c: Contents) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in c.provenance) + "</dl>"
