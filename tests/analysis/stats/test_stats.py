"""The statistics against published reference numbers, hand-computed cases and properties."""

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import stats
from analysis.data import benchmarks, scores
from analysis.findings import guard
from analysis.findings.results import evaluation_matrices
from analysis.stats.resample import Stream, quantiles, stratified_indices

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "published_statistics.json").read_text())
METHODS = list(GOLDEN["methods"])
NAMES = ("mean", "median", "iqm", "optimality_gap")
BUNDLED = scores.bundled()
TASKS = sorted({run.task for run in BUNDLED})


def raw(method: str, last: int = 1) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for run in BUNDLED:
        if run.method == method:
            found.setdefault(run.task, []).append(run.final(last))
    return found


def hns(method: str, last: int = 1, reference: str = "exact") -> list[np.ndarray]:
    return benchmarks.normalised(raw(method, last), TASKS, benchmarks.references(reference))


@pytest.mark.parametrize("method", METHODS)
def test_per_task_descriptions_equal_the_reference(method: str) -> None:
    for task, expected in GOLDEN["methods"][method]["per_task"].items():
        found = stats.describe(raw(method)[task])
        values = [found.mean, found.std, found.sem, found.median, found.low, found.high, found.n]
        wanted = [expected[k] for k in ("mean", "std_ddof1", "sem", "median", "min", "max", "n")]
        assert values == pytest.approx(wanted, rel=1e-12)
        assert float(benchmarks.references()[task].normalise(found.mean)) == pytest.approx(
            expected["hns_mean"], rel=1e-12
        )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("variant", "last"), [("last", 1), ("mean_last_5", 5)])
def test_aggregates_equal_the_reference(method: str, variant: str, last: int) -> None:
    expected, runs = GOLDEN["methods"][method][variant], hns(method, last)
    for name in NAMES:
        assert getattr(stats, name)(runs) == pytest.approx(expected[name], rel=1e-12)
    assert stats.superhuman(runs) == expected["superhuman_gt1"]


