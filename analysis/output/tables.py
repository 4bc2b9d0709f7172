"""The report's tables: per task, aggregates, comparisons; and the same numbers as machine-readable CSV."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from analysis import stats
from analysis.data.benchmarks import Reference, at_frames, benchmark_of, benchmarks, normalised
from analysis.data.last import last_text
from analysis.data.scores import Literature, label
from analysis.data.values import count
from analysis.findings.results import Cell, Comparison, Results, TaskGroup
from analysis.output.table import Entry, Table
from analysis.stats.intervals import basis
from analysis.stats.metrics import METRICS, Metric
from analysis.stats.runs import Interval
from analysis.stats.ties import all_equal, is_best

DASH = "–"
PROTOCOLS = "Figures of other publications are as published; their runs share no protocol with the others."


def number(value: float) -> str:
    """Return a score in four significant digits at most, thousands apart, `–` for NaN."""
    if math.isnan(value):
        return DASH
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 10 else 2
    text = f"{value:,.{digits}f}"
    return (text if float(text.replace(",", "")) else text.removeprefix("-")).replace("-", "−")


def frames_text(span: tuple[int, int]) -> str:
    """Return `400k frames` or a range."""
    low, high = (f"{n / 1000:g}k" if n >= 1000 else str(n) for n in span)
    return f"{low} frames" if low == high else f"{low} to {high} frames"


def interval_text(interval: Interval, digits: int = 3) -> str:
    """Return `0.607 [0.552, 0.680]`, or the estimate alone where there is no interval."""
    text = fixed(interval.estimate, digits)
    if interval.low is not None and interval.high is not None:
        text += f" [{fixed(interval.low, digits)}, {fixed(interval.high, digits)}]"
    return text


def fixed(value: float, digits: int) -> str:
    """Return a number with so many decimals, zero without a sign."""
    text = f"{value:.{digits}f}"
    return (text if float(text) else text.removeprefix("-")).replace("-", "−")


def task_label(task: str) -> str:
    """Return a task's name for readers: `atari_up_n_down` → `Up N Down`."""
    suite, _, name = task.partition("_")
    return (name if suite in ("atari", "metaworld") and name else task).replace("_", " ").title()


def per_task(results: Results, literature: Sequence[Literature] = ()) -> Table:
    """Return mean ± std over seeds per task and method, the best mean in bold, normalised where a reference exists."""
    has_reference = any(group.scale.referenced for group in results.groups)
    columns = ["Task"]
    for method in results.methods:
        columns += [label(method)] + ([f"{label(method)}, normalised"] if has_reference else [])
    columns += [entry.method.label for entry in literature]
    rows: list[list[Entry]] = []
    for task in results.tasks:
        cells = {m: results.cells.get((m, task)) for m in results.methods}
        published = [entry.means.get(task, math.nan) for entry in literature]
        means = [v for v in [*(c.mean for c in cells.values() if c), *published] if not math.isnan(v)]
        scale = max((c.largest for c in cells.values() if c), default=0.0)
        best = math.nan if all_equal(means, scale) else max(means)
        row = [Entry(task_label(task), task)]
        for method in results.methods:
            is_bold = (cell := cells[method]) is not None and is_best(cell.mean, best, scale)
            row += _task_entries(cell, is_bold, has_reference, results.units[task])
        row += [Entry(number(v), None if math.isnan(v) else v, is_best(v, best, scale)) for v in published]
        rows.append(row)
    return Table("per_task", _per_task_title(results), columns, rows, _per_task_notes(results, bool(literature)))


def _task_entries(cell: Cell | None, best: bool, with_normalised: bool, unit: str) -> list[Entry]:
    if cell is None:
        return [Entry(DASH)] * (2 if with_normalised else 1)
    if math.isnan(cell.mean):
        entry = Entry(f"{DASH} ({cell.n})", title=f"{count(cell.n, 'run')}, {frames_text(cell.frames)}")
        return [entry, Entry(DASH)] if with_normalised else [entry]
    factor, sign = (100.0, "%") if unit == "success" else (1.0, "")
    text = (
        number(cell.mean * factor) + (f" ± {number(cell.std * factor)}" if cell.n > 1 else "") + sign + f" ({cell.n})"
    )
    entries = [Entry(text, cell.mean, best, f"{count(cell.n, 'run')}, {frames_text(cell.frames)}")]
    if with_normalised:
        value = cell.normalised
        entries.append(Entry(DASH if math.isnan(value) else fixed(value, 3), None if math.isnan(value) else value))
    return entries


