"""Two tasks of a few numbers with `vector_small`: their curves as `tests.agent.learning` stored them.

The thresholds were set with the curves in sight; they say what a reader sees in them.
"""

import csv
from pathlib import Path
from statistics import fmean

CURVES = Path(__file__).with_name("vector_small.csv")


def scores_of(task: str) -> list[float]:
    with CURVES.open(newline="", encoding="utf-8") as file:
        return [float(row["score"]) for row in csv.DictReader(file) if row["task"] == task]


def test_cartpole_is_balanced_for_many_times_as_long_as_at_random() -> None:
    scores = scores_of("gym_CartPole-v1")
    assert scores[0] < 30
    assert fmean(scores[len(scores) // 2 :]) > 250
    assert max(scores) > 450


def test_dm_controls_cartpole_doubles_its_return() -> None:
    scores = scores_of("dmc_cartpole_balance")
    assert scores[0] < 250
    assert fmean(scores[len(scores) // 2 :]) > 2 * scores[0]
