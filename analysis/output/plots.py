"""Figures across tasks: aggregates, improvement, curves over frames, profiles, gains per task."""

# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false
# Matplotlib's stubs leave **kwargs untyped and seaborn has none, so that strict checking would flag every call.

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from analysis.data.load import LoadedRun
from analysis.data.scores import label
from analysis.data.values import count
from analysis.findings.results import Results, TaskGroup
from analysis.findings.scales import SUCCESS
from analysis.output.figure import (
    INK,
    PALETTE,
    Look,
    Plot,
    band,
    frames_axis,
    interval_mark,
    legend,
    looks,
    method_lines,
    new_figure,
    row_labels,
    style,
)
from analysis.output.tables import task_label
from analysis.output.training_plots import losses_plots, task_curves, weights_plot
from analysis.stats.metrics import METRICS
from analysis.stats.resample import Floats

LINEAR = 10.0  # percentage points around zero that a bar chart shows linearly


def all_plots(results: Results, runs: Sequence[LoadedRun] = ()) -> list[Plot]:
    """Return every figure that the results, and the losses and weights of a study's runs, have data for."""
    with style():
        look = looks(results.methods)
        found: list[Plot | None] = []
        for group in results.groups:
            found += [interval_plot(group, look), improvement_plot(group), curve_plot(group, look, results)]
            found += [profile_plot(group, look), gains_plot(group, look)]
        found += [task_curves(results, look), weights_plot(runs), *losses_plots(runs, look)]
        return [plot for plot in found if plot is not None]


def _n(group: TaskGroup) -> str:
    runs = sorted({sum(map(len, scores)) for scores in group.scores.values()})
    noun = "run" if runs == [1] else "runs"
    return f"{count(len(group.tasks), 'task')}, {' or '.join(map(str, runs))} {noun} per method"


def interval_plot(group: TaskGroup, look: dict[str, Look]) -> Plot | None:
    """Return one panel per aggregate, a point and an interval per method."""
    if not group.aggregates:
        return None
    metrics = [METRICS[name] for name in group.scale.subtracted]
    figure = new_figure(2.35 * len(metrics) + 1.7, 1.05 + 0.42 * len(group.methods))
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        ends: list[float] = []
        for row, method in enumerate(group.methods):
            found = group.aggregates[method][metric.name]
            interval_mark(axes, row, found.estimate, found.low, found.high, look[method].color)
            ends += [e for e in (found.estimate, found.low, found.high) if e is not None]
        room = 0.08 * (max(ends) - min(ends) or 1.0)
        axes.set_xlim(min(ends) - room, max(ends) + room)
        axes.set_title(f"{metric.label} {metric.arrow}")
        row_labels(axes, [label(m) for m in group.methods])
        axes.xaxis.set_major_locator(MaxNLocator(4))
    figure.supxlabel(f"{group.scale.label} ({_n(group)})", fontsize=9)
    caption = (
        "Line: estimate; bar: interval (the note under the table says which). Without a bar the runs do not tell how "
        "they spread. ↑ higher is better, ↓ lower is better."
    )
    return Plot(f"aggregates_{group.scale}", "Aggregates with 95% intervals", caption, figure)


def improvement_plot(group: TaskGroup) -> Plot | None:
    """Return the probability of improvement of each compared pair with its interval."""
    if not group.comparisons or not group.scale.averaged:
        return None
    figure = new_figure(7.0, 1.35 + 0.42 * len(group.comparisons))
    axes = figure.subplots()
    for row, comparison in enumerate(group.comparisons):
        found = comparison.improvement.overall
        interval_mark(axes, row, found.estimate, found.low, found.high, PALETTE[2])
    axes.axvline(0.5, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    row_labels(axes, [f"{label(c.x)}\nover {label(c.y)}" for c in group.comparisons])
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"P(X > Y) ({_n(group)})")
    caption = (
        "Probability that a run of the first method beats a run of the second on a random task, ties counting half."
    )
    title = "Probability of improvement, with 95% intervals"
    return Plot(f"improvement_{group.scale}", title, caption + " Dashed: no difference.", figure)