def _per_task_title(results: Results) -> str:
    spans = [cell.frames for cell in results.cells.values()]
    if not spans:
        return "Score per task: no run has finished yet"
    budget = frames_text((min(a for a, _ in spans), max(b for _, b in spans)))
    last = last_text(results.settings.last, results.settings.last_frames)
    return f"Score per task: mean ± standard deviation over runs (number of runs), {last}, at {budget}"


def _per_task_notes(results: Results, literature: bool) -> list[str]:
    notes = [
        "Bold is the largest mean of a row, whatever its spread: it is no test. The standard deviation has n−1 in the "
        "denominator; one run has none."
    ]
    if any(group.scale.referenced for group in results.groups):
        notes.append("Normalised = (score − random) / (human − random), of the mean over runs.")
    if any(math.isnan(cell.mean) for cell in results.cells.values()):
        notes.append(f"No mean ({DASH}) of runs that differ in unit, setting or budget.")
    if literature:
        notes.append(PROTOCOLS)
    return notes


def aggregates(results: Results, group: TaskGroup, literature: Sequence[Literature] = ()) -> Table:
    """Return the aggregates with intervals per method, the best of each column in bold."""
    metrics = group.scale.metrics
    columns = ["Method", *(m.label for m in metrics), "Runs", "Tasks"]
    others = [_literature_row(entry, group, metrics, results.references) for entry in literature]
    best: dict[str, float] = {}
    for at, m in enumerate(metrics, start=1):
        published = [value for row in others if isinstance(value := row[at].value, float)]
        best[m.name] = _best([*(a[m.name].estimate for a in group.aggregates.values()), *published], m)
    rows: list[list[Entry]] = []
    for method in group.methods:
        found = group.aggregates[method]
        row = [Entry(label(method), label(method))]
        for m in metrics:
            i = found[m.name]
            row.append(Entry(interval_text(i, m.digits), i.estimate, is_best(i.estimate, best[m.name])))
        rows.append([*row, Entry(str(found[metrics[0].name].n_runs)), Entry(str(len(group.tasks)))])
    rules = [len(rows)] if literature else []
    rows += [_with_best(row, [best[m.name] for m in metrics]) for row in others]
    title = f"Aggregate {group.scale.label} over {count(len(group.tasks), 'task')} at {frames_text(group.frames)}"
    notes = [*_aggregate_notes(results, group), *([PROTOCOLS] if literature else [])]
    return Table(f"aggregates_{group.scale}", title, columns, rows, notes, rules)


def _with_best(row: list[Entry], best: Sequence[float]) -> list[Entry]:
    """Return a row of a publication with those of its figures in bold that are the best of their columns."""
    name, *rest = row
    bold = [
        replace(entry, best=isinstance(entry.value, float) and is_best(entry.value, b))
        for entry, b in zip(rest, best, strict=False)
    ]
    return [name, *bold, *rest[len(best) :]]


def _best(estimates: Sequence[float], metric: Metric) -> float:
    """Return the best estimate, NaN where all are equal."""
    if all_equal(estimates):
        return math.nan
    return min(estimates) if metric.lower_is_better else max(estimates)


def _literature_row(
    entry: Literature, group: TaskGroup, metrics: Sequence[Metric], table: Mapping[str, Reference]
) -> list[Entry]:
    missing = [t for t in group.tasks if t not in entry.means]
    row = [Entry(entry.method.label, entry.method.label)]
    has_runs = all(t in entry.runs for t in group.tasks)
    values = entry.runs if has_runs else {t: [m] for t, m in entry.means.items()}
    n_runs = str(sum(len(entry.runs[t]) for t in group.tasks)) if has_runs else DASH
    for metric in metrics:
        if missing or (not has_runs and metric.pooled):
            row.append(Entry(DASH))
            continue
        estimate = stats.estimate(metric.name, normalised(values, group.tasks, table))
        row.append(Entry(fixed(estimate, metric.digits), estimate))
    return [*row, Entry(n_runs), Entry(str(len(group.tasks) - len(missing)))]


