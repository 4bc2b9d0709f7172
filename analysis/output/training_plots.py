"""Figures of single tasks and of training: learning curves, Harmony's weights, losses."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportMissingTypeStubs=false
# Matplotlib and pandas are typed in part and seaborn is not, so that strict checking would flag every call that draws.

import re
from collections.abc import Mapping, Sequence
from itertools import cycle, product
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.data.benchmarks import Reference
from analysis.data.load import LoadedRun
from analysis.data.scores import label
from analysis.data.training import Series
from analysis.data.values import count
from analysis.findings import tidy
from analysis.findings.results import Results, bin_episodes, order_methods, order_tasks
from analysis.output.figure import (
    DASHES,
    INK,
    PALETTE,
    Look,
    Plot,
    band,
    frames_axis,
    legend,
    method_lines,
    new_figure,
    plain_number,
)
from analysis.output.tables import task_label
from analysis.stats.resample import Floats

Frame = Any  # a pandas DataFrame, which is typed in part only: what it is asked for has no type that checks
WEIGHTS = (
    ("harmony/image_weight", "observation"),
    ("harmony/vector_weight", "vector observation"),
    ("harmony/reward_weight", "reward"),
    ("harmony/dyn_weight", "dynamics"),
)
TEXTS = dict(WEIGHTS)


def _grid(number: int) -> tuple[int, int]:
    """Return rows and columns for this many panels, leaving few empty."""
    columns = number if number <= 4 else min(range(4, 7), key=lambda k: (-number % k, -k))
    return -(-number // columns), columns


def task_curves(results: Results, look: dict[str, Look]) -> Plot | None:
    """Return a panel per task: each method's mean ± one standard deviation, single runs as thin lines."""
    frame: Frame = tidy.evaluations(bin_episodes(run) for run in results.runs if len(run.frames))
    tasks = [t for t in results.tasks if (frame.task == t).any()]
    if not tasks:
        return None
    figure, panels = _of_each_task(tasks)
    for task, axes in panels.items():
        _task_curve(axes, frame[frame.task == task], look)
        if results.units[task] == "success":
            axes.set_ylim(-0.03, 1.03)
        if (reference := results.references.get(task)) is not None:
            _reference_lines(axes, reference)
        _small_panel(axes, task_label(task))
    figure.supylabel(
        " or ".join(sorted({results.units[t] for t in tasks})).replace("success", "success rate"), fontsize=9
    )
    legend(figure, method_lines(look, results.methods))
    seeds = sorted({cell.n for cell in results.cells.values()}) or [0]
    n = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    caption = (
        "Mean over the runs that got farthest ± one standard deviation; thin lines: single runs, unfinished ones too. "
        "Dotted: random player; dashed: human or other reference, where they lie within the panel."
    )
    title = f"Learning curves per task\n(n = {n} finished {'run' if n == '1' else 'runs'} per task and method)"
    return Plot("tasks", title, caption, figure)


def _small_panel(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set(xlabel="", ylabel="")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelsize=7.5)
    frames_axis(axes)


def _reference_lines(axes: Axes, reference: Reference) -> None:
    low, high = axes.get_ylim()
    for level, dash in zip((reference.random, reference.top), ((0, (1, 2)), (0, (6, 3))), strict=True):
        if low <= level <= high:
            axes.axhline(level, color=INK, linewidth=0.8, linestyle=dash, zorder=1)


def _task_curve(axes: Axes, frame: Frame, look: Mapping[str, Look]) -> None:
    """Draw every run thinly, and each method's mean over the runs that got as far as most."""
    colors = {method: look[method].color for method in look}
    several = frame[frame.groupby("method", observed=True).seed.transform("nunique") > 1]
    same: dict[str, Any] = {
        "x": "frames",
        "y": "score",
        "hue": "method",
        "palette": colors,
        "legend": False,
        "ax": axes,
    }
    if len(several):
        sns.lineplot(several, **same, units="seed", estimator=None, linewidth=0.5, alpha=0.45)
    whole = _as_far_as_most(_at_common_frames(frame))
    patterns: Any = {m: "" if look[m].dash == "-" else look[m].dash[1] for m in look}
    sns.lineplot(whole, **same, style="method", dashes=patterns, errorbar="sd", err_kws={"alpha": 0.2, "linewidth": 0})
    single = whole[whole.groupby("method", observed=True).frames.transform("nunique") == 1]
    if len(single):
        means = single.groupby(["method", "frames"], observed=True, as_index=False).score.mean()
        sns.scatterplot(means, **same, s=16)


def _at_common_frames(frame: Frame, windows: int = 20) -> Frame:
    """Return the evaluations, those of a method whose runs share no frame averaged in windows of the longest run."""
    parts: list[Frame] = []
    for _, part in frame.groupby("method", observed=True):
        runs = part.seed.nunique()
        if len(part) and part.groupby("frames").seed.nunique().max() < runs:
            width = part.frames.max() / windows
            end = np.ceil(part.frames / width) * width
            keys = [name for name in part.columns if name not in ("frames", "score")]
            part = part.assign(frames=end).groupby([*keys, "frames"], observed=True, as_index=False).score.mean()
        parts.append(part)
    return pd.concat(parts) if parts else frame


