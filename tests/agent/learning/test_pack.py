"""Catch with the published settings as one pack of ten: its curves beside those of the ten single runs.

Both draw the same numbers; an update of a pack rounds otherwise, and after some hundred updates the runs part. So
the beginning is compared run by run, and the end as what it is, two samples of the same ten runs.
"""

from pathlib import Path
from statistics import fmean, stdev

import pytest

from tests.agent.learning.test_catch import METHODS, Curves, check_weights, late_best, read_curves

FOLDER = Path(__file__).parent
RUNS = [(method, seed) for method in METHODS for seed in range(5)]


@pytest.fixture(scope="module")
def alone() -> Curves:
    return read_curves(FOLDER / "catch_published.csv")


@pytest.fixture(scope="module")
def packed() -> Curves:
    return read_curves(FOLDER / "catch_pack_of_ten.csv")


def test_the_pack_holds_the_same_ten_runs(alone: Curves, packed: Curves) -> None:
    assert sorted(packed) == sorted(RUNS)
    assert set(RUNS) <= set(alone)
    for run in RUNS:
        assert [row["updates"] for row in packed[run]] == [row["updates"] for row in alone[run]]


def test_before_the_first_update_the_pack_plays_as_the_single_runs(alone: Curves, packed: Curves) -> None:
    assert [packed[run][0]["score"] for run in RUNS] == [alone[run][0]["score"] for run in RUNS]


def test_late_scores_of_the_pack_are_those_of_the_single_runs_within_their_spread(
    alone: Curves, packed: Curves
) -> None:
    gains = [late_best(packed[run]) - late_best(alone[run]) for run in RUNS]
    assert abs(fmean(gains)) <= 2 * stdev(gains) / len(gains) ** 0.5


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_weights_of_the_pack_go_the_published_way(packed: Curves, seed: int) -> None:
    check_weights(packed["harmony_dreamerv3", seed])
