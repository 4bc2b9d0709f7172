"""Tests per task, corrections, single games and seeds, against scipy, enumeration and hand-computed cases."""

import math

import numpy as np
import pytest

from analysis import stats
from analysis.data import scores
from analysis.data.scores import RunScores
from analysis.findings.results import Settings, compute
from analysis.output import comparison_tables
from analysis.stats import influence, significance

RNG = np.random.default_rng(11)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (3, 4), (6, 5)])
def test_the_permutation_test_equals_scipys_exact_one(n: int, m: int) -> None:
    scipy = pytest.importorskip("scipy.stats")
    x, y = RNG.normal(size=n), RNG.normal(0.8, 1, size=m)
    made = scipy.permutation_test((x, y), lambda a, b: abs(a.mean() - b.mean()), alternative="greater", n_resamples=1e6)
    p, smallest = significance.permutation_test(x, y)
    assert p == pytest.approx(made.pvalue, rel=1e-12)
    assert smallest == pytest.approx((2 if n == m else 1) / math.comb(n + m, n))


def test_ties_in_another_order_are_as_extreme() -> None:
    p, _ = significance.permutation_test(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1]))
    assert p == 1.0


def test_welchs_test_equals_scipys() -> None:
    scipy = pytest.importorskip("scipy.stats")
    x, y = RNG.normal(size=5), RNG.normal(2, 4, size=8)
    made = scipy.ttest_ind(x, y, equal_var=False)
    p, low, high = significance.welch_test(x, y)
    assert p == pytest.approx(made.pvalue, rel=1e-5)
    assert [low, high] == pytest.approx(list(made.confidence_interval(0.95)), rel=1e-4)
    assert all(map(math.isnan, significance.welch_test(np.ones(5), np.ones(5))))


@pytest.mark.parametrize(("t", "freedom"), [(0.0, 3.0), (1.2, 1.0), (2.5, 4.7), (6.0, 30.0), (12.0, 8.0)])
def test_students_tail_equals_scipys(t: float, freedom: float) -> None:
    scipy = pytest.importorskip("scipy.stats")
    assert significance.student_p(t, freedom) == pytest.approx(2 * scipy.t.sf(t, freedom), rel=1e-4)


def test_holm_by_hand() -> None:
    assert significance.holm([0.04, 0.01, math.nan, 0.03])[:2] == pytest.approx([0.06, 0.03])
    assert significance.holm([0.04, 0.01, math.nan, 0.03])[3] == pytest.approx(0.06)
    assert math.isnan(significance.holm([0.04, math.nan])[1])
    assert significance.holm([0.9, 0.8]) == [1.0, 1.0]


def test_hedges_g_by_hand() -> None:
    # Means 2 and 4, both variances 1: d = -2; of 4 degrees of freedom the correction is 1 - 3/15.
    assert significance.hedges_g(np.array([1.0, 2, 3]), np.array([3.0, 4, 5])) == pytest.approx(-1.6)
    assert math.isnan(significance.hedges_g(np.ones(3), np.zeros(3)))


def test_a_p_that_cannot_reach_a_twentieth_is_not_given() -> None:
    runs = [np.array([10.0, 11, 12]), np.array([1.0, 2, 3])]
    (row,) = significance.compare_tasks(["a"], [runs[0]], [runs[1]], [1.0])
    assert math.isnan(row.permutation_p) and row.welch_p < 0.01 and row.holm == row.welch_p
    (row,) = significance.compare_tasks(["a"], [np.arange(10.0, 14)], [np.arange(4.0)], [1.0])
    assert row.permutation_p == pytest.approx(2 / 70)


