"""The report's figures, drawn with Matplotlib: colour-blind-safe, readable in grey, with titles, units and n."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.resample import Floats
from analysis.results import HUMAN, RAW, Group, Results, evaluation_matrices
from analysis.scores import label, references
from analysis.tables import METRIC_NAMES, SCALE_NAMES, count, task_label

# Okabe and Ito's palette without its yellow, which print loses: blue, vermillion, green, purple, sky, orange, black.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#595959")
FIXED = {"harmony_dreamerv3": 0, "dreamerv3": 1, "harmony_dreamerv3_published": 0, "dreamerv3_published": 1, "ppo": 6}
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
INK, FAINT, PAPER = "#1b1f24", "#d9dde3", "#ffffff"
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.labelsize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.grid": True, "grid.color": FAINT, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "legend.frameon": False, "figure.facecolor": PAPER, "axes.facecolor": PAPER, "savefig.facecolor": PAPER, "figure.dpi": 100,
    "savefig.dpi": 160, "svg.hashsalt": "harmony-bench", "svg.fonttype": "none", "pdf.fonttype": 42, "lines.linewidth": 1.7,
}  # fmt: skip


@dataclass(frozen=True)
class Plot:
    """A drawn figure with the name of its files, what it shows, and how to read it."""

    name: str
    title: str
    caption: str
    figure: Figure
    saved: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def save(self, kind: str) -> bytes:
        """Return the figure as `png`, `pdf` or `svg`, the same bytes each time."""
        metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
                    "svg": {"Date": None, "Creator": None}}[kind]  # fmt: skip
        with mpl.rc_context(STYLE):
            if self.figure.get_layout_engine() is not None:  # lay out once: it takes longer than drawing
                self.figure.draw_without_rendering()
                self.figure.set_layout_engine("none")
            if kind not in self.saved:
                stream = io.BytesIO()
                self.figure.savefig(stream, format=kind, metadata=metadata)
                self.saved[kind] = stream.getvalue()
        return self.saved[kind]

    def inline_svg(self) -> str:
        """Return an <svg> element whose ink, grid and paper follow the page's CSS variables, so that it suits dark mode."""
        text = self.save("svg").decode()
        text = text[text.index("<svg") :]
        text = re.sub(r'<svg ([^>]*?)height="[\d.]+pt"', r"<svg \1", text, count=1)
        text = re.sub(r' width="[\d.]+pt"', "", text, count=1)
        text = re.sub(r'((?:id|href|clip-path)="(?:url\()?#?)', lambda m: m[1] + self.name + "-", text)
        names = {INK: "--ink", FAINT: "--grid", PAPER: "--paper"} | {color: f"--c{k}" for k, color in enumerate(PALETTE)}
        for color, variable in names.items():
            text = text.replace(f": {color.lower()}", f": var({variable})")
        width = round(self.figure.get_figwidth() * 105)
        return text.replace("<svg ", f'<svg role="img" aria-label="{escape(self.title)}" style="max-width:{width}px" ', 1)


@dataclass(frozen=True)
class Look:
    """How one method is drawn everywhere."""

    color: str
    dash: Any
    marker: str


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """Return a look per method: ours and its published counterpart share a colour and differ in dashes and marker."""
    free = [k for k in range(len(PALETTE)) if k not in {FIXED[m] for m in methods if m in FIXED}]
    found: dict[str, Look] = {}
    for number, method in enumerate(methods):
        if method in FIXED:
            color = FIXED[method]
        else:
            color = free.pop(0) if free else number % len(PALETTE)
        alone = method.removesuffix("_published") not in methods or not method.endswith("_published")
        dash = DASHES[0] if method in FIXED and alone else DASHES[1 + number % (len(DASHES) - 1)] if number > 1 else DASHES[0]
        found[method] = Look(PALETTE[color], dash, MARKERS[number % len(MARKERS)])
    return found


