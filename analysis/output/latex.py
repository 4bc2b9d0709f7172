"""Tables as LaTeX (booktabs) whose text is never smaller than 7 pt in a paper of one column: wide ones are split.

Nothing is shrunk. A table that is too wide in footnote size is set in script size (7 pt in a 10 pt paper), and where
that is still too wide its columns go into parts below each other, each with the first column again.
"""

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.output.table import Entry, Table

LINE = 335.0  # pt: the line of LaTeX's `article` at 10 pt is 345 pt wide, of a NeurIPS paper 397 pt
SEPARATION = 3.0  # pt on both sides of a column
SIZES = (("footnotesize", 8.0), ("scriptsize", 7.0))
NOTE_LINE = 80  # letters of a note in footnote size that surely fit in a line
ROWS_PER_FLOAT = 60  # lines of 8 to 9 pt that fill a page with caption and notes


def latex(table: "Table") -> str:
    """Return LaTeX for \\usepackage{booktabs}, in UTF-8: one float, or several where a page is too short for all."""
    size, parts = _parts(table)
    floats = _floats(table, parts)
    beyond = sorted({c for text in _texts(table) for c in text if c not in TEX and not _latin(c)})
    head = [
        "% needs \\usepackage{booktabs}" + ("" if _all_ascii(table) else ", \\usepackage[T1]{fontenc} for its accents")
    ]
    head += [f"% {' '.join(beyond)} need LuaLaTeX or XeLaTeX"] if beyond else []
    lines: list[str] = [*head]
    for number, (columns, first, last) in enumerate(floats, start=1):
        lines += _float(table, size, columns, (first, last), number, len(floats))
    return "\n".join([*lines, ""])


def _parts(table: "Table") -> tuple[str, list[list[int]]]:
    """Return the size of the letters and the columns of each part, all of them with column 0."""
    ems = [_ems(table, column) for column in range(len(table.columns))]
    (large, size), (small, least) = SIZES
    if sum(width * size + 2 * SEPARATION for width in ems) <= LINE:
        return large, [list(range(len(ems)))]
    widths = [width * least + 2 * SEPARATION for width in ems]
    found = [[0]]
    for column in range(1, len(widths)):
        if len(found[-1]) > 1 and sum(widths[c] for c in found[-1]) + widths[column] > LINE:
            found.append([0])
        found[-1].append(column)
    return small, found


def _floats(table: "Table", parts: Sequence[Sequence[int]]) -> list[tuple[list[Sequence[int]], int, int]]:
    """Return for each float the parts that stand in it below each other, and its rows from first to last."""
    rows = len(table.rows)
    if rows > ROWS_PER_FLOAT:
        spans = [(first, min(first + ROWS_PER_FLOAT, rows)) for first in range(0, rows, ROWS_PER_FLOAT)]
        return [([part], *span) for part in parts for span in spans]
    notes = sum(-(-len(note) // NOTE_LINE) for note in table.notes)
    together = max(1, (ROWS_PER_FLOAT - notes - len(table.rules)) // (rows + 3))
    return [(list(parts[k : k + together]), 0, rows) for k in range(0, len(parts), together)]


def _float(
    table: "Table", size: str, parts: Sequence[Sequence[int]], rows: tuple[int, int], number: int, of: int
) -> list[str]:
    title = _tex(table.title) + (f" (part {number} of {of})" if of > 1 else "")
    label = f"tab:{table.name.replace('_', '-')}" + (f"-{number}" if number > 1 else "")
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{title}}}", rf"\label{{{label}}}"]
    lines += [rf"{{\{size}\setlength{{\tabcolsep}}{{{SEPARATION:g}pt}}%"]
    for place, columns in enumerate(parts):
        lines += [r"\par\medskip"] * (place > 0) + _tabular(table, columns, rows)
    lines[-1] += r"\par}"
    if number == of:
        lines += [rf"\par\smallskip{{\footnotesize {_tex(note)}\par}}" for note in table.notes]
    return [*lines, r"\end{table}"]


def _tabular(table: "Table", columns: Sequence[int], rows: tuple[int, int]) -> list[str]:
    lines = [rf"\begin{{tabular}}{{@{{}}l{'r' * (len(columns) - 1)}@{{}}}}", r"\toprule"]
    lines += [" & ".join(_tex(table.columns[c]) for c in columns) + r" \\", r"\midrule"]
    for number in range(*rows):
        if number in table.rules and number > rows[0]:
            lines.append(r"\midrule")
        lines.append(" & ".join(_cell(table.rows[number][c]) for c in columns) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _cell(entry: "Entry") -> str:
    return rf"\textbf{{{_tex(entry.text)}}}" if entry.best else _tex(entry.text)


def _cells(table: "Table") -> list[list[str]]:
    """Return the texts of each column."""
    return [[table.columns[c], *(row[c].text for row in table.rows)] for c in range(len(table.columns))]


def _texts(table: "Table") -> list[str]:
    return [table.title, *table.notes, *(text for column in _cells(table) for text in column)]


def _all_ascii(table: "Table") -> bool:
    return all(c.isascii() or c in TEX for text in _texts(table) for c in text)


def _latin(c: str) -> bool:
    """Return whether pdfLaTeX knows a character by itself: ASCII, Latin letters and signs up to Latin Extended-A."""
    return c.isascii() or (0xA0 < ord(c) < 0x180 and unicodedata.category(c)[0] != "C")


def _ems(table: "Table", column: int) -> float:
    """Return how wide a column is, in the size of its letters, rather too much: from Computer Modern."""
    entries = [(table.columns[column], False), *((row[column].text, row[column].best) for row in table.rows)]
    return max(sum(map(_em, text)) * (1.15 if bold else 1.0) for text, bold in entries)


def _em(c: str) -> float:
    if c in " .,;:!|'’()[]ijlt":
        return 0.4 if c in "()[]t " else 0.3
    if c in "±−×→≥≤<>=+%@mMwW…–" or ord(c) > 0x2FF:
        return 1.0
    return 0.8 if c.isupper() else 0.53


TEX = {
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "×": r"$\times$",
    "ε": r"$\epsilon$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "Δ": r"$\Delta$",
    "<": r"$<$",
    ">": r"$>$",
    "·": r"$\cdot$",
    "τ": r"$\tau$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "λ": r"$\lambda$",
    "μ": r"$\mu$",
    "σ": r"$\sigma$",
    "√": r"$\surd$",
    "’": "'",
    "…": r"\ldots{}",
    "→": r"$\rightarrow$",
    "⌊": r"$\lfloor$",
    "⌋": r"$\rfloor$",
    "\N{NO-BREAK SPACE}": "~",
}


def _tex(text: str) -> str:
    return "".join(TEX.get(c, c) for c in " ".join(text.split()))