def test_the_published_scores_differ_on_hardly_any_game_and_gopher_makes_half_of_the_mean() -> None:
    results = compute(scores.bundled(), Settings(reps=500))
    (c,) = results.groups[0].comparisons
    assert sum(t.welch_p < 0.05 for t in c.tests) <= 3
    assert sum(t.holm < 0.05 for t in c.tests) <= 1
    row = influence.strongest(c.without, "mean")
    assert row.task == "atari_gopher" and 0.4 < row.values["mean"] / c.without[0].values["mean"] < 0.6
    x, y = results.groups[0].scores.values()
    kept = [k for k, task in enumerate(results.groups[0].tasks) if task != "atari_gopher"]
    assert row.values["iqm"] == pytest.approx(stats.iqm([x[k] for k in kept]) - stats.iqm([y[k] for k in kept]))
    text = comparison_tables.influence_text(c)
    assert "Δ Mean from 0.290 to" in text and "without Gopher" in text
    names = {table.name for table in comparison_tables.of_results(results)}
    assert {f"{n}_human_normalised" for n in ("tests", "leave_one_out", "seeds", "ranking", "areas")} <= names


def test_seeds_needed_find_the_difference_with_the_power_promised() -> None:
    rng = np.random.default_rng(2)
    truth = [1.0, 2.0, 1.5, 3.0]
    many = [[rng.normal(m, 1, 400) for m in truth], [rng.normal(m - 0.5, 1, 400) for m in truth]]
    design = influence.designs(many[0], many[1], ["mean"], reps=300, seed=0)[0]
    assert design.metric == "mean" and design.error == pytest.approx(math.sqrt(2 / 400 / 4), rel=0.05)
    shift = design.observed
    normal = 2 * (1.95996 + 0.84162) ** 2 / (4 * shift**2)  # runs of each task, a bit more by Student's quantile
    assert design.needed is not None and normal < design.needed < normal + 3
    found: list[float | None] = []
    for _ in range(400):
        x, y = ([rng.normal(m - s, 1, design.needed) for m in truth] for s in (0.0, shift))
        found.append(stats.difference(x, y, ["mean"])["mean"].low)
    assert 0.72 < np.mean([low is not None and low > 0 for low in found]) < 0.9


def runs_of(methods: int, tasks: int = 6, seeds: int = 3) -> list[RunScores]:
    rng = np.random.default_rng(0)
    return [
        RunScores(f"m{k}", f"metaworld_t{t}", seed, np.array([1, 2]), rng.random(2) * 0.5 + k / 20, unit="success")
        for k in range(methods)
        for t in range(tasks)
        for seed in range(seeds)
    ]


def test_the_family_of_comparisons_is_stated_and_corrected() -> None:
    three = compute(runs_of(3), Settings(reps=200))
    tables = {t.name: t for t in comparison_tables.of_results(three)}
    assert any("3 comparisons (all pairs)" in note for note in tables["comparisons_success"].notes)
    ps = [c.p_value for c in three.groups[0].comparisons]
    assert [c.holm for c in three.groups[0].comparisons] == significance.holm(ps)
    assert "Holm p" in tables["comparisons_success"].columns
    six = compute(runs_of(6), Settings(reps=200))
    (note,) = [n for n in comparison_tables.of_results(six)[1].notes if "comparisons" in n]
    assert "5 comparisons (each method with m0; the other 10 pairs are left out" in note


def test_no_signed_rank_p_where_too_few_tasks_differ() -> None:
    (comparison,) = compute(runs_of(2, tasks=5), Settings(reps=200)).groups[0].comparisons
    assert math.isnan(comparison.p_value) and math.isnan(comparison.holm)
    (comparison,) = compute(runs_of(2, tasks=6), Settings(reps=200)).groups[0].comparisons
    assert comparison.p_value <= 1


def test_areas_are_means_along_training() -> None:
    results = compute(runs_of(2), Settings(reps=200))
    runs = [r for r in results.runs if r.method == "m1"]
    areas = [[float(r.scores.mean()) for r in runs if r.task == t] for t in results.tasks]
    assert results.groups[0].areas["m1"]["iqm"].estimate == pytest.approx(stats.iqm(areas))


def test_one_task_alone_is_compared_without_leaving_it_out() -> None:
    (comparison,) = compute(runs_of(2, tasks=1), Settings(reps=200)).groups[0].comparisons
    assert [row.task for row in comparison.without] == [""]