def all_plots(results: Results, metrics: Sequence[dict[str, Any]] = ()) -> list[Plot]:
    """Return every figure that the results have data for; `metrics` are the runs' loss and harmony series."""
    with mpl.rc_context(STYLE):
        look = looks(results.methods)
        found: list[Plot | None] = []
        for group in results.groups:
            found += [interval_plot(group, look), improvement_plot(group), curve_plot(group, look, results),
                      profile_plot(group, look), bars_plot(group, look)]  # fmt: skip
        found.append(task_curves(results, look))
        found += [weights_plot(metrics), losses_plot(metrics, look)]
        return [plot for plot in found if plot is not None]


def _n_text(group: Group) -> str:
    runs = {sum(map(len, scores)) for scores in group.scores.values()}
    return f"{count(len(group.tasks), 'task')}, {' or '.join(str(n) for n in sorted(runs))} runs per method"


def _new(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _frames_axis(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}"))


def _legend(figure: Figure, look: dict[str, Look], methods: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=look[m].color, linestyle=look[m].dash, label=label(m)) for m in methods]
    figure.legend(handles=lines, loc="outside upper center", ncols=min(4, len(lines)))


def interval_plot(group: Group, look: dict[str, Look]) -> Plot | None:
    """Return one panel per aggregate, a point and an interval per method."""
    if not group.aggregates:
        return None
    metrics = [m for m in next(iter(group.aggregates.values())) if m != "superhuman"]
    figure = _new(2.35 * len(metrics) + 1.7, 0.75 + 0.42 * len(group.methods))
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for row, method in enumerate(group.methods):
            found = group.aggregates[method][metric]
            if found.low is not None and found.high is not None:
                axes.barh(row, found.high - found.low, left=found.low, height=0.5, color=look[method].color, alpha=0.35, linewidth=0)
            axes.plot([found.estimate] * 2, [row - 0.25, row + 0.25], color=look[method].color, linewidth=2.4)
        axes.set_title(METRIC_NAMES[metric] + (" ↓" if metric == "optimality_gap" else " ↑"))
        axes.set_yticks(range(len(group.methods)), [label(m) for m in group.methods])
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        ends = [e for a in group.aggregates.values() for e in (a[metric].estimate, a[metric].low, a[metric].high) if e is not None]
        room = 0.08 * (max(ends) - min(ends) or 1.0)
        axes.set_xlim(min(ends) - room, max(ends) + room)
    panels[0].set_ylim(len(group.methods) - 0.45, -0.55)
    figure.supxlabel(f"{SCALE_NAMES[group.scale]} ({_n_text(group)})", fontsize=9)
    title = "Aggregates with 95% bootstrap intervals"
    caption = ("Line: estimate; bar: percentile interval, runs resampled within tasks (no bar: one run per task says nothing of the spread). "
               "↑ higher is better, ↓ lower.")  # fmt: skip
    return Plot(f"aggregates_{group.scale}", title, caption, figure)


def improvement_plot(group: Group) -> Plot | None:
    """Return the probability of improvement of each compared pair with its interval."""
    if not group.comparisons or group.scale == RAW:
        return None
    figure = _new(7.0, 1.05 + 0.42 * len(group.comparisons))
    axes = figure.subplots()
    for row, comparison in enumerate(group.comparisons):
        found = comparison.improvement.overall
        if found.low is not None and found.high is not None:
            axes.barh(row, found.high - found.low, left=found.low, height=0.5, color=PALETTE[2], alpha=0.35, linewidth=0)
        axes.plot([found.estimate] * 2, [row - 0.25, row + 0.25], color=PALETTE[2], linewidth=2.4)
    axes.axvline(0.5, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(group.comparisons)), [f"{label(c.x)}\nover {label(c.y)}" for c in group.comparisons])
    axes.set_ylim(len(group.comparisons) - 0.45, -0.55)
    axes.set_xlim(0, 1)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"P(X > Y) ({_n_text(group)})")
    caption = "Probability that a run of the first method beats a run of the second on a random task; dashed: no difference."
    return Plot(f"improvement_{group.scale}", "Probability of improvement", caption, figure)