def curve_plot(group: TaskGroup, look: dict[str, Look], results: Results) -> Plot | None:
    """Return each statistic over frames with bands."""
    if not group.curves:
        return None
    names = list(next(iter(group.curves.values())))
    columns = len(names) if len(names) <= 3 else 2 if len(names) == 4 else 3
    rows = -(-len(names) // columns)
    figure = new_figure(3.3 * columns + 0.2, 0.7 + 2.8 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(panels, names, strict=False):
        for method, found in group.curves.items():
            curve = found[name]
            axes.plot(curve.steps, curve.estimate, color=look[method].color, linestyle=look[method].dash)
            band(axes, curve.steps, curve.low, curve.high, look[method].color)
        axes.set_title(f"{METRICS[name].label} {METRICS[name].arrow}")
        axes.set_xlabel("frames")
        frames_axis(axes)
    figure.supylabel(group.scale.label)
    legend(figure, method_lines(look, list(group.curves)))
    caption = (
        f"Bands: 95% intervals as in the table, pointwise ({results.settings.curve_reps} bootstrap samples); none "
        "where the runs do not tell how they spread. "
        "A point needs a run of every task; the last points may rest on fewer runs."
    )
    return Plot(f"learning_{group.scale}", f"Learning curves over {_n(group)}", caption, figure)


def profile_plot(group: TaskGroup, look: dict[str, Look]) -> Plot | None:
    """Return the share of runs above each score, with bands."""
    if not group.profiles:
        return None
    figure = new_figure(7.0, 3.7)
    axes = figure.subplots()
    for method, profile in group.profiles.items():
        axes.step(profile.taus, profile.share, where="post", color=look[method].color, linestyle=look[method].dash)
        if profile.low is not None:
            band(axes, profile.taus, profile.low, profile.high, look[method].color, step="post")
    axes.set_ylim(0, 1)
    axes.set_xlim(0, float(next(iter(group.profiles.values())).taus[-1]))
    axes.set_xlabel(f"{group.scale.label} τ ({_n(group)})")
    axes.set_ylabel("share of runs above τ")
    legend(figure, method_lines(look, list(group.profiles)))
    caption = "Share of runs that score above τ, tasks counting the same; bands: pointwise 95% intervals."
    return Plot(f"profile_{group.scale}", "Performance profiles", caption, figure)


def gains_plot(group: TaskGroup, look: dict[str, Look]) -> Plot | None:
    """Return per task how far the first method's mean lies above the second's, sorted."""
    if not group.scale.averaged or not group.comparisons:
        return None
    pair = group.comparisons[0]
    both = zip(group.scores[pair.x], group.scores[pair.y], strict=True)
    gains = np.array([float(a.mean() - b.mean()) for a, b in both]) * 100
    order = [int(k) for k in np.argsort(gains, kind="stable")]
    figure = new_figure(7.0, 1.35 + 0.2 * len(order))
    axes = figure.subplots()
    names = [task_label(group.tasks[k]) for k in order]
    better = [pair.x if gains[k] > 0 else pair.y for k in order]
    frame = pd.DataFrame({"task": names, "gain": gains[order], "better": better})
    colors = {method: look[method].color for method in (pair.x, pair.y)}
    sns.barplot(
        frame, x="gain", y="task", hue="better", palette=colors, saturation=1, width=0.72, linewidth=0, legend=False,
        ax=axes,
    )  # fmt: skip
    ends = np.array([(pair.tests[k].low, pair.tests[k].high) for k in order]) * 100
    axes.hlines(range(len(order)), ends[:, 0], ends[:, 1], color=INK, linewidth=0.9)
    wide = float(np.abs(gains).max()) > 5 * LINEAR
    if wide:
        axes.set_xscale("symlog", linthresh=LINEAR, linscale=1.2)
        axes.xaxis.set_major_formatter(FuncFormatter(_signed))
        axes.xaxis.set_minor_locator(NullLocator())
    _value_labels(axes, gains, order)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.set_ylabel("")
    axes.margins(x=0.14)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.grid(axis="y", visible=False)
    unit = "percentage points of " + ("success" if group.scale == SUCCESS else f"the {group.scale.label}")
    axes.set_xlabel(unit + (f", linear within ±{LINEAR:g}, logarithmic beyond" if wide else ""))
    runs = sorted({len(s) for m in (pair.x, pair.y) for s in group.scores[m]})
    n = str(runs[0]) if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    title = f"{label(pair.x)} minus\n{label(pair.y)}, per task (n = {n})"
    which = (
        f"Difference of means over {n} {'run' if n == '1' else 'runs'} per task and method; line: Welch's 95% interval."
    )
    caption = f"{which} To the right {label(pair.x)} is better."
    return Plot(f"gains_{group.scale}", title, caption, figure)


def _signed(value: float, _position: int) -> str:
    return f"{value:+g}".replace("-", "−") if value else "0"


def _value_labels(axes: Axes, gains: Floats, order: Sequence[int]) -> None:
    for row, k in enumerate(order):
        right = gains[k] >= 0
        axes.annotate(
            f"{gains[k]:+.1f}".replace("-", "−"),
            (gains[k], row),
            xytext=(3 if right else -3, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=7.5,
        )
