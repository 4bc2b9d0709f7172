"""Tables in their four formats, and LaTeX through a real engine."""

import csv
import io
import shutil
import subprocess
from pathlib import Path

import pytest

from analysis import report
from analysis.data import scores
from analysis.findings.results import Settings, compute
from analysis.output import tables
from analysis.output.table import Entry, Table
from analysis.stats.runs import Interval

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


WIDE = Table(
    "wide",
    "Ümläute, Łódź and Müller",
    ["Müller", *(f"Method {k}" for k in range(12))],
    [[Entry("Żółć"), *(Entry("0.607 [0.552, 0.680]", best=k == 3) for k in range(12))] for _ in range(26)],
    ["A note: é"],
    [20],
)


def compiled(folder: Path, *names: str) -> str:
    """Return the log of a paper of one column at 10 pt with the tables in these files; they compile without a fault."""
    inputs = "\n".join(rf"\input{{{name}}}\clearpage" for name in names)
    head = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs}\begin{document}"
    (folder / "all.tex").write_text(f"{head}\n{inputs}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(command, capture_output=True, cwd=folder, timeout=120)
    log = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, log[-2000:]
    return log


@pytest.mark.latex
@pytest.mark.skipif(not has_booktabs(), reason="needs LaTeX with booktabs (Debian: texlive-latex-recommended)")
def test_every_latex_table_compiles_and_fits_its_line_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert report.main(["reps=200", "--no-figures", "--literature"]) == 0
    for name, table in (("odd", ODD), ("wide", WIDE)):
        Path(f"{name}.tex").write_text(table.latex(), encoding="utf-8")
    made = sorted(f"report/tables/{p.name}" for p in Path("report/tables").glob("*.tex"))
    log = compiled(tmp_path, *made, "odd.tex", "wide.tex")
    assert Path("all.pdf").stat().st_size > 10_000 and "Missing character" not in log
    assert "Overfull" not in log and "Float too large" not in log


def test_a_wide_table_is_split_and_never_shrunk() -> None:
    text = WIDE.latex()
    assert (
        "resizebox" not in text
        and "tiny" not in text
        and text.count(r"\scriptsize") == text.count(r"\begin{table}") > 1
    )
    shown = [column for line in text.splitlines() if line.startswith("Müller") for column in line[:-3].split(" & ")[1:]]
    assert shown == WIDE.columns[1:]
    assert text.count(r"\textbf{0.607 [0.552, 0.680]}") == 26 and "Żółć & " in text
    assert r"\caption{Ümläute, Łódź and Müller (part 1 of " in text and r"\label{tab:wide-2}" in text
    assert r"\scriptsize" not in ODD.latex() and r"\begin{table}" in ODD.latex()


def test_a_long_table_goes_over_several_pages() -> None:
    table = Table("long", "Long", ["Task", "x"], [[Entry(f"t{k}"), Entry("1")] for k in range(130)])
    assert table.latex().count(r"\begin{table}") == 3
    assert [f"t{k} & 1" in table.latex() for k in (0, 59, 60, 129)] == [True] * 4


def test_what_pdflatex_does_not_know_is_kept_and_said() -> None:
    table = Table("t", "中", ["a", "b"], [[Entry("日本"), Entry("1")]])
    assert "% 中 日 本 need LuaLaTeX or XeLaTeX" in table.latex() and "日本 & 1" in table.latex()


def test_a_line_break_in_a_name_breaks_no_table() -> None:
    table = Table("t", "a\nb", ["Task\r\n", "x\ty"], [[Entry("c\n\nd"), Entry("1")]], ["n\n- o"])
    assert (
        "| c d | 1 |" in table.markdown() and "| Task | x y |" in table.markdown() and "\nn - o\n" in table.markdown()
    )
    assert r"c d & 1 \\" in table.latex() and r"\caption{a b}" in table.latex()
    assert len(table.plain().splitlines()) == 3
