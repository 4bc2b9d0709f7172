"""Tables in their four formats, and LaTeX through a real engine."""

import csv
import io
import shutil
import subprocess
from pathlib import Path

import pytest

from analysis import report, scores, tables
from analysis.results import Settings, compute
from analysis.runs import Interval
from analysis.table import Entry, Table

ODD = Table(
    "odd_name",
    "100% of A & B_1: ±ε",
    ["Task #1", "x|y", "z"],
    [
        [Entry("a_b", "a_b"), Entry("1.5 ± 0.2", 1.5, best=True), Entry("–")],
        [Entry("{c}$"), Entry("−2", -2.0), Entry("3")],
    ],
    ["10 < 11 ~ ^ \\ note"],
)


def test_markdown_bolds_the_best_and_escapes_bars() -> None:
    text = ODD.markdown()
    assert "| a_b | **1.5 ± 0.2** | – |" in text and "| x\\|y |" in text and "|---|---:|---:|" in text


def test_latex_escapes_what_tex_would_read() -> None:
    text = ODD.latex()
    assert r"\caption{100\% of A \& B\_1: $\pm$$\epsilon$}" in text
    assert r"a\_b & \textbf{1.5 $\pm$ 0.2} & -- \\" in text and r"\{c\}\$ & $-$2 & 3 \\" in text
    assert text.isascii() and r"\label{tab:odd-name}" in text


def test_csv_and_html_hold_the_same_cells() -> None:
    assert list(csv.reader(io.StringIO(ODD.csv())))[1] == ["a_b", "1.5 ± 0.2", "–"]
    page = ODD.html()
    assert '<td data-value="1.5"><strong>1.5 ± 0.2</strong></td>' in page and "10 &lt; 11" in page
    assert page.count('<th scope="col"><button type="button">') == 3


def test_plain_text_aligns_columns_and_stars_the_best() -> None:
    lines = ODD.plain().splitlines()
    assert lines[0] == ODD.title and len({len(line) for line in lines[1:]}) == 1 and "1.5 ± 0.2*" in lines[2]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (-0.001, "0.00"), (3.14159, "3.14"), (-20.7, "−20.7"), (13042.84, "13,043"), (float("nan"), "–")],
)
def test_scores_are_shown_with_as_many_digits_as_they_can_bear(value: float, text: str) -> None:
    assert tables.number(value) == text


def test_an_estimate_without_interval_stands_alone() -> None:
    assert tables.interval_text(Interval(0.5, None, None, 1, 1, "one seed")) == "0.500"
    assert tables.interval_text(Interval(-0.5, -1.0, 0.25, 2, 1)) == "−0.500 [−1.000, 0.250]"


def test_the_best_is_bold_only_where_something_differs() -> None:
    results = compute(scores.bundled(), Settings(reps=200))
    rows = {row[0].text: row for row in tables.per_task(results).rows}
    assert [e.best for e in rows["Pong"]] == [False, True, False, False, False]
    assert not any(e.best for e in rows["Freeway"])


def has_booktabs() -> bool:
    """Whether LaTeX is installed with the packages that the tables need."""
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        return False
    return subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode == 0


@pytest.mark.latex
@pytest.mark.skipif(not has_booktabs(), reason="needs LaTeX with booktabs (Debian: texlive-latex-recommended)")
def test_every_latex_table_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert report.main(["reps=200", "--no-figures", "--literature"]) == 0
    inputs = "\n".join(rf"\input{{report/tables/{p.name}}}" for p in sorted(Path("report/tables").glob("*.tex")))
    Path("odd.tex").write_text(ODD.latex())
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    Path("all.tex").write_text(f"{head}\n{inputs}\n\\input{{odd.tex}}\n\\end{{document}}\n")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert Path("all.pdf").stat().st_size > 10_000 and "Missing character" not in done.stdout
