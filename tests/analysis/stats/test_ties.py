"""Ties against exact rational arithmetic, and numbers that no order of runs changes."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import stats
from analysis.data.scores import RunScores
from analysis.findings.results import Settings, compute
from analysis.output.comparison_tables import of_results
from analysis.output.tables import fixed
from analysis.stats import ties

EPISODES = 10


def exact_signed_rank(differences: list[Fraction]) -> float:
    """Wilcoxon's two-sided p in whole numbers: rank sums of all signs, counted."""
    sizes = sorted(abs(d) for d in differences if d)
    doubled = {size: 2 * sizes.index(size) + sizes.count(size) + 1 for size in sizes}
    ways = Counter({0: 1})
    for size in sizes:
        ways = Counter(ways) + Counter({total + doubled[size]: n for total, n in ways.items()})
    total = sum(doubled[size] for size in sizes)
    observed = sum(doubled[abs(d)] for d in differences if d > 0)
    tail = sum(n for value, n in ways.items() if value <= min(observed, total - observed))
    return min(1.0, 2 * tail / 2 ** len(sizes))


def exact_ranks(values: list[Fraction]) -> list[float]:
    """Ranks from 1 for the largest on, ties sharing the mean."""
    return [1 + sum(other > v for other in values) + (values.count(v) - 1) / 2 for v in values]


def lattice(seed: int, tasks: int = 50, runs: int = 5) -> np.ndarray:
    """Successes [methods, tasks, runs] out of EPISODES of three methods that hardly differ."""
    rng = np.random.default_rng(seed)
    chance = rng.random(tasks)
    return np.array([rng.binomial(EPISODES, np.minimum(1, chance + lift), (runs, tasks)).T for lift in (0, 0.02, 0.02)])


@pytest.mark.parametrize("seed", range(40))
def test_wins_ranks_and_tests_equal_exact_rationals(seed: int) -> None:
    successes = lattice(seed)
    exact = [[Fraction(int(task.sum()), EPISODES * len(task)) for task in method] for method in successes]
    means = [[stats.mean([task / EPISODES]) for task in method] for method in successes]
    differences = [a - b for a, b in zip(exact[0], exact[1], strict=True)]
    wins = (sum(d > 0 for d in differences), differences.count(Fraction(0)), sum(d < 0 for d in differences))
    assert stats.win_tie_loss(means[0], means[1]) == wins
    p = stats.signed_rank_test(np.array(means[0]) - np.array(means[1]))
    assert p == pytest.approx(exact_signed_rank(differences), rel=1e-12)
    found = stats.average_rank(dict(zip("abc", means, strict=True)))
    expected = np.mean([exact_ranks(list(task)) for task in zip(*exact, strict=True)], axis=0)
    assert list(found.values()) == pytest.approx(expected.tolist(), rel=1e-12)


def test_every_order_of_runs_gives_the_same_bits() -> None:
    task = [0.1, 0.2, 0.3, 1e16, -1e16, 0.7]
    names = ("mean", "median", "iqm", "optimality_gap")
    orders = list(itertools.permutations(task))[::7]
    assert len({tuple(getattr(stats, name)([list(o), [0.4, 0.5]]) for name in names) for o in orders}) == 1
    assert len({(stats.describe(o).mean, stats.describe(o).std) for o in orders}) == 1


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8))
@settings(deadline=None, max_examples=80)
def test_a_mean_is_the_exact_one_rounded(values: list[float]) -> None:
    exact = sum(map(Fraction, values), Fraction(0)) / len(values)
    assert ties.exact_mean(values) == pytest.approx(float(exact), rel=3e-16, abs=0)


def runs_of(method: str, table: dict[str, list[float]], unit: str) -> list[RunScores]:
    return [
        RunScores(method, task, seed, np.array([400]), np.array([score]), unit=unit)
        for task, scores in table.items()
        for seed, score in enumerate(scores)
    ]


