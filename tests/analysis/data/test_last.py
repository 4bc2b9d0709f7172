"""A run's score over its last evaluations, counted in evaluations or in frames."""

from pathlib import Path

import numpy as np
import pytest

from agent.contract.words import ConfigError
from analysis import report
from analysis.data.last import last_remarks, last_text, parse_last
from analysis.data.scores import RunScores
from tests.analysis.studies import rows, write_study


def run(method: str, every: int, until: int = 400_000) -> RunScores:
    """A run that scores its number of evaluations so far."""
    frames = np.arange(every, until + 1, every)
    return RunScores(method, "t", 0, frames, np.arange(1.0, len(frames) + 1))


@pytest.mark.parametrize(
    ("text", "found"), [("1", (1, 0)), ("12", (12, 0)), ("50kframes", (0, 50_000)), ("1Mframes", (0, 1_000_000)),
                        ("800frames", (0, 800))],
)  # fmt: skip
def test_last_is_a_number_of_evaluations_or_of_frames(text: str, found: tuple[int, int]) -> None:
    assert parse_last(text) == found


@pytest.mark.parametrize("text", ["0", "-1", "50k", "kframes", "0kframes", "1.5Mframes", "٣", "1_0", "5 frames"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"a whole number from 1 on is expected, or frames as in last=50kframes"):
        parse_last(text)


def test_the_last_frames_hold_as_many_evaluations_as_lie_in_them() -> None:
    assert run("a", 20_000).final(frames=50_000) == 19.0  # of 360k, 380k and 400k: 18, 19, 20
    assert run("a", 20_000).final(frames=40_000) == 19.5
    assert run("a", 20_000).final(frames=1) == run("a", 20_000).final() == 20.0
    assert run("a", 20_000).final(frames=10**9) == run("a", 20_000).final(20)
    assert last_text(0, 50_000) == "mean of the evaluations in the last 50k frames"


def test_different_spacings_are_said() -> None:
    runs = [run("a", 20_000), run("b", 10_000)]
    assert last_remarks(runs, 1, 0) == []
    assert last_remarks(runs, 5, 0) == [
        "last=5: these span 80000 frames of a, 40000 frames of b; last=80kframes takes the same stretch of all"
    ]
    assert last_remarks(runs, 0, 20_000) == ["last=20kframes: that is 1 evaluation of a, 2 evaluations of b"]
    assert last_remarks([run("a", 20_000), run("b", 20_000)], 5, 0) == []


@pytest.mark.usefixtures("own_folder")
def test_the_report_takes_frames_and_says_so() -> None:
    write_study(Path("runs/study"), tasks=("atari_pong",))
    scores: list[list[str]] = []
    for word in ("last=2", "last=3200frames"):
        assert report.main(["grid=study", "reps=200", "--no-figures", word]) == 0
        scores.append([row["mean"] for row in rows("per_task.csv")])
    assert scores[0] == scores[1]
    text = Path("report/report.md").read_text()
    assert "mean of the evaluations in the last 3200 frames" in text and "Run score: mean of the evaluations" in text
