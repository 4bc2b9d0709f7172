"""Tables of what a comparison rests on: tests per task, single tasks, seeds, areas under curves, the statistic."""

import math
from collections.abc import Mapping, Sequence

from analysis.data.scores import Literature, label
from analysis.data.values import count
from analysis.findings.results import Comparison, Results, TaskGroup
from analysis.findings.scales import HUMAN
from analysis.output import tables
from analysis.output.table import Entry, Table
from analysis.output.tables import DASH, fixed, interval_text, p_entry, task_label
from analysis.stats.influence import MOST_SEEDS, POWER, changes_sign, strongest
from analysis.stats.metrics import METRICS
from analysis.stats.significance import ALPHA, TaskTest
from analysis.stats.ties import ranks


def of_results(results: Results, literature: Sequence[Literature] = ()) -> list[Table]:
    """Return the report's tables in reading order."""
    found: list[Table] = []
    for group in results.groups:
        if group.aggregates:
            human = group.scale == HUMAN
            shown = [e for e in literature if e.method.name not in group.methods] if human else []
            found.append(tables.aggregates(results, group, shown))
        if group.comparisons:
            found.append(tables.comparisons(results, group))
        found += of_group(results, group)
    columns = [e for e in literature if e.method.name not in results.methods]
    return [*found, tables.per_task(results, columns)]


def of_group(results: Results, group: TaskGroup) -> list[Table]:
    """Return the tables that the group has numbers for."""
    found: list[Table] = []
    if group.comparisons:
        found.append(tests(group))
        if len(group.tasks) > 2:
            found.append(leave_one_out(group))
        if any(c.designs for c in group.comparisons):
            found.append(seeds(results, group))
        if group.aggregates:
            found.append(ranking(group))
    return [*found, areas(group)] if group.areas else found


def _pair(c: Comparison) -> str:
    return f"{label(c.x)} vs {label(c.y)}"


def _quantity(name: str) -> str:
    """Return the label of a quantity of a comparison: of P(X > Y), or of a difference by a statistic."""
    return "P(X > Y)" if name == "improvement" else f"Δ {METRICS[name].label}"


def _entry(value: float, digits: int = 3) -> Entry:
    return Entry(DASH) if math.isnan(value) else Entry(fixed(value, digits), value)


def tests(group: TaskGroup) -> Table:
    """Return each task's difference, effect sizes and tests."""
    several = len(group.comparisons) > 1
    columns = [*(["Comparison"] if several else []), "Task", "n", "Difference", "Hedges’ g", "P(X > Y)"]
    columns += ["Permutation p", "Welch p", "Welch p, Holm"]
    rows = [
        [*([Entry(_pair(c), _pair(c))] if several else []), *_test_row(t)] for c in group.comparisons for t in c.tests
    ]
    title = f"Each task by itself ({group.scale.label})"
    if not several:
        title += f": {_pair(group.comparisons[0])}"
    return Table(f"tests_{group.scale}", title, columns, rows, _test_notes(group))


def _test_row(t: TaskTest) -> list[Entry]:
    difference = fixed(t.difference, 3)
    if not math.isnan(t.low):
        difference += f" [{fixed(t.low, 3)}, {fixed(t.high, 3)}]"
    n = str(t.runs[0]) if t.runs[0] == t.runs[1] else f"{t.runs[0]}/{t.runs[1]}"
    effects = [_entry(t.hedges_g, 2), _entry(t.improvement, 2)]
    return [
        Entry(task_label(t.task), t.task), Entry(n), Entry(difference, t.difference), *effects,
        p_entry(t.permutation_p), p_entry(t.welch_p), p_entry(t.holm),
    ]  # fmt: skip


def _test_notes(group: TaskGroup) -> list[str]:
    notes = [
        "Difference: of means, with Welch's 95% interval. Hedges’ g: the difference in pooled standard deviations, "
        "corrected for few runs. Permutation: exact two-sided test of the difference of means; – where 0.05 cannot be "
        "reached or there are more than 20 000 ways to split the runs. Holm: Welch's p corrected over the tasks of a "
        "comparison. Neither test is of much use with two or three seeds."
    ]
    for c in group.comparisons[:6]:
        exact = [t.permutation_p for t in c.tests if not math.isnan(t.permutation_p)]
        welch = [t for t in c.tests if not math.isnan(t.welch_p)]
        if not welch:
            continue
        text = (
            f"{_pair(c)}: of {count(len(c.tests), 'task')}, {sum(t.welch_p < ALPHA for t in welch)} below 0.05 by Welch"
        )
        if exact:
            text += f" and {sum(p < ALPHA for p in exact)} by permutation"
        left = sum(t.holm < ALPHA for t in welch)
        notes.append(f"{text}, {left} after Holm's correction; {ALPHA * len(c.tests):.1f} would be expected by chance.")
    return notes


