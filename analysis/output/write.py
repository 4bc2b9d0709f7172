"""Write a report's files into a folder."""

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.contract.records import Plan
from analysis.data import scores
from analysis.data.benchmarks import Benchmark, benchmarks
from analysis.data.last import last_text
from analysis.data.load import LoadedRun
from analysis.data.values import count
from analysis.findings import tidy, trace
from analysis.findings.inputs import Inputs
from analysis.findings.results import Results
from analysis.output.folder import write_marker
from analysis.output.page import FIGURE_FORMATS, Contents, render
from analysis.output.table import Table

if TYPE_CHECKING:
    from analysis.output.figure import Plot

LATEST = 4e9  # seconds, far in the future: a later time is no time
PACKAGES = ("numpy", "pandas", "matplotlib", "seaborn")


def write_report(
    folder: Path,
    out: Path,
    inputs: Inputs,
    results: Results,
    tables: Sequence[Table],
    flags: AbstractSet[str],
    caution: str = "",
) -> None:
    """Write every file of the report; `out` is where the folder will lie, for the links into run folders.

    `caution` heads every figure where what is compared may not be.
    """
    drawn = [] if "no-figures" in flags else _draw(results, [run for run in inputs.selected if run.state != "damaged"])
    if caution:
        drawn = [replace(plot, title=f"{caution}: {plot.title}") for plot in drawn]
    title, lead = _headings(inputs, results)
    contents = Contents(
        title,
        lead,
        results,
        tables,
        drawn,
        inputs.findings,
        inputs.problems,
        inputs.selected,
        _provenance(inputs, results),
        out.absolute(),
        "force" in flags,
    )
    for name in ("tables", "figures"):
        (folder / name).mkdir()
    for name, text in {**_texts(contents), "coverage.csv": _coverage(inputs)}.items():
        (folder / name).write_text(text, encoding="utf-8")
    for plot in drawn:
        for kind in FIGURE_FORMATS:
            (folder / "figures" / f"{plot.name}.{kind}").write_bytes(plot.save(kind))
    write_marker(folder, title, dict(contents.provenance))


def _draw(results: Results, runs: Sequence[LoadedRun]) -> list["Plot"]:
    from analysis.output import plots  # here, since Matplotlib and seaborn take seconds to import

    return plots.all_plots(results, runs)


def _texts(report: Contents) -> dict[str, str]:
    """Return the text of every file but the figures, by its name."""
    texts = {
        "index.html": render(report),
        "report.md": _markdown(report),
        "aggregates.csv": tidy.csv_text(tidy.aggregates(report.results)),
        "per_task.csv": tidy.csv_text(tidy.per_task(report.results)),
        "comparisons.csv": tidy.csv_text(tidy.comparisons(report.results)),
        "problems.csv": tidy.csv_text(tidy.problems(report.problems)),
    }
    for table in report.tables:
        texts[f"tables/{table.name}.md"] = table.markdown()
        texts[f"tables/{table.name}.tex"] = table.latex()
        texts[f"tables/{table.name}.csv"] = table.csv()
        texts[f"tables/{table.name}.html"] = table.html()
    return texts


def _coverage(inputs: Inputs) -> str:
    """Return coverage.csv: every run of the study, those besides that the selection leaves out."""
    if inputs.study is None:
        return tidy.csv_text(tidy.coverage([]))
    left_out = trace.left_out(inputs.study, inputs.selected, inputs.scores)
    return tidy.csv_text(tidy.coverage(inputs.study.runs, left_out))


def _headings(inputs: Inputs, results: Results) -> tuple[str, str]:
    of_tasks = f"{count(len(results.methods), 'method')} on {count(len(results.tasks), 'task')}"
    if inputs.study is None:
        title = f"{benchmarks()[scores.BENCHMARK].title}: published results"
        lead = f"{of_tasks}, {count(len(results.runs), 'run')} from scores/."
        return title, lead
    done = sum(r.state == "done" for r in inputs.selected)
    selected, whole = len(inputs.selected), len(inputs.study.runs)
    runs = count(selected, "run") if selected == whole else f"{selected} selected runs (of {whole} of the study)"
    lead = f"{done} of {runs} finished: {of_tasks}."
    return f"Study {inputs.name}", lead


