"""Figures of single tasks and of training: learning curves, Harmony's weights, losses."""

# pyright: reportUnknownMemberType=false
# Matplotlib's stubs leave **kwargs untyped, so that strict checking would flag every call that draws.

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.figure import DASHES, INK, PALETTE, Look, Plot, band, frames_axis, legend, new_figure, plain_number
from analysis.resample import Floats
from analysis.results import Results, evaluation_matrices
from analysis.scores import RunScores, label, references
from analysis.tables import task_label

Series = tuple[Sequence[float], Sequence[float]]
WEIGHTS = (
    ("harmony/image_weight", "observation"),
    ("harmony/vector_weight", "vector observation"),
    ("harmony/reward_weight", "reward"),
    ("harmony/dyn_weight", "dynamics"),
)


def _grid(number: int) -> tuple[int, int]:
    """Return rows and columns for this many panels, leaving few empty."""
    columns = number if number <= 4 else min(range(4, 7), key=lambda k: (-number % k, -k))
    return -(-number // columns), columns


def task_curves(results: Results, look: dict[str, Look]) -> Plot | None:
    """Return a panel per task: each method's mean ± one standard deviation, single runs as thin lines."""
    tasks = [t for t in results.tasks if any(r.task == t and len(r.frames) for r in results.runs)]
    if not tasks:
        return None
    rows, columns = _grid(len(tasks))
    figure = new_figure(max(4.4, 2.35 * columns), 1.45 + 1.75 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    table = references(results.settings.reference)
    for axes, task in zip(panels, tasks, strict=False):
        for method in results.methods:
            runs = [r for r in results.runs if r.method == method and r.task == task and len(r.frames)]
            if runs:
                _task_curve(axes, runs, task, look[method])
        if results.units[task] == "success":
            axes.set_ylim(-0.03, 1.03)
        elif task in table:
            _reference_lines(axes, table[task])
        axes.set_title(task_label(task))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        frames_axis(axes)
        axes.tick_params(labelsize=7.5)
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    figure.supxlabel("frames", fontsize=9)
    figure.supylabel(
        " or ".join(sorted({results.units[t] for t in tasks})).replace("success", "success rate"), fontsize=9
    )
    legend(figure, look, results.methods)
    seeds = sorted({cell.n for cell in results.cells.values()}) or [0]
    n = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    caption = (
        "Mean over runs ± one standard deviation; thin lines: single runs, unfinished ones too. "
        "Dotted: random player; dashed: human reference, where they lie within the panel."
    )
    title = f"Learning curves per task\n(n = {n} finished {'run' if n == '1' else 'runs'} per task and method)"
    return Plot("tasks", title, caption, figure)


def _reference_lines(axes: Axes, levels: tuple[float, float]) -> None:
    low, high = axes.get_ylim()
    for level, dash in zip(levels, ((0, (1, 2)), (0, (6, 3))), strict=True):
        if low <= level <= high:
            axes.axhline(level, color=INK, linewidth=0.8, linestyle=dash, zorder=1)


def _task_curve(axes: Axes, runs: Sequence[RunScores], task: str, look: Look) -> None:
    """Draw one method: every run thinly, and the mean of the runs that got as far as most."""
    steps, (matrix,) = evaluation_matrices(runs, [task])
    frames = np.array(steps, np.float64)
    for row in matrix if len(matrix) > 1 else ():
        seen = ~np.isnan(row)
        axes.plot(frames[seen], row[seen], color=look.color, linewidth=0.5, alpha=0.45)
    present = ~np.isnan(matrix)
    most = int(present.sum(axis=1).max())
    whole = matrix[present.sum(axis=1) == most]
    seen = ~np.isnan(whole).any(axis=0)
    if not seen.any():
        return
    mean = whole[:, seen].mean(axis=0)
    marker = "o" if int(seen.sum()) == 1 else None
    axes.plot(frames[seen], mean, color=look.color, linestyle=look.dash, marker=marker, markersize=4)
    if len(whole) > 1:
        std = whole[:, seen].std(axis=0, ddof=1)
        band(axes, frames[seen], mean - std, mean + std, look.color)


def _binned(series: Sequence[Series], bins: int = 40) -> tuple[Floats, Floats, Floats, Floats]:
    """Return bin centres, the mean over runs, and the lowest and highest run, of series on differing frames."""
    width = max(max(frames) for frames, _ in series) / bins or 1.0
    rows = np.full((len(series), bins), np.nan)
    for row, (frames, values) in enumerate(series):
        place = np.minimum((np.asarray(frames) / width).astype(np.int64), bins - 1)
        for column in np.unique(place):
            rows[row, column] = np.asarray(values, np.float64)[place == column].mean()
    seen = np.flatnonzero(~np.isnan(rows).all(axis=0))
    present = [rows[~np.isnan(rows[:, k]), k] for k in seen]
    centres = (seen.astype(np.float64) + 0.5) * width
    return (
        centres,
        np.array([float(values.mean()) for values in present]),
        np.array([float(values.min()) for values in present]),
        np.array([float(values.max()) for values in present]),
    )


def _series(metrics: Sequence[dict[str, Any]], name: str, method: str) -> list[Series]:
    found: list[Series] = [m["series"][name] for m in metrics if m["method"] == method and name in m["series"]]
    return [(frames, values) for frames, values in found if frames]


def _has_weights(entry: dict[str, Any]) -> bool:
    """Return whether a run learned weights: a method without Harmony logs them too, always 1."""
    named = [entry["series"][name] for name, _ in WEIGHTS if name in entry["series"]]
    return any(value != 1.0 for _, values in named for value in values)


def weights_plot(metrics: Sequence[dict[str, Any]]) -> Plot | None:
    """Return the learned loss weights of Harmony over frames, one panel per method variant."""
    methods = sorted({m["method"] for m in metrics if _has_weights(m)})
    if not methods:
        return None
    figure = new_figure(4.2 * len(methods) + 1.4, 3.2)
    panels = figure.subplots(1, len(methods), squeeze=False, sharey=True)[0]
    for axes, method in zip(panels, methods, strict=True):
        runs = 0
        for number, (name, text) in enumerate(WEIGHTS):
            series = _series(metrics, name, method)
            if series:
                runs = max(runs, len(series))
                centres, mean, low, high = _binned(series)
                axes.plot(centres, mean, color=PALETTE[number], linestyle=DASHES[number], label=text)
                band(axes, centres, low, high, PALETTE[number])
        axes.set_title(f"{label(method)} (n = {runs} runs)")
        axes.set_xlabel("frames")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(plain_number))
        axes.yaxis.set_minor_formatter(NullFormatter())
        frames_axis(axes)
    panels[0].set_ylabel("weight of the loss (no unit)")
    panels[-1].legend(loc="best")
    caption = "Learned weight of each loss, mean over all tasks and runs; band: lowest to highest run."
    return Plot("harmony_weights", "Harmony's loss weights", caption, figure)


def losses_plot(metrics: Sequence[dict[str, Any]], look: dict[str, Look]) -> Plot | None:
    """Return a panel per loss with each method's mean over runs."""
    names = sorted({name for m in metrics for name in m["series"] if name.startswith("loss/")})
    if not names:
        return None
    rows, columns = _grid(len(names))
    figure = new_figure(max(4.4, 2.5 * columns), 1.2 + 1.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    methods = [m for m in look if any(entry["method"] == m for entry in metrics)]
    for axes, name in zip(panels, names, strict=False):
        for method in methods:
            series = _series(metrics, name, method)
            if series:
                centres, mean, low, high = _binned(series)
                axes.plot(centres, mean, color=look[method].color, linestyle=look[method].dash)
                band(axes, centres, low, high, look[method].color)
        axes.set_title(name.removeprefix("loss/"))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.tick_params(labelsize=7.5)
        frames_axis(axes)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("frames", fontsize=9)
    figure.supylabel("loss (nats)", fontsize=9)
    legend(figure, look, methods)
    counts = [f"{sum(m['method'] == method for m in metrics)} of {label(method)}" for method in methods]
    caption = f"Unweighted losses, mean over all tasks and runs ({', '.join(counts)}); band: lowest to highest run."
    return Plot("losses", f"Losses during training (n = {len(metrics)} runs)", caption, figure)