def leave_one_out(group: TaskGroup) -> Table:
    """Return the first comparison without each task."""
    c = group.comparisons[0]
    names = list(c.without[0].values)
    columns = ["Without", *(_quantity(name) for name in names)]
    rows = [
        [Entry(task_label(row.task) if row.task else "(all tasks)", row.task), *(_entry(row.values[n]) for n in names)]
        for row in c.without
    ]
    return Table(
        f"leave_one_out_{group.scale}", f"{_pair(c)}, without each task", columns, rows, [influence_text(c)], [1]
    )


def influence_text(c: Comparison) -> str:
    """Return which single task moves a comparison most, and whether one turns it."""
    parts: list[str] = []
    for name in c.without[0].values:
        row = strongest(c.without, name)
        change = f"{fixed(c.without[0].values[name], 3)} to {fixed(row.values[name], 3)}"
        turning = changes_sign(c.without, name)
        turns = f" (changes sides without {', '.join(map(task_label, turning))})" if turning else ""
        parts.append(f"{_quantity(name)} from {change} without {task_label(row.task)}{turns}")
    return f"Farthest moved by one task: {'; '.join(parts)}."


def seeds(results: Results, group: TaskGroup) -> Table:
    """Return what difference this design can detect, and how many seeds the observed one would take."""
    columns = ["Comparison", "Quantity", "Observed", "Standard error", "Seeds", "Smallest detectable", "Seeds needed"]
    rows = [
        [
            Entry(_pair(c)), Entry(_quantity(d.metric)), _entry(d.observed), _entry(d.error),
            Entry(f"{d.seeds:.3g}", d.seeds), _entry(d.detectable),
            Entry(f"> {MOST_SEEDS}") if d.needed is None else Entry(str(d.needed), d.needed),
        ]
        for c in group.comparisons for d in c.designs
    ]  # fmt: skip
    notes = [
        f"Found with {POWER:.0%} power at the two-sided level 0.05, by the variance that these runs show. Seeds "
        "needed are those that would find a difference of the size observed; that size is an estimate itself, so plan "
        "for the smallest difference that would matter. Of these tasks: more seeds say nothing of other tasks.",
        "Do not stop a study because a report of it looks significant: whoever looks again and again finds a "
        "difference between equal methods far more often than in 5 of 100 studies. Fix the number of seeds beforehand.",
    ]
    if any(not run.complete for run in results.runs):
        notes[1] = f"This study is not finished. {notes[1]}"
    return Table(f"seeds_{group.scale}", "What so many seeds can tell", columns, rows, notes)


def ranking(group: TaskGroup) -> Table:
    """Return each method's place by each statistic."""
    scores: dict[str, list[float]] = {}
    for metric in map(METRICS.__getitem__, group.scale.subtracted):
        sign = 1.0 if metric.lower_is_better else -1.0
        scores[metric.label] = [sign * group.aggregates[m][metric.name].estimate for m in group.methods]
    scores["Rank per task"] = [group.average_rank[m] for m in group.methods]
    if (wins := _wins(group)) is not None:
        scores["P(X > others)"] = [-wins[m] for m in group.methods]
    places = {name: ranks(values).tolist() for name, values in scores.items()}
    rows: list[list[Entry]] = []
    for k, m in enumerate(group.methods):
        shown = [Entry(f"{places[n][k]:g} ({fixed(abs(scores[n][k]), 3)})", places[n][k]) for n in scores]
        rows.append([Entry(label(m), label(m)), *shown])
    first = {
        name: [label(m) for m, p in zip(group.methods, found, strict=True) if p < 2] for name, found in places.items()
    }
    alike = len({tuple(found) for found in places.values()}) == 1
    winners = "; ".join(f"{name}: {', '.join(who)}" for name, who in first.items())
    note = (
        "All statistics order the methods alike."
        if alike
        else f"The order depends on the statistic. First by {winners}."
    )
    return Table(f"ranking_{group.scale}", "Place of each method by statistic", ["Method", *scores], rows, [note])


def _wins(group: TaskGroup) -> Mapping[str, float] | None:
    """Return each method's P(X > Y) averaged over all others, None where not all pairs were compared."""
    n = len(group.methods)
    if len(group.comparisons) < n * (n - 1) // 2:
        return None
    found = dict.fromkeys(group.methods, 0.0)
    for c in group.comparisons:
        found[c.x] += c.improvement.overall.estimate / (n - 1)
        found[c.y] += (1 - c.improvement.overall.estimate) / (n - 1)
    return found


def areas(group: TaskGroup) -> Table:
    """Return the statistics of the area under the learning curves."""
    names = group.scale.subtracted
    rows: list[list[Entry]] = []
    for method, found in group.areas.items():
        shown = [Entry(interval_text(found[name]), found[name].estimate) for name in names]
        rows.append([Entry(label(method), label(method)), *shown, Entry(str(found[names[0]].n_runs))])
    note = "Area under each finished run's curve, divided by its span of frames: the mean score along training."
    if left := [label(m) for m in group.methods if m not in group.areas]:
        note += f" Left out, as some run has fewer than two evaluations: {', '.join(left)}."
    title = f"Area under the learning curve ({group.scale.label})"
    return Table(
        f"areas_{group.scale}", title, ["Method", *(METRICS[name].label for name in names), "Runs"], rows, [note]
    )
