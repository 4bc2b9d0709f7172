"""Figures of single tasks and of training: learning curves, Harmony's weights, losses."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportMissingTypeStubs=false
# Matplotlib and pandas are typed in part and seaborn is not, so that strict checking would flag every call that draws.

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.data.benchmarks import Reference
from analysis.data.load import LoadedRun
from analysis.data.scores import label
from analysis.findings import tidy
from analysis.findings.results import Results, bin_episodes
from analysis.output.figure import DASHES, INK, PALETTE, Look, Plot, frames_axis, legend, new_figure, plain_number
from analysis.output.tables import count, task_label

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
    rows, columns = _grid(len(tasks))
    figure = new_figure(max(4.4, 2.35 * columns), 1.45 + 1.75 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, task in zip(panels, tasks, strict=False):
        _task_curve(axes, frame[frame.task == task], look)
        if results.units[task] == "success":
            axes.set_ylim(-0.03, 1.03)
        if (reference := results.references.get(task)) is not None:
            _reference_lines(axes, reference)
        _small_panel(axes, task_label(task))
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
    _lines(axes, whole, "score", "method", colors, {method: look[method].dash for method in look}, "sd")
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


def _lines(
    axes: Axes, frame: Frame, y: str, hue: str, colors: Mapping[str, str], dashes: Mapping[str, Any], spread: Any
) -> None:
    """Draw the mean over runs of each kind of line, with a band: `sd`, or ("pi", 100) for lowest to highest."""
    patterns: Any = {name: "" if dash == "-" else dash[1] for name, dash in dashes.items()}
    sns.lineplot(
        frame, x="frames", y=y, hue=hue, style=hue, palette=dict(colors), errorbar=spread, legend=False, ax=axes,
        dashes=patterns,
        err_kws={"alpha": 0.2, "linewidth": 0},
    )  # fmt: skip


def _binned(frame: Frame, bins: int = 40) -> Frame:
    """Return training series with the runs' differing bins brought to common ones."""
    width = frame.frames.max() / bins or 1.0
    place = np.minimum((frame.frames / width).astype(np.int64), bins - 1)
    same = frame.assign(frames=(place + 0.5) * width)
    return same.groupby([*tidy.RUN, "name", "frames"], observed=True, as_index=False).value.mean()


def _count_runs(frame: Frame) -> int:
    return len(frame[tidy.RUN].drop_duplicates())


def weights_plot(runs: Sequence[LoadedRun]) -> Plot | None:
    """Return the learned loss weights over frames, one panel per method variant.

    Whatever a method logs as `harmony/NAME_weight` is drawn. Runs of older code log weights of 1 under the plain
    method too; it has no panel.
    """
    logged = {name for run in runs for name in run.series_names if re.fullmatch("harmony/.+_weight", name)}
    own = {name: name.removeprefix("harmony/").removesuffix("_weight") for name in sorted(logged)}
    texts = {name: text for name, text in WEIGHTS if name in logged} | {n: t for n, t in own.items() if n not in TEXTS}
    frame: Frame = tidy.training(runs, list(texts))
    methods = sorted(frame[frame.value != 1.0].method.unique()) if len(frame) else []
    if not methods:
        return None
    figure = new_figure(4.2 * len(methods) + 1.4, 3.2)
    panels = figure.subplots(1, len(methods), squeeze=False, sharey=True)[0]
    colors, dashes = dict(zip(texts, PALETTE, strict=False)), dict(zip(texts, DASHES, strict=False))
    for axes, method in zip(panels, methods, strict=True):
        part = frame[frame.method == method]
        _lines(axes, _binned(part), "value", "name", colors, dashes, ("pi", 100))
        axes.set_title(f"{label(method)} (n = {count(_count_runs(part), 'run')})")
        axes.set(xlabel="frames", ylabel="weight of the loss (no unit)")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(plain_number))
        axes.yaxis.set_minor_formatter(NullFormatter())
        frames_axis(axes)
    shown = [name for name in texts if (frame.name == name).any()]
    lines = [Line2D([], [], color=colors[n], linestyle=dashes[n], label=texts[n]) for n in shown]
    panels[-1].legend(handles=lines, loc="best")
    caption = "Learned weight of each loss, mean over all tasks and runs; band: lowest to highest run."
    return Plot("harmony_weights", "Learned loss weights", caption, figure)


def losses_plot(runs: Sequence[LoadedRun], look: dict[str, Look]) -> Plot | None:
    """Return a panel per loss with each method's mean over runs."""
    members = [run for run in runs if run.key.method in look]
    names = sorted({name for run in members for name in run.series_names if name.startswith("loss/")})
    if not names:
        return None
    rows, columns = _grid(len(names))
    figure = new_figure(max(4.4, 2.5 * columns), 1.2 + 1.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    colors, dashes = ({m: getattr(look[m], part) for m in look} for part in ("color", "dash"))
    for axes, name in zip(panels, names, strict=False):
        _lines(axes, _binned(tidy.training(members, [name])), "value", "method", colors, dashes, ("pi", 100))
        _small_panel(axes, name.removeprefix("loss/"))
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("frames", fontsize=9)
    figure.supylabel("loss (nats)", fontsize=9)
    having = Counter(run.key.method for run in members if any(name in names for name in run.series_names))
    legend(figure, look, [m for m in look if m in having])
    counts = [f"{having[m]} of {label(m)}" for m in look if m in having]
    caption = f"Unweighted losses, mean over all tasks and runs ({', '.join(counts)}); band: lowest to highest run."
    return Plot("losses", f"Losses during training (n = {count(having.total(), 'run')})", caption, figure)
