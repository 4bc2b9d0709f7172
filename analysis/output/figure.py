"""A figure of the report and the looks all figures share: colour-blind-safe, readable in grey, light and dark."""

# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false
# Matplotlib's stubs leave **kwargs untyped and seaborn has none, so that strict checking would flag every call.

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from html import escape
from typing import Any, cast

import matplotlib as mpl

mpl.use("Agg")

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.data.scores import label

# Okabe and Ito's palette without its yellow, which print loses: blue, vermillion, green, purple, sky, orange, grey;
# wine, olive, indigo, sand and teal after Tol's muted one. The page has each of them for light and dark.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#595959",
           "#882255", "#999933", "#332288", "#b8a04c", "#44aa99")  # fmt: skip
FIXED = {"harmony_dreamerv3": 0, "dreamerv3": 1, "harmony_dreamerv3_published": 0, "dreamerv3_published": 1, "ppo": 6}
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))
INK, FAINT, PAPER = "#1b1f24", "#d9dde3", "#ffffff"
STYLE: dict[str, Any] = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper"),
    "axes.axisbelow": True,
    "text.parse_math": False,
    "axes.edgecolor": INK,
    "axes.facecolor": PAPER,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9.5,
    "figure.dpi": 160,  # that of saved figures, as text is not laid out alike at every resolution
    "figure.facecolor": PAPER,
    "figure.titlesize": 10.5,
    "figure.titleweight": "bold",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "pdf.fonttype": 42,
    "savefig.dpi": 160,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "harmony-bench",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
}


def style() -> AbstractContextManager[None]:
    """Return a context in which Matplotlib draws in the report's style."""
    return mpl.rc_context(cast("Any", STYLE))


@dataclass(frozen=True)
class Plot:
    """A drawn figure with the name of its files, its title, and how to read it."""

    name: str
    title: str
    caption: str
    figure: Figure
    saved: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def save(self, kind: str) -> bytes:
        """Return the figure as `png`, `pdf` or `svg`, the same bytes each time."""
        if kind in self.saved:
            return self.saved[kind]
        stream = io.BytesIO()
        with style():
            if not self.saved:  # laid out once: that takes longer than drawing
                self._set_title()
                self.figure.draw_without_rendering()
                self.figure.set_layout_engine("none")
            self.figure.savefig(stream, format=kind, metadata=METADATA[kind])
        self.saved[kind] = stream.getvalue()
        return self.saved[kind]

    def _set_title(self) -> None:
        """Head the figure; a legend above the panels takes the title, since the two would overlap."""
        if self.figure.legends:
            (above,) = self.figure.legends
            above.set_title(self.title, prop=FontProperties(weight="bold", size=STYLE["figure.titlesize"]))
            above.get_title().set_multialignment("center")
        else:
            self.figure.suptitle(self.title)

    def inline_svg(self) -> str:
        """Return an <svg> element whose colours are the page's CSS variables, so that it suits dark mode."""
        text = self.save("svg").decode()
        text = text[text.index("<svg") :]
        text = re.sub(r'<svg ([^>]*?)height="[\d.]+pt"', r"<svg \1", text, count=1)
        text = re.sub(r' width="[\d.]+pt"', "", text, count=1)
        text = re.sub(r'((?:id|href|clip-path)="(?:url\()?#?)', lambda match: match[1] + self.name + "-", text)
        names = {INK: "--ink", FAINT: "--grid", PAPER: "--paper"}
        for color, variable in (names | {color: f"--c{k}" for k, color in enumerate(PALETTE)}).items():
            text = text.replace(f": {color}", f": var({variable})")
        width = round(self.figure.get_figwidth() * 105)
        start = f'<svg role="img" aria-label="{escape(self.title)}" style="max-width:{width}px" '
        return text.replace("<svg ", start, 1)


@dataclass(frozen=True)
class Look:
    """How one method is drawn everywhere."""

    color: str
    dash: Any


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """Return a look per method; ours and its published counterpart share a colour and differ in dashes."""
    free = [k for k in range(len(PALETTE)) if k not in {FIXED[m] for m in methods if m in FIXED}]
    found: dict[str, Look] = {}
    for number, method in enumerate(methods):
        color = FIXED[method] if method in FIXED else free.pop(0) if free else number % len(PALETTE)
        twin = method.removesuffix("_published")
        solid = method in FIXED and (twin == method or twin not in methods)
        found[method] = Look(PALETTE[color], DASHES[0] if solid else DASHES[1 + number % (len(DASHES) - 1)])
    return found


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, sizes in inches, that lays itself out when it is first saved."""
    return Figure(figsize=(width, height), layout="constrained")


def plain_number(value: float, _position: int) -> str:
    """Return a tick's label without an exponent."""
    return f"{value:g}".replace("-", "−")


def _frames(value: float, _position: int) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def frames_axis(axes: Axes) -> None:
    """Label the x axis in frames, thousands as k."""
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(_frames))


def band(axes: Axes, x: Any, low: Any, high: Any, color: str, step: Any = None) -> None:
    """Shade between two curves."""
    axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0, step=step)


def interval_mark(axes: Axes, row: int, estimate: float, low: float | None, high: float | None, color: str) -> None:
    """Draw an estimate as a line and its interval, if there is one, as a bar around it."""
    if low is not None and high is not None:
        axes.barh(row, high - low, left=low, height=0.5, color=color, alpha=0.35, linewidth=0)
    axes.plot([estimate, estimate], [row - 0.25, row + 0.25], color=color, linewidth=2.4)


def row_labels(axes: Axes, labels: Sequence[str]) -> None:
    """Name the rows of a horizontal chart, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.grid(axis="y", visible=False)


def method_lines(look: dict[str, Look], methods: Sequence[str]) -> list[Line2D]:
    """Return a line as each method's is drawn, for a legend."""
    return [Line2D([], [], color=look[m].color, linestyle=look[m].dash, label=label(m)) for m in methods]


def legend(figure: Figure, lines: Sequence[Line2D]) -> None:
    """Name the lines above the panels, in as many columns as fit; the figure grows for a name wider than itself."""
    for columns in range(min(4, len(lines)), 0, -1):
        made = figure.legend(handles=lines, loc="outside upper center", ncols=columns)
        width = made.get_window_extent().width / figure.dpi
        if width <= figure.get_figwidth() or columns == 1:
            figure.set_figwidth(max(width, figure.get_figwidth()))
            return
        made.remove()