def _as_far_as_most(frame: Frame) -> Frame:
    """Return the evaluations of the runs of each method that got farthest, at the frames that all of them have."""
    reached = frame.groupby(["method", "seed"], observed=True).frames.transform("max")
    longest = frame[reached == reached.groupby(frame.method, observed=True).transform("max")]
    runs = longest.groupby("method", observed=True).seed.transform("nunique")
    return longest[longest.groupby(["method", "frames"], observed=True).seed.transform("size") == runs]


POINTS = 30


def together(curves: Sequence[Series]) -> tuple[Floats, Floats]:
    """Return common frames, and each curve's values there [curves, frames] by interpolation.

    They lie where every curve has begun and none has ended; there are none where that is nowhere.
    """
    first, last = max(f[0] for f, _ in curves), min(f[-1] for f, _ in curves)
    frames = np.linspace(first, last, POINTS if last > first else int(last == first))
    return frames, np.array([np.interp(frames, *curve) for curve in curves])


def _draw_runs(axes: Axes, curves: Sequence[Series], color: str, dash: Any) -> None:
    """Draw the mean of a task's runs, with a band from the lowest to the highest."""
    if curves:
        frames, values = together(curves)
        axes.plot(frames, values.mean(axis=0), color=color, linestyle=dash)
        band(axes, frames, values.min(axis=0), values.max(axis=0), color)


def _of_each_task(tasks: Sequence[str], **shared: Any) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with a panel per task."""
    rows, columns = _grid(len(tasks))
    figure = new_figure(max(4.4, 2.35 * columns), 1.45 + 1.75 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    figure.supxlabel("frames", fontsize=9)
    return figure, dict(zip(tasks, panels, strict=False))


MEANS = "Mean over a task's runs, as far as all of them were trained; band: lowest to highest run."


def weights_plot(runs: Sequence[LoadedRun]) -> Plot | None:
    """Return the learned loss weights over frames, one panel per task.

    Whatever a method logs as `harmony/NAME_weight` is drawn. Runs of older code log weights of 1 under the plain
    method too; it is left out.
    """
    logged = {name for run in runs for name in run.series_names if re.fullmatch("harmony/.+_weight", name)}
    own = {name: name.removeprefix("harmony/").removesuffix("_weight") for name in sorted(logged)}
    texts = {name: text for name, text in WEIGHTS if name in logged} | {n: t for n, t in own.items() if n not in TEXTS}
    series = {run: found for run in runs if (found := run.training(list(texts)))}
    methods = order_methods(
        [r.key.method for r, found in series.items() if any((v != 1.0).any() for _, v in found.values())]
    )
    members = [run for run in series if run.key.method in methods]
    if not members:
        return None
    figure, panels = _of_each_task(order_tasks([run.key.task for run in members]), sharey=True)
    colors, dashes = dict(zip(texts, cycle(PALETTE))), dict(zip(methods, cycle(DASHES)))
    for task, axes in panels.items():
        for method, name in product(methods, texts):
            own_runs = [series[r] for r in members if (r.key.task, r.key.method) == (task, method)]
            _draw_runs(axes, [found[name] for found in own_runs if name in found], colors[name], dashes[method])
        axes.set_yscale("log")
        _small_panel(axes, task_label(task))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(plain_number))
        axes.yaxis.set_minor_formatter(NullFormatter())
    figure.supylabel("weight of the loss (no unit)", fontsize=9)
    shown = [name for name in texts if any(name in series[run] for run in members)]
    lines = [Line2D([], [], color=colors[n], label=texts[n]) for n in shown]
    kinds = [Line2D([], [], color=INK, linestyle=dashes[m], label=label(m)) for m in methods]
    legend(figure, [*lines, *(kinds if len(methods) > 1 else [])])
    who = f" of {label(methods[0])}" if len(methods) == 1 else ""
    title = f"Learned loss weights{who} per task (n = {count(len(members), 'run')})"
    return Plot("harmony_weights", title, f"Learned weight of each loss. {MEANS}", figure)


def losses_plots(runs: Sequence[LoadedRun], look: dict[str, Look]) -> list[Plot]:
    """Return a figure per loss with a panel per task: losses of different tasks have no mean."""
    members = [run for run in runs if run.key.method in look]
    names = sorted({name for run in members for name in run.series_names if name.startswith("loss/")})
    return [_loss_plot(name, [run for run in members if name in run.series_names], look) for name in names]


def _loss_plot(name: str, runs: Sequence[LoadedRun], look: dict[str, Look]) -> Plot:
    figure, panels = _of_each_task(order_tasks([run.key.task for run in runs]))
    methods = [m for m in look if any(run.key.method == m for run in runs)]
    for task, axes in panels.items():
        for method in methods:
            curves = [r.training([name])[name] for r in runs if (r.key.task, r.key.method) == (task, method)]
            _draw_runs(axes, curves, look[method].color, look[method].dash)
        _small_panel(axes, task_label(task))
    loss = name.removeprefix("loss/")
    figure.supylabel(f"{loss} loss (nats)", fontsize=9)
    legend(figure, method_lines(look, methods))
    title = f"Loss per task: {loss} (n = {count(len(runs), 'run')})"
    return Plot(f"losses_{loss}", title, f"Unweighted loss: {loss}. {MEANS}", figure)