@pytest.mark.parametrize(
    ("tasks", "unit"),
    [
        (("metaworld_hammer", "metaworld_lever_pull", "metaworld_door"), "success"),
        (("atari_pong", "atari_boxing", "atari_alien"), "return"),
        (("cart", "pole", "pendulum"), "return"),
    ],
)
def test_the_same_scores_in_another_seed_order_are_all_ties(tasks: tuple[str, ...], unit: str) -> None:
    scores = [[0.1, 0.2, 0.3], [0.7, 0.1, 0.3], [0.6, 0.3, 0.1]]
    one = runs_of("dreamerv3", dict(zip(tasks, scores, strict=True)), unit)
    two = runs_of("harmony_dreamerv3", {t: [s[2], s[0], s[1]] for t, s in zip(tasks, scores, strict=True)}, unit)
    results = compute([*one, *two], Settings(reps=200))
    (comparison,) = results.groups[0].comparisons
    assert (comparison.wins, comparison.ties, comparison.losses) == (0, 3, 0)
    assert set(results.groups[0].average_rank.values()) == {1.5}
    assert math.isnan(comparison.p_value) or comparison.p_value == 1.0
    assert {i.estimate for i in comparison.differences.values()} <= {0.0}
    for table in of_results(results):
        assert not any(entry.best for row in table.rows for entry in row), table.name
        assert "−0.000" not in table.markdown()


def test_relabelled_seeds_change_nothing_in_the_results() -> None:
    rng = np.random.default_rng(5)
    scores = {task: rng.normal(3, 2, 4).tolist() for task in ("atari_pong", "atari_boxing")}
    base = runs_of("dreamerv3", {task: rng.normal(3, 2, 4).tolist() for task in scores}, "return")

    def numbers(order: list[int]) -> list[object]:
        mine = runs_of("harmony_dreamerv3", {t: [s[k] for k in order] for t, s in scores.items()}, "return")
        (group,) = compute([*mine, *base], Settings(reps=200)).groups
        return [group.aggregates, group.comparisons[0].differences, group.comparisons[0].improvement.overall]

    assert numbers([0, 1, 2, 3]) == numbers([3, 1, 0, 2]) == numbers([2, 3, 1, 0])


def test_ties_are_relative_to_the_scale() -> None:
    assert stats.win_tie_loss([1e6], [1e6 + 1e-6]) == (0, 1, 0)
    assert stats.win_tie_loss([1e6], [1e6 + 2e-3]) == (0, 0, 1)  # one point in one of five hundred episodes
    assert stats.win_tie_loss([1e-12], [2e-12]) == (0, 1, 0)
    assert stats.win_tie_loss([1e-12], [2e-12], scale=0.0) == (0, 0, 1)
    assert stats.signed_rank_test([1e-17, -2e-17]) == 1.0
    assert ties.ranks([0.1 + 0.2, 0.3, 0.0]).tolist() == [2.5, 2.5, 1.0]


def test_methods_with_unequal_numbers_of_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="same tasks"):
        stats.win_tie_loss([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="same tasks"):
        stats.average_rank({"a": [1.0], "b": [1.0, 2.0]})


def test_a_threshold_that_is_no_number_and_a_curve_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        stats.performance_profile([[1.0, 2.0]], [0.5, math.nan])
    with pytest.raises(ValueError, match="ascending"):
        stats.curve([2, 1], [[[1.0, 2.0], [1.0, 2.0]]])


def test_a_profile_counts_no_run_above_a_threshold_that_it_meets() -> None:
    profile = stats.performance_profile([[0.1 + 0.2, 0.5]], [0.3])
    assert profile.share.tolist() == [0.5]


@pytest.mark.parametrize(
    ("value", "text"), [(-0.0, "0.000"), (-4e-4, "0.000"), (-6e-4, "−0.001"), (-1e-17, "0.000"), (12.5, "12.500")]
)
def test_zero_has_no_sign(value: float, text: str) -> None:
    assert fixed(value, 3) == text