def _markdown(report: Contents) -> str:
    parts = [f"# {report.title}", report.lead]
    if report.results.withheld:
        parts.append(f"> **No aggregates and comparisons.** {report.results.withheld}")
    for f in report.findings:
        command = f" `{f.command}`" if f.command else ""
        details = "".join(f"\n> - {d}" for d in f.details[:12])
        forced = "forced; " if f.blocking and report.forced else ""
        parts.append(
            f"> **{f.kind.capitalize()}** ({forced}{'blocking' if f.blocking else 'note'}). {f.text}.{command}{details}"
        )
    parts += [table.markdown() for table in report.tables]
    parts += [f"## {plot.title}\n\n![{plot.title}](figures/{plot.name}.png)\n\n{plot.caption}" for plot in report.plots]
    if report.problems:
        parts.append(
            "## Damaged or odd data\n\n" + "\n".join(f"- `{p.path}`: {p.reason}" for p in report.problems[:500])
        )
    parts.append("## Provenance\n\n" + "\n".join(f"- {name}: {text}" for name, text in report.provenance))
    return "\n\n".join(parts) + "\n"


def _provenance(inputs: Inputs, results: Results) -> list[tuple[str, str]]:
    s = results.settings
    rows = [
        ("Command", inputs.command),
        (
            "Statistics",
            f"{s.level:.0%} intervals: {s.interval}; {s.reps} bootstrap samples (curves {s.curve_reps}), seed {s.seed}",
        ),
        ("Run score", last_text(s.last, s.last_frames)),
        *[
            ("References", f"{s.reference} ({digest(b.file)}): {b.words.get('source', b.title)}")
            for b in _used(results)
        ],
        ("Analysed with", f"Python {platform.python_version()}, " + ", ".join(f"{p} {version(p)}" for p in PACKAGES)),
    ]
    rows += [(f"Added: {path}", f"sha256 {digest}") for path, digest in inputs.files.items()]
    known = scores.published_methods()
    rows += [
        (known[m].label, f"{known[m].source}{'. ' + known[m].note if known[m].note else ''}")
        for m in results.methods
        if m in known
    ]
    if inputs.study is not None:
        rows += _study_provenance(inputs)
    return rows


def _study_provenance(inputs: Inputs) -> list[tuple[str, str]]:
    runs, plan = inputs.selected, inputs.study.plan if inputs.study else None
    rows = [
        ("Code", _counted(r.summary["code"] or "unknown" for r in runs if r.state == "done")),
        ("Devices", _counted(r.summary["device"] or "unknown" for r in runs if r.state == "done")),
    ]
    packages = Counter(str(r.summary["packages"]) for r in runs if r.summary["packages"])
    for text, n in packages.most_common(3):
        named: dict[str, Any] = json.loads(text)
        rows.append((f"Packages ({count(n, 'run')})", ", ".join(f"{name} {number}" for name, number in named.items())))
    rows.append(("Device-hours", device_hours(runs, plan)))
    for name, value in (plan.code if plan else {}).items():
        if name in ("git_sha", "dirty", "code_tree") and value:
            rows.append((f"Plan: {name}", str(value)))
    if plan is not None and plan.created is not None and plan.created < LATEST:
        rows.append(("Plan: created", datetime.fromtimestamp(plan.created, UTC).strftime("%Y-%m-%d %H:%M UTC")))
    return rows


def device_hours(runs: Sequence[LoadedRun], plan: Plan | None) -> str:
    """Return hours of devices estimated for all runs, spent so far, and wasted by reason.

    The estimate is the plan's where it has one, else what all runs take if they take as long as the finished ones.
    """
    spent = sum(float(r.summary["device_seconds"]) for r in runs) / 3600
    wasted: Counter[str] = Counter()
    for run in runs:
        wasted.update({reason: seconds / 3600 for reason, seconds in run.summary["wasted_seconds"].items()})
    lost = ", ".join(f"{hours:.2f} {reason}" for reason, hours in sorted(wasted.items(), key=lambda x: -x[1])) or "0"
    return f"{_estimated(runs, plan)}; spent {spent:.2f}; wasted {lost}"


def _estimated(runs: Sequence[LoadedRun], plan: Plan | None) -> str:
    estimate = plan.estimate if plan else None
    if estimate is not None and estimate.known_hours:
        rest = f" ({count(estimate.unknown, 'run')} not measured)" if estimate.unknown else ""
        return f"estimated {estimate.known_hours:.2f} when planned{rest}"
    done = [r for r in runs if r.state == "done" and r.summary["device_seconds"]]
    if not done:
        return "no estimate before a run has finished"
    per_run = sum(float(r.summary["device_seconds"]) for r in done) / 3600 / len(done)
    return f"estimated {per_run * len(runs):.2f} from {count(len(done), 'finished run')}"


def _counted(values: Iterable[str]) -> str:
    return ", ".join(f"{value} ({count(n, 'run')})" for value, n in Counter(values).most_common()) or "no finished run"


def _used(results: Results) -> list[Benchmark]:
    """Return the benchmarks that scores are normalised with."""
    files = {results.references[task].file for task in results.tasks if task in results.references}
    return [benchmark for benchmark in benchmarks().values() if benchmark.file in files]


def digest(path: Path) -> str:
    """Return the first 12 hex digits of a file's SHA-256, with its name."""
    return f"{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
