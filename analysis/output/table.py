"""One table, written as Markdown, LaTeX (booktabs), CSV, HTML, or plain text."""

import csv
import io
from dataclasses import dataclass, field

from analysis.output.html import fill
from analysis.output.latex import latex


@dataclass(frozen=True)
class Entry:
    """One cell of a table: its text, what it sorts by, whether it is the best of its row or column."""

    text: str
    value: float | str | None = None
    best: bool = False
    title: str = ""


@dataclass
class Table:
    """A table with a name (its file's), a title, right-aligned columns after the first, and notes below."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[Entry]]
    notes: list[str] = field(default_factory=list[str])
    rules: list[int] = field(default_factory=list[int])  # rows before which a line is drawn

    def markdown(self) -> str:
        """Return GitHub Markdown, the best in bold."""
        lines = [
            "| " + " | ".join(_md(c) for c in self.columns) + " |",
            "|" + "---|" + "---:|" * (len(self.columns) - 1),
        ]
        for row in self.rows:
            lines.append("| " + " | ".join(f"**{_md(e.text)}**" if e.best else _md(e.text) for e in row) + " |")
        return (
            f"**{_md(self.title)}**\n\n" + "\n".join(lines) + "\n" + "".join(f"\n{_md(note)}\n" for note in self.notes)
        )

    def plain(self) -> str:
        """Return the table for a terminal, columns aligned, `*` after the best."""
        texts = [
            list(map(line, self.columns)),
            *([line(e.text) + ("*" if e.best else "") for e in row] for row in self.rows),
        ]
        widths = [max(len(row[k]) for row in texts) for k in range(len(self.columns))]
        lines = [
            "  ".join(t.ljust(w) if k == 0 else t.rjust(w) for k, (t, w) in enumerate(zip(row, widths, strict=True)))
            for row in texts
        ]
        return "\n".join([line(self.title), *lines])

    def latex(self) -> str:
        """Return a LaTeX table for \\usepackage{booktabs}, in UTF-8, never below 7 pt: see `latex.py`."""
        return latex(self)

    def csv(self) -> str:
        """Return CSV with the shown texts."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([e.text for e in row] for row in self.rows)
        return stream.getvalue()

    def html(self) -> str:
        """Return a sortable HTML table; cells carry their sort value."""
        return fill("table.html.j2", {"table": self})


def _md(text: str) -> str:
    return line(text).replace("|", "\\|").replace("*", "\\*")


def line(text: str) -> str:
    """Return a text on one line, as a name from a file may hold breaks."""
    return " ".join(text.split())
