"""Score files: what is read, and what is refused in one line that says how to write it."""

import gzip
from pathlib import Path

import pytest

from agent.contract.words import ConfigError
from analysis.data import scores
from tests.analysis.studies import TIDY

LINE = "mine,atari_pong,0,400,1.5\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TIDY.replace(",", ";") + LINE.replace(",", ";"),
            "columns are separated by semicolons; write commas, and a po",
        ),
        (TIDY.replace(",", "\t") + LINE.replace(",", "\t"), "columns are separated by tabs; write commas"),
        (TIDY + "m,t,0,400_000,1\n", "line 2: frames is '400_000', a whole number from 0 on is expected"),
        (TIDY + "m,t,1_0,400,1\n", "line 2: seed is '1_0', a whole number"),
        (TIDY + "m,t,0,400,1_000\n", "line 2: score is '1_000', a finite number is expected"),
        (TIDY + "m,t,0,٤٠٠,1\n", "line 2: frames is '٤٠٠', a whole number"),
        (TIDY + "m,t,0,400,١٫٥\n", "line 2: score is '١٫٥', a finite number"),
        (TIDY + "m,t,0,400,٣\n", "line 2: score is '٣', a finite number"),
        (TIDY + "m,t,0,400,inf\n", "line 2: score is 'inf', a finite number"),
        (TIDY + " ,t,0,400,1\n", "line 2: method and task must not be empty"),
    ],
)
def test_what_is_not_plainly_a_score_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        scores.read_tidy(path)
    assert f"{path}{': ' if message.startswith('columns') else ', '}{message}" in str(caught.value)


@pytest.mark.parametrize("text", ["-1", "+2.5", ".5", "3.", "1e3", "-2.5E-1"])
def test_numbers_are_read_as_python_prints_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.csv").write_text(TIDY + f"m,t,0,400,{text}\n")
    (run,) = scores.read_tidy(tmp_path / "mine.csv")
    assert run.scores.tolist() == [float(text)]


def test_a_compressed_csv_is_read_and_a_damaged_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv.gz"
    data = gzip.compress((TIDY + LINE).encode())
    path.write_bytes(data)
    assert [run.final() for run in scores.read_tidy(path)] == [1.5]
    for damaged in (data[:-9], data[:12] + b"\xff" * 8 + data[20:], b"\x1f\x8b"):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match="damaged gzip"):
            scores.read_tidy(path)
    path.write_bytes(b"\x50\x4b\x03\x04\xff\xfe")
    with pytest.raises(ConfigError, match="not a CSV file in UTF-8"):
        scores.read_tidy(path)