@pytest.mark.parametrize("method", METHODS)
def test_normalised_means_equal_the_reference(method: str) -> None:
    found = dict(zip(TASKS, (float(x.mean()) for x in hns(method)), strict=True))
    assert found == pytest.approx(GOLDEN["methods"][method]["normalised"], rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_integer_references_give_the_papers_headline(method: str) -> None:
    expected, runs = GOLDEN["methods"][method]["integer"], hns(method, reference="integer")
    assert 100 * stats.mean(runs) == pytest.approx(expected["mean_percent"], rel=1e-12)
    assert 100 * stats.median(runs) == pytest.approx(expected["median_percent"], rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_intervals_equal_the_reference_within_its_tolerance(method: str) -> None:
    found = stats.aggregate(hns(method), NAMES, seed=0, interval="percentile")
    for name, expected in GOLDEN["methods"][method]["intervals"].items():
        assert found[name].low == pytest.approx(expected["low"], abs=expected["low_tolerance"])
        assert found[name].high == pytest.approx(expected["high"], abs=expected["high_tolerance"])


def test_the_probability_of_improvement_equals_the_reference() -> None:
    expected = GOLDEN["improvement"]
    found = stats.probability_of_improvement(hns(METHODS[0]), hns(METHODS[1]), interval="percentile")
    assert found.overall.estimate == pytest.approx(expected["estimate"], rel=1e-12)
    assert found.overall.low == pytest.approx(expected["low"], abs=expected["tolerance"])
    assert found.overall.high == pytest.approx(expected["high"], abs=expected["tolerance"])
    assert dict(zip(TASKS, found.per_task.tolist(), strict=True)) == pytest.approx(expected["per_task"], rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_profiles_equal_the_reference(method: str) -> None:
    expected = GOLDEN["methods"][method]["profile"]
    found = stats.performance_profile(hns(method), expected["taus"], interval="percentile")
    assert found.low is not None and found.high is not None
    np.testing.assert_allclose(found.share, expected["share"], rtol=1e-12)
    np.testing.assert_allclose(found.task_share, expected["mean_share"], rtol=1e-12)
    np.testing.assert_allclose(found.low, expected["low"], atol=expected["tolerance"])
    np.testing.assert_allclose(found.high, expected["high"], atol=expected["tolerance"])


@pytest.mark.parametrize("method", METHODS)
def test_curves_over_frames_equal_the_reference(method: str) -> None:
    expected = GOLDEN["methods"][method]["curve"]
    steps, matrices = evaluation_matrices([r for r in BUNDLED if r.method == method], TASKS)
    table = benchmarks.references()
    scaled = [table[t].normalise(m) for m, t in zip(matrices, TASKS, strict=True)]
    where = [steps.index(step) for step in expected["steps"]]
    for name, wanted in (("iqm", "iqm"), ("mean", "mean_hns"), ("median", "median_hns")):
        np.testing.assert_allclose(
            stats.curve(steps, scaled, name, reps=100).estimate[where], expected[wanted], rtol=1e-12
        )
    found = stats.curve(steps, scaled, interval="percentile")
    np.testing.assert_allclose(found.low[where], expected["low"], atol=expected["tolerance"])
    np.testing.assert_allclose(found.high[where], expected["high"], atol=expected["tolerance"])
    assert set(found.n_runs) == {130}


@pytest.mark.parametrize("method", METHODS)
def test_one_tasks_learning_curve_equals_the_reference(method: str) -> None:
    expected = GOLDEN["methods"][method]["breakout"]
    steps, (matrix,) = evaluation_matrices([r for r in BUNDLED if r.method == method], ["atari_breakout"])
    assert steps == expected["steps"]
    found = [stats.describe(column) for column in matrix.T]
    for attribute, name in (("mean", "mean"), ("std", "std_ddof1"), ("sem", "sem"), ("t_half_width", "t95_half")):
        np.testing.assert_allclose([getattr(d, attribute) for d in found], expected[name], rtol=1e-12)
    assert stats.area_under_curve(steps, expected["mean"]) == pytest.approx(expected["auc_trapz_mean"], rel=1e-12)


def test_ranks_and_wins_equal_the_reference() -> None:
    means = {method: [float(x.mean()) for x in hns(method)] for method in METHODS}
    expected = GOLDEN["ranks"]
    assert stats.average_rank(means) == pytest.approx(expected["average_rank"], rel=1e-12)
    assert stats.win_tie_loss(*means.values()) == (expected["wins"], expected["ties"], expected["losses"])


@pytest.mark.parametrize("method", sorted(GOLDEN["literature"]))
def test_the_literatures_aggregates_equal_the_reference(method: str) -> None:
    expected = GOLDEN["literature"][method]
    (entry,) = [e for e in scores.literature() if e.method.name == method]
    means = benchmarks.normalised({task: [mean] for task, mean in entry.means.items()}, TASKS)
    assert stats.mean(means) == pytest.approx(expected["hns_mean"], rel=1e-9)
    assert stats.median(means) == pytest.approx(expected["hns_median"], rel=1e-9)
    assert stats.superhuman(means) == expected["superhuman_gt1"]
    if entry.runs:
        runs = benchmarks.normalised(entry.runs, TASKS)
        assert stats.iqm(runs) == pytest.approx(expected["hns_iqm"], rel=1e-9)
        assert stats.optimality_gap(runs) == pytest.approx(expected["hns_optimality_gap"], rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_the_published_files_are_complete_and_their_twin_seeds_are_found(method: str) -> None:
    expected = GOLDEN["methods"][method]["quality"]
    runs = [r for r in BUNDLED if r.method == method]
    assert len(runs) == expected["games"] * expected["seeds"]
    assert {len(r.scores) for r in runs} == {expected["points"]}
    constant = {r.task for r in runs} - {r.task for r in runs if r.scores.any()}
    assert constant == {f"atari_{game}" for game in expected["all_zero"]}
    found = [(d.task, list(d.seeds), d.equal, d.differs_at) for d in guard.duplicates(runs)]
    assert found == [
        (f"atari_{p['game']}", p["seeds"], p["equal_points"], (p["differs_at_step"],))
        for p in expected["duplicate_seed_pairs"]
    ]


@pytest.mark.parametrize("n", range(1, 14))
def test_the_iqm_cuts_a_quarter_rounded_down_at_each_end(n: int) -> None:
    values = sorted(float(k * k) for k in range(n))
    kept = values[n // 4 : n - n // 4]
    assert stats.iqm([values]) == pytest.approx(sum(kept) / len(kept))
    assert stats.iqm([[v] for v in values]) == pytest.approx(sum(kept) / len(kept))


def test_a_ragged_iqm_counts_every_task_the_same() -> None:
    # Pool with multiplicities 3 and 2 (lcm 6): 0 0 0 | 1 1 | 4 4 | 6 6 6 | 7 7 → of 12, three are cut at each end.
    assert stats.iqm([[0.0, 6.0], [1.0, 4.0, 7.0]]) == pytest.approx((1 + 1 + 4 + 4 + 6 + 6) / 6)


@given(st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=4), min_size=1, max_size=5))
@settings(deadline=None, max_examples=60)
def test_a_ragged_iqm_is_the_iqm_of_tasks_repeated_to_one_length(runs: list[list[float]]) -> None:
    common = math.lcm(*map(len, runs))
    assert stats.iqm(runs) == pytest.approx(stats.iqm([task * (common // len(task)) for task in runs]), abs=1e-12)


def test_an_iqm_of_sizes_without_a_common_multiple_that_an_integer_holds() -> None:
    sizes = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53]  # their product exceeds 2**64
    runs = [[float((7 * k + n) % 13) for k in range(n)] for n in sizes]
    weights = sorted((value, Fraction(1, len(task))) for task in runs for value in task)
    low, high, place, total = Fraction(len(runs), 4), Fraction(3 * len(runs), 4), Fraction(0), Fraction(0)
    for value, weight in weights:
        total += Fraction(value) * max(Fraction(0), min(place + weight, high) - max(place, low))
        place += weight
    assert stats.iqm(runs) == pytest.approx(float(total / (high - low)), rel=1e-12)


@given(st.lists(st.lists(st.floats(-5, 5), min_size=2, max_size=2), min_size=1, max_size=5), st.integers(0, 2**31))
@settings(deadline=None, max_examples=20)
def test_the_same_seed_gives_the_same_interval(runs: list[list[float]], seed: int) -> None:
    assert stats.aggregate(runs, reps=200, seed=seed) == stats.aggregate(runs, reps=200, seed=seed)


def test_resampling_is_the_same_bits_on_every_machine() -> None:
    # Recorded once; PCG64's raw stream is fixed by NumPy, so these must hold on every machine and version.
    assert Stream(0).integers(5, 12).tolist() == RECORDED_FIVES
    assert Stream(7, 1).integers(300, 6).tolist() == RECORDED_WIDE
    found = stats.aggregate(hns(METHODS[0]), ("iqm", "mean"), reps=1000, seed=0, interval="percentile")
    assert [found["iqm"].low, found["iqm"].high, found["mean"].low, found["mean"].high] == RECORDED_INTERVALS


RECORDED_FIVES = [0, 0, 4, 2, 2, 0, 0, 3, 3, 0, 2, 0]
RECORDED_WIDE = [57, 33, 41, 71, 160, 100]
RECORDED_INTERVALS = [0.5532383291812043, 0.6759163797726633, 1.1988648121985976, 1.5609591953809434]


def test_draws_are_uniform_and_strata_stay_apart() -> None:
    counts = np.bincount(Stream(3).integers(7, 70_000))
    assert len(counts) == 7 and abs(counts - 10_000).max() < 500
    indices = np.concatenate(list(stratified_indices([2, 3, 2], 5000, Stream(1))))
    bounds = [(0, 1), (0, 1), (2, 4), (2, 4), (2, 4), (5, 6), (5, 6)]
    assert [(column.min(), column.max()) for column in indices.T] == bounds


def test_quantiles_interpolate_linearly() -> None:
    values = np.array([[3.0, 1.0], [1.0, 5.0], [2.0, 9.0]])
    np.testing.assert_allclose(
        quantiles(values, [0.0, 0.25, 0.5, 1.0]), np.quantile(values, [0.0, 0.25, 0.5, 1.0], axis=0)
    )


def test_one_seed_gives_an_estimate_and_no_interval() -> None:
    found = stats.aggregate([[0.5], [1.5]])["mean"]
    assert (found.estimate, found.low, found.high, found.reason) == (1.0, None, None, "one seed")
    mixed = stats.aggregate([[0.5, 0.7], [1.5]])["mean"]
    assert mixed.low is None and mixed.reason == "1 of 2 tasks with one seed"
    assert stats.probability_of_improvement([[1.0]], [[0.0]]).overall.low is None
    profile = stats.performance_profile([[0.5], [1.5]], [0.0, 1.0])
    assert profile.low is None and profile.share.tolist() == [1.0, 0.5]


def test_constants_give_no_interval() -> None:
    found = stats.aggregate([[2.0] * 5, [3.0] * 5], reps=200)
    assert {(i.low, i.high, i.reason) for i in found.values() if i.reason == stats.NO_SPREAD} == {
        (None, None, "no run differs from another")
    }
    assert [name for name, i in found.items() if i.reason != stats.NO_SPREAD] == ["superhuman"]
    assert found["optimality_gap"].estimate == 0.0
    percentile = stats.aggregate([[2.0, 2.0, 2.0]], reps=200, interval="percentile")["iqm"]
    assert (percentile.low, percentile.estimate, percentile.high) == (2.0, 2.0, 2.0)


def test_ties_count_half() -> None:
    found = stats.probability_of_improvement([[1.0, 2.0], [0.0, 0.0]], [[1.0, 3.0], [0.0, 0.0]], reps=200)
    assert found.per_task.tolist() == [(0.5 + 0 + 1 + 0) / 4, 0.5]
    assert stats.average_rank({"a": [1.0, 1.0], "b": [1.0, 0.0], "c": [0.0, 0.0]}) == {"a": 1.25, "b": 2.0, "c": 2.75}


def test_improvement_of_unequal_numbers_of_runs() -> None:
    found = stats.probability_of_improvement(
        [[1.0, 2.0, 3.0], [5.0, 5.0]], [[0.0, 2.5], [1.0, 9.0, 9.0, 9.0]], reps=500, interval="percentile"
    )
    assert found.per_task.tolist() == pytest.approx([4 / 6, 2 / 8])
    low, high = found.overall.low, found.overall.high
    assert low is not None and high is not None and low <= found.overall.estimate <= high


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_never_passes(bad: float) -> None:
    with pytest.raises(ValueError, match=r"task 1, run 2: the score is (nan|inf)"):
        stats.mean([[1.0, 2.0], [1.0, 2.0, bad]])
    with pytest.raises(ValueError, match="finite"):
        stats.signed_rank_test([1.0, bad])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.mean([]), "no tasks"),
        (lambda: stats.mean([[1.0], []]), "task 1 has no runs"),
        (lambda: stats.mean([[[1.0]]]), "one number per run"),
        (lambda: stats.aggregate([[1.0, 2.0]], ["iqmm"]), "unknown metric 'iqmm'"),
        (lambda: stats.aggregate([[1.0, 2.0]], reps=5), "at least 100"),
        (lambda: stats.aggregate([[1.0, 2.0]], level=95), "between 0 and 1"),
        (lambda: stats.aggregate([[1.0, 2.0]], seed=-1), "from 0 on"),
        (lambda: stats.difference([[1.0]], [[1.0], [2.0]]), "same tasks"),
        (lambda: stats.normalise([1.0], 3.0, 3.0), "two different"),
        (lambda: stats.curve([1, 2], [[[1.0]]]), "per task"),
    ],
)  # fmt: skip
def test_unusable_input_is_refused_with_its_reason(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_curve_leaves_out_steps_that_some_task_lacks() -> None:
    nan = math.nan
    found = stats.curve(
        [1, 2, 3],
        [[[0.0, 1.0, 2.0], [0.0, 1.0, nan]], [[4.0, 5.0, nan], [4.0, nan, nan]]],
        "mean",
        reps=200,
        interval="percentile",
    )
    assert found.steps.tolist() == [1, 2]
    assert found.estimate.tolist() == [2.0, 3.0]
    assert found.n_runs.tolist() == [4, 3]
    assert math.isnan(found.low[1]) and not math.isnan(found.low[0])


def test_the_signed_rank_test_equals_scipys_exact_one() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    values = np.array([0.4, -0.1, 0.9, 1.3, -0.35, 0.2, 2.2, 0.7])
    assert stats.signed_rank_test(values) == pytest.approx(scipy_stats.wilcoxon(values, mode="exact").pvalue, rel=1e-12)


def test_the_signed_rank_test_enumerated_with_ties_and_zeros() -> None:
    values = [1.0, 1.0, -2.0, 3.0, 0.0]
    doubled = [3, 3, 6, 8]  # twice the ranks 1.5 1.5 3 4
    sums = [sum(r for k, r in enumerate(doubled) if signs >> k & 1) for signs in range(16)]
    observed = 3 + 3 + 8
    extreme = sum(s >= observed or s <= 20 - observed for s in sums)
    assert stats.signed_rank_test(values) == pytest.approx(extreme / 16)
    assert stats.signed_rank_test([0.0, 0.0]) == 1.0


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30])
def test_students_quantile_equals_scipys(freedom: int) -> None:
    special = pytest.importorskip("scipy.special")
    assert stats.student_quantile(0.975, freedom) == pytest.approx(special.stdtrit(freedom, 0.975), rel=1e-10)


def test_the_modules_examples_hold() -> None:
    import doctest

    assert doctest.testmod(stats).failed == 0
