"""The intervals against closed forms, scipy, and what they promise: never of zero width, none that cannot be had."""

import math

import numpy as np
import pytest

from agent.contract.words import ConfigError
from analysis import options, stats
from analysis.data import scores
from analysis.findings.results import Settings, compute
from analysis.output import tables
from analysis.stats import intervals
from analysis.stats.metrics import of_kept_runs

RNG = np.random.default_rng(3)
NAMES = ("mean", "median", "iqm", "optimality_gap")


@pytest.mark.parametrize("freedom", [1.0, 1.3, 2.0, 2.7, 4.0, 11.5, 130.0, 5000.0, 1e6])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_students_quantile_of_any_freedom_equals_scipys(freedom: float, level: float) -> None:
    special = pytest.importorskip("scipy.special")
    assert intervals.t_quantile(level, freedom) == pytest.approx(special.stdtrit(freedom, (1 + level) / 2), rel=2e-3)


def test_of_one_task_it_is_students_interval_and_of_two_methods_welchs() -> None:
    scipy = pytest.importorskip("scipy.stats")
    x, y = RNG.normal(size=6), RNG.normal(1, 3, size=9)
    one = stats.aggregate([x], ["mean"])["mean"]
    expected = scipy.ttest_1samp(x, 0.0).confidence_interval(0.95)
    assert [one.low, one.high] == pytest.approx([expected.low, expected.high], rel=1e-4)
    both = stats.difference([x], [y], ["mean"])["mean"]
    expected = scipy.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    assert [both.low, both.high] == pytest.approx([expected.low, expected.high], rel=1e-4)


def test_over_tasks_the_variance_is_that_of_the_mean_and_the_freedom_satterthwaites() -> None:
    runs = [RNG.normal(size=n) * n for n in (3, 5, 4, 7)]
    terms = [r.var(ddof=1) / len(r) / 16 for r in runs]
    freedom = sum(terms) ** 2 / sum(t**2 / (len(r) - 1) for t, r in zip(terms, runs, strict=True))
    found = stats.aggregate(runs, ["mean"])["mean"]
    half = intervals.t_quantile(0.95, freedom) * math.sqrt(sum(terms))
    assert found.low is not None and found.estimate - found.low == pytest.approx(half, rel=1e-9)


def test_of_one_task_the_iqm_has_the_trimmed_means_degrees_of_freedom() -> None:
    x = RNG.normal(size=12)
    pieces, freedom = of_kept_runs([x])
    low, high = np.sort(x)[3], np.sort(x)[8]
    np.testing.assert_allclose(pieces[0], np.clip(x, low, high) * 2)
    assert freedom == [5.0]  # h - 1 of the h = 6 runs that are kept


def test_parts_are_the_influence_of_single_runs_on_the_iqm() -> None:
    runs = [np.sort(RNG.normal(size=n)) for n in (40, 60, 80)]
    pieces, _ = of_kept_runs(runs)
    base, step = stats.iqm(runs), 1e-6
    for task in range(3):
        for run in (len(runs[task]) // 2, 0, -1):
            moved = [r.copy() for r in runs]
            moved[task][run] += step
            kept = pieces[task].min() < pieces[task][run] < pieces[task].max()
            expected = 2 / len(runs[task]) / 3 if kept else 0.0
            assert (stats.iqm(moved) - base) / step == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        ([[0.0, 1.0]], NAMES),  # two seeds on few tasks
        ([[0.0, 1.0, 2.0]], NAMES),
        ([[0.0, 1.0]] * 3, NAMES),
        ([[0.0, 1.0]] * 8, ("median",)),
        ([[0.0]] * 9, NAMES),
        ([[0.0, 1.0]] * 9 + [[0.0]], NAMES),
    ],
)
def test_where_none_can_be_had_there_is_none_and_a_reason(runs: list[list[float]], names: tuple[str, ...]) -> None:
    found = stats.aggregate(runs, names, reps=200)
    assert all(i.low is None and i.high is None and i.reason for i in found.values())
    differing = stats.difference(runs, runs, names, reps=200)
    assert all(i.low is None and i.reason for i in differing.values())