def curve_plot(group: Group, look: dict[str, Look], results: Results) -> Plot | None:
    """Return IQM, median and mean over frames with bands."""
    if not group.curves:
        return None
    names = list(next(iter(group.curves.values())))
    figure = _new(3.3 * len(names) + 0.2, 3.2)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for method, found in group.curves.items():
            curve = found[name]
            axes.plot(curve.steps, curve.estimate, color=look[method].color, linestyle=look[method].dash)
            axes.fill_between(curve.steps, curve.low, curve.high, color=look[method].color, alpha=0.2, linewidth=0)
        axes.set_title(METRIC_NAMES[name])
        axes.set_xlabel("frames")
        _frames_axis(axes)
    panels[0].set_ylabel(SCALE_NAMES[group.scale])
    _legend(figure, look, list(group.curves))
    caption = (f"{_n_text(group)}; bands: 95% bootstrap intervals ({results.settings.curve_reps} samples, whole runs resampled within tasks). "
               "A point needs a run of every task.")  # fmt: skip
    return Plot(f"learning_{group.scale}", "Learning curves over all tasks", caption, figure)


def profile_plot(group: Group, look: dict[str, Look]) -> Plot | None:
    """Return the share of runs above each score, with bands."""
    if not group.profiles:
        return None
    figure = _new(7.0, 3.4)
    axes = figure.subplots()
    for method, profile in group.profiles.items():
        axes.step(profile.taus, profile.share, where="post", color=look[method].color, linestyle=look[method].dash)
        if profile.low is not None and profile.high is not None:
            axes.fill_between(profile.taus, profile.low, profile.high, step="post", color=look[method].color, alpha=0.2, linewidth=0)
    axes.set_ylim(0, 1)
    axes.set_xlim(0, float(next(iter(group.profiles.values())).taus[-1]))
    axes.set_xlabel(f"{SCALE_NAMES[group.scale]} τ ({_n_text(group)})")
    axes.set_ylabel("share of runs above τ")
    _legend(figure, look, list(group.profiles))
    caption = "Share of runs that score above τ, tasks counting the same; bands: pointwise 95% bootstrap intervals."
    return Plot(f"profile_{group.scale}", "Performance profiles", caption, figure)


def bars_plot(group: Group, look: dict[str, Look]) -> Plot | None:
    """Return per task how much the first method's mean lies above the second's, sorted."""
    if group.scale == RAW or not group.comparisons:
        return None
    pair = group.comparisons[0]
    gains = np.array([a.mean() - b.mean() for a, b in zip(group.scores[pair.x], group.scores[pair.y], strict=True)]) * 100
    order = np.argsort(gains, kind="stable")
    figure = _new(7.0, 0.9 + 0.2 * len(order))
    axes = figure.subplots()
    colors = [look[pair.x].color if gains[k] > 0 else look[pair.y].color for k in order]
    axes.barh(range(len(order)), gains[order], color=colors, height=0.72)
    reach = float(np.abs(gains).max()) or 1.0
    threshold = 10.0
    if reach > 50:
        axes.set_xscale("symlog", linthresh=threshold, linscale=1.2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}" if x else "0"))
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    for row, k in enumerate(order):
        axes.annotate(f"{gains[k]:+.1f}", (gains[k], row), textcoords="offset points", xytext=(3 if gains[k] >= 0 else -3, 0),
                      va="center", ha="left" if gains[k] >= 0 else "right", fontsize=7.5)  # fmt: skip
    axes.set_yticks(range(len(order)), [task_label(group.tasks[k]) for k in order])
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.margins(x=0.14)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.grid(axis="y", visible=False)
    unit = "percentage points of the human-normalised score" if group.scale == HUMAN else "percentage points of success"
    axes.set_xlabel(unit + (", linear within ±10, logarithmic beyond" if reach > 50 else ""))
    runs = sorted({len(s) for m in (pair.x, pair.y) for s in group.scores[m]})
    title = f"{label(pair.x)} minus {label(pair.y)}, per task"
    caption = f"Difference of means over {' to '.join(map(str, {runs[0], runs[-1]}))} runs per task and method; to the right {label(pair.x)} is better."
    return Plot(f"gains_{group.scale}", title, caption, figure)


