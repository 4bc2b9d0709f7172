"""A report tells how it was made: its command line, what its selection leaves out, the files that were added."""

import hashlib
import html
import json
from collections import Counter
from pathlib import Path

import pytest

from analysis import report
from tests.analysis.studies import TIDY, rows, write_study

pytestmark = pytest.mark.usefixtures("own_folder")
QUICK = ("grid=study", "reps=200", "--no-figures")


def test_a_selection_is_told_on_the_page_in_markdown_and_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(Path("runs/study"), seeds=3)
    Path("my scores.csv").write_text(TIDY + "".join(f"mine,atari_pong,{seed},6400,{seed}\n" for seed in range(3)))
    words = [*QUICK, "tasks=pong", "methods=harmony_dreamerv3,mine", "seeds=0..1", "extra=my scores.csv", "--json"]
    assert report.main(words) == 0
    output = capsys.readouterr()
    command = "python -m analysis.report grid=study reps=200 --no-figures tasks=pong methods=harmony_dreamerv3,mine "
    command += "seeds=0..1 'extra=my scores.csv'"
    digest = hashlib.sha256(Path("my scores.csv").read_bytes()).hexdigest()
    selected = (
        "tasks=pong methods=harmony_dreamerv3,mine seeds=0..1: shown are 2 of 18 runs of the study and 2 of 3 added"
    )
    told = [
        "left out: method dreamerv3",
        "left out: tasks atari_boxing, catch",
        "left out: seed 2",
        "left out: 16 done",
    ]
    for text in (Path("report/report.md").read_text(), html.unescape(Path("report/index.html").read_text())):
        assert "2 of 2 selected runs (of 18 of the study) finished" in text
        for part in (command, digest, selected, *told):
            assert part in text
    assert f"note: {selected}" in output.err and "\n  left out: seed 2\n" in output.err
    found = json.loads(output.out)
    assert (found["command"], found["added_files"]) == (command, {"my scores.csv": digest})


def test_coverage_lists_every_run_and_why_it_is_left_out() -> None:
    write_study(Path("runs/study"), tasks=("atari_pong", "atari_boxing"))
    Path("runs/study/atari_pong/dreamerv3/seed-1/result.json").unlink()
    assert report.main([*QUICK, "tasks=pong", "--paired"]) == 0
    reasons = {(r["task"], r["method"], r["seed"]): r["left_out"] for r in rows("coverage.csv")}
    assert Counter(reasons.values()) == {"not selected": 4, "": 3, "not paired": 1}
    assert reasons["atari_pong", "harmony_dreamerv3", "1"] == "not paired"


def test_without_a_selection_nothing_is_said_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(Path("runs/study"), tasks=("atari_pong",))
    assert report.main([*QUICK]) == 0
    assert "shown are" not in capsys.readouterr().err
    assert "4 of 4 runs finished" in Path("report/report.md").read_text()
    assert {r["left_out"] for r in rows("coverage.csv")} == {""}