def test_methods_that_are_wholly_apart_have_an_interval_of_p_below_one() -> None:
    for n, tasks in ((3, 3), (5, 1), (5, 26)):
        low_runs = [list(range(n))] * tasks
        high_runs = [[10.0 + k for k in range(n)]] * tasks
        found = stats.probability_of_improvement(high_runs, low_runs).overall
        assert found.low is not None and 0.4 < found.low < 1.0 == found.high == found.estimate
    mirrored = stats.probability_of_improvement(low_runs, high_runs).overall
    assert mirrored.high == pytest.approx(1 - found.low)


def test_no_band_of_a_profile_has_zero_width() -> None:
    profile = stats.performance_profile([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.linspace(0, 7, 15))
    assert profile.low is not None and profile.high is not None
    assert (profile.high - profile.low > 0.05).all()
    assert (profile.low <= profile.share).all() and (profile.share <= profile.high).all()


def test_no_order_of_runs_changes_an_end_of_the_mean() -> None:
    runs = [RNG.normal(size=5) for _ in range(4)]
    turned = [np.roll(r, 2) for r in runs]
    for name in ("mean", "optimality_gap"):
        one, other = (stats.aggregate(r, [name])[name] for r in (runs, turned))
        assert one.low == pytest.approx(other.low, rel=1e-14)


def test_over_tasks_each_task_is_one_draw() -> None:
    scipy = pytest.importorskip("scipy.stats")
    single, several = RNG.normal(size=(9, 1)), RNG.normal(size=(9, 4))
    x, y = list(single), list(several)
    expected = scipy.ttest_1samp(single[:, 0], 0.0).confidence_interval(0.95)
    one = stats.aggregate(x, ["mean"], interval="tasks")["mean"]
    assert [one.low, one.high] == pytest.approx([expected.low, expected.high], rel=1e-4)
    expected = scipy.ttest_rel(single[:, 0], several.mean(axis=1)).confidence_interval(0.95)
    both = stats.difference(x, y, ["mean"], interval="tasks")["mean"]
    assert [both.low, both.high] == pytest.approx([expected.low, expected.high], rel=1e-4)
    assert stats.aggregate(x[:4], ["mean"], interval="tasks")["mean"].reason == "fewer than 5 tasks"
    assert stats.aggregate(x, ["median"], interval="tasks", reps=500)["median"].low is not None


@pytest.mark.parametrize("shape", ["normal", "skewed"])
def test_the_default_covers_what_the_percentile_interval_misses(shape: str) -> None:
    from tests.benchmarks.coverage import measure

    found = measure(shape, 10, 3, 60, others=False)
    for name in ("mean", "iqm", "ΔIQM"):
        assert found["student"][name] >= 90 > found["percentile"][name] or found["student"][name] >= 95


def test_an_unknown_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown interval 'bca'; there are student, percentile, tasks"):
        stats.aggregate([[1.0, 2.0]], interval="bca")
    with pytest.raises(ConfigError, match="did you mean 'percentile'"):
        options.parse(["--interval", "percentil"])
    with pytest.raises(ConfigError, match="choose one"):
        options.parse(["--interval=percentile", "--task-bootstrap"])
    assert options.parse(["--task-bootstrap"]).interval == "tasks"


def test_the_report_says_which_interval_it_shows_and_of_what_it_speaks() -> None:
    for kind, text in (("student", "Student intervals of runs"), ("percentile", "percentile"), ("tasks", "over tasks")):
        results = compute(scores.bundled(), Settings(reps=200, interval=kind))
        table = tables.aggregates(results, results.groups[0])
        (note,) = [n for n in table.notes if n.startswith("Intervals: 95% ")]
        assert text in note and ("not of other tasks" in note) == (kind != "tasks")
        assert not any(n.startswith("No interval") for n in table.notes)