def task_curves(results: Results, look: dict[str, Look]) -> Plot | None:
    """Return a panel per task: each method's mean over runs with ± one standard deviation, single runs as thin lines."""
    tasks = [t for t in results.tasks if any(r.task == t and len(r.frames) for r in results.runs)]
    if not tasks:
        return None
    columns = min(range(4, 7), key=lambda k: (-len(tasks) % k, -k)) if len(tasks) > 4 else len(tasks)
    rows = -(-len(tasks) // columns)
    figure = _new(max(4.2, 2.35 * columns), 1.0 + 1.75 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    table = references(results.settings.reference)
    for axes, task in zip(panels, tasks, strict=False):
        for method in results.methods:
            _task_curve(axes, [r for r in results.runs if r.method == method and r.task == task], task, look[method], results.units[task])
        if task in table and results.units[task] != "success":
            low, high = axes.get_ylim()
            for level, style in zip(table[task], ((0, (1, 2)), (0, (6, 3))), strict=True):
                if low <= level <= high:
                    axes.axhline(level, color=INK, linewidth=0.8, linestyle=style, zorder=1)
        axes.set_title(task_label(task))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        _frames_axis(axes)
        axes.tick_params(labelsize=7.5)
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    units = {results.units[t] for t in tasks}
    figure.supxlabel("frames", fontsize=9)
    figure.supylabel("success rate" if units == {"success"} else "return" if units == {"return"} else "return or success rate", fontsize=9)
    _legend(figure, look, results.methods)
    seeds = sorted({c.n for c in results.cells.values()})
    n = f"{seeds[0]} to {seeds[-1]}" if len(set(seeds)) > 1 else str(seeds[0]) if seeds else "no finished"
    caption = (f"Mean over runs (n = {n} finished per task and method) ± one standard deviation; thin lines: single runs, unfinished ones too. "
               "Dotted: random player; dashed: human reference, where within the panel.")  # fmt: skip
    return Plot("tasks", "Learning curves per task", caption, figure)


def _task_curve(axes: Axes, runs: Sequence[Any], task: str, look: Look, unit: str) -> None:
    if not runs:
        return
    steps, (matrix,) = evaluation_matrices(runs, [task])
    frames = np.array(steps, np.float64)
    for row in matrix if len(matrix) > 1 else ():
        seen = ~np.isnan(row)
        axes.plot(frames[seen], row[seen], color=look.color, linewidth=0.5, alpha=0.45)
    whole = (~np.isnan(matrix)).sum(axis=0) == (~np.isnan(matrix)).sum(axis=0).max(initial=0)
    part = matrix[:, whole]
    seen_rows = ~np.isnan(part).any(axis=1)
    part = part[seen_rows] if seen_rows.any() else part
    mean = np.array([column[~np.isnan(column)].mean() for column in part.T])
    marker = "o" if len(mean) == 1 else None
    axes.plot(frames[whole], mean, color=look.color, linestyle=look.dash, marker=marker, markersize=4)
    if len(part) > 1:
        std = part.std(axis=0, ddof=1)
        axes.fill_between(frames[whole], mean - std, mean + std, color=look.color, alpha=0.18, linewidth=0)
    if unit == "success":
        axes.set_ylim(-0.03, 1.03)


def _binned(series: Sequence[tuple[Sequence[float], Sequence[float]]], bins: int = 40) -> tuple[Floats, Floats, Floats, Floats]:
    """Return bin centres, mean over runs, and its lowest and highest run, of series on differing frames."""
    top = max(max(frames) for frames, _ in series)
    width = top / bins if top else 1.0
    rows = np.full((len(series), bins), np.nan)
    for row, (frames, values) in enumerate(series):
        place = np.minimum((np.asarray(frames) / width).astype(int), bins - 1)
        for column in np.unique(place):
            rows[row, column] = np.asarray(values)[place == column].mean()
    seen = ~np.isnan(rows).all(axis=0)
    rows = rows[:, seen]
    centres = (np.flatnonzero(seen) + 0.5) * width
    return centres, np.nanmean(rows, axis=0), np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)


def _series(metrics: Sequence[dict[str, Any]], name: str, method: str) -> list[tuple[list[float], list[float]]]:
    found = [m["series"][name] for m in metrics if m["method"] == method and name in m["series"]]
    return [(frames, values) for frames, values in found if frames]


def weights_plot(metrics: Sequence[dict[str, Any]]) -> Plot | None:
    """Return the learned loss weights of Harmony over frames, one panel per method variant."""
    methods = sorted({m["method"] for m in metrics if any(n.startswith("harmony/") and n.endswith("_weight") for n in m["series"])})
    if not methods:
        return None
    figure = _new(4.2 * len(methods) + 1.4, 3.0)
    panels = figure.subplots(1, len(methods), squeeze=False, sharey=True)[0]
    names = [("harmony/image_weight", "observation"), ("harmony/vector_weight", "vector"), ("harmony/reward_weight", "reward"), ("harmony/dyn_weight", "dynamics")]
    for axes, method in zip(panels, methods, strict=True):
        count = 0
        for number, (name, text) in enumerate(names):
            series = _series(metrics, name, method)
            if not series:
                continue
            count = max(count, len(series))
            centres, mean, low, high = _binned(series)
            axes.plot(centres, mean, color=PALETTE[number], linestyle=DASHES[number], label=text)
            axes.fill_between(centres, low, high, color=PALETTE[number], alpha=0.18, linewidth=0)
        axes.set_title(f"{label(method)} (n = {count} runs)")
        axes.set_xlabel("frames")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        _frames_axis(axes)
    panels[0].set_ylabel("weight of the loss")
    panels[-1].legend(loc="best")
    caption = "Learned weight of each loss, mean over all tasks and runs; band: lowest to highest run."
    return Plot("harmony_weights", "Harmony's loss weights", caption, figure)


def losses_plot(metrics: Sequence[dict[str, Any]], look: dict[str, Look]) -> Plot | None:
    """Return a panel per loss with each method's mean over runs."""
    names = [n for n in sorted({n for m in metrics for n in m["series"] if n.startswith("loss/")})]
    if not names:
        return None
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = _new(2.6 * columns, 0.9 + 1.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    methods = [m for m in look if any(e["method"] == m for e in metrics)]
    for axes, name in zip(panels, names, strict=False):
        for method in methods:
            series = _series(metrics, name, method)
            if series:
                centres, mean, low, high = _binned(series)
                axes.plot(centres, mean, color=look[method].color, linestyle=look[method].dash)
                axes.fill_between(centres, low, high, color=look[method].color, alpha=0.15, linewidth=0)
        axes.set_title(name.removeprefix("loss/"))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.tick_params(labelsize=7.5)
        _frames_axis(axes)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("frames", fontsize=9)
    figure.supylabel("loss (before weighting)", fontsize=9)
    _legend(figure, look, methods)
    counts = {m: len({(e["task"], e["seed"]) for e in metrics if e["method"] == m}) for m in methods}
    caption = f"Mean over all tasks and runs ({', '.join(f'{label(m)}: {n}' for m, n in counts.items())}); band: lowest to highest run."
    return Plot("losses", "Losses during training", caption, figure)