def _aggregate_notes(results: Results, group: TaskGroup) -> list[str]:
    s = results.settings
    notes: list[str] = []
    shown = [(n, i) for found in group.aggregates.values() for n, i in found.items()]
    reasons = {i.reason for n, i in shown if i.reason and not METRICS[n].count}
    if any(i.low is not None for _, i in shown):
        notes.append(basis(s.interval, s.level, s.reps, s.seed, len(group.tasks)))
    if reasons:
        notes.append(f"No interval where {' or '.join(sorted(reasons))}: the runs do not tell how they spread.")
    if group.scale.referenced:
        notes += reference_notes(results, group)
    return [*notes, *_benchmark_notes(group)]


def _benchmark_notes(group: TaskGroup) -> list[str]:
    """Return how the tasks and frames are not those of the benchmark that the tasks are of."""
    found = benchmark_of(group.tasks, group.frames)
    if found is None or (len(group.tasks) == len(found.tasks) and at_frames(found, group.frames)):
        return []
    budget = f" at {frames_text((found.frames, found.frames))}" if found.frames else ""
    return [
        f"These are {len(group.tasks)} of {count(len(found.tasks), 'task')} at {frames_text(group.frames)}: not "
        f"comparable with {found.title} figures, which take {count(len(found.tasks), 'task')}{budget}."
    ]


def reference_notes(results: Results, group: TaskGroup) -> list[str]:
    """Return the lines under a table of normalised scores that say which references were used."""
    used = [results.references[task] for task in group.tasks]
    known = {b.file: b for b in benchmarks().values()}
    notes = {file: b.words.get(results.settings.reference) for file, b in known.items()}
    by_file = {reference.file: reference.kind for reference in used}
    return [
        notes.get(file)
        or f"Normalised with the random and {kind} scores of {known[file].title if file in known else file}."
        for file, kind in by_file.items()
    ]


def comparisons(results: Results, group: TaskGroup) -> Table:
    """Return each pair's probability of improvement, differences of aggregates, wins and the paired test."""
    names = list(group.comparisons[0].differences) if group.comparisons else []
    holm = ["Holm p"] if len(group.comparisons) > 1 else []
    columns = [
        "Comparison",
        "P(X > Y)",
        *(f"Δ {METRICS[n].label}" for n in names),
        "W/T/L",
        "Signed-rank p",
        *holm,
        "Ranks",
    ]
    rows: list[list[Entry]] = []
    for c in group.comparisons:
        row = [
            Entry(f"{label(c.x)} vs {label(c.y)}"),
            Entry(interval_text(c.improvement.overall), c.improvement.overall.estimate),
        ]
        row += [Entry(interval_text(c.differences[n]), c.differences[n].estimate) for n in names]
        ranks = f"{group.average_rank[c.x]:.2f} / {group.average_rank[c.y]:.2f}"
        ps = [p_entry(c.p_value), *([p_entry(c.holm)] if holm else [])]
        rows.append([*row, Entry(f"{c.wins}/{c.ties}/{c.losses}", c.wins), *ps, Entry(ranks)])
    notes = [
        "P(X > Y): probability that a run of X beats a run of Y on a random task, ties counting half. "
        "W/T/L: wins, ties and losses of X by the mean over runs. Signed-rank: Wilcoxon's exact two-sided test on the "
        "tasks' differences of means, – where too few tasks differ for it to reach 0.05. Ranks: average over tasks, "
        "among all methods.",
        family(group.comparisons, group.methods),
    ]
    if not group.scale.averaged:
        notes.append(
            "No signed-rank test: it compares the sizes of differences, which raw returns of tasks do not allow."
        )
    title = f"Comparisons on {count(len(group.tasks), 'task')} ({group.scale.label})"
    return Table(f"comparisons_{group.scale}", title, columns, rows, notes)


def family(compared: Sequence[Comparison], methods: Sequence[str]) -> str:
    """Return which pairs are compared, what is left out, and what is corrected for how many there are."""
    pairs, every = len(compared), len(methods) * (len(methods) - 1) // 2
    if pairs < 2:
        return "One comparison: nothing to correct for several."
    which = "all pairs" if pairs == every else f"each method with {label(methods[0])}"
    left = f"; the other {every - pairs} pairs are left out (methods= selects up to five)" if pairs < every else ""
    return f"{pairs} comparisons ({which}{left}). Holm: the signed-rank p corrected over these; intervals are not."


def p_entry(p: float) -> Entry:
    """Return a p-value, – where there is none."""
    if math.isnan(p):
        return Entry(DASH)
    return Entry(f"{p:.1e}" if p < 0.001 else f"{p:.3f}", p)
