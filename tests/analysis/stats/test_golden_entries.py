"""Every entry of the shared reference statistics, through the public functions; skipped where the file is not there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import stats
from analysis.data import benchmarks, scores
from analysis.findings import guard
from analysis.findings.results import evaluation_matrices

PATH = Path(__file__).resolve().parents[4] / "shared" / "data" / "golden_analysis.json"
if not PATH.is_file():
    pytest.skip(f"{PATH} is not here", allow_module_level=True)
ENTRIES: list[dict[str, Any]] = json.loads(PATH.read_text())["tests"]
METHODS = {"harmony": "harmony_dreamerv3_published", "dreamerv3": "dreamerv3_published"}
RUNS = {short: [r for r in scores.bundled() if r.method == name] for short, name in METHODS.items()}
TASKS = sorted({run.task for run in RUNS["harmony"]})
REFERENCES = benchmarks.references()


def raw(short: str, last: int = 1) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {task: [] for task in TASKS}
    for run in RUNS[short]:
        found[run.task].append(run.final(last))
    return found


def hns(short: str, last: int = 1, kind: str = "exact") -> list[np.ndarray]:
    return benchmarks.normalised(raw(short, last), TASKS, benchmarks.references(kind))


def per_game(entry: dict[str, Any], short: str, game: str, _: str) -> dict[str, Any]:
    d = stats.describe(raw(short)[f"atari_{game}"])
    normalised = float(REFERENCES[f"atari_{game}"].normalise(d.mean))
    return {"mean": d.mean, "std_ddof1": d.std, "sem": d.sem, "median": d.median, "min": d.low, "max": d.high} | {
        "n": d.n,
        "hns_mean": normalised,
    }


def aggregate(entry: dict[str, Any], short: str, variant: str) -> dict[str, Any]:
    runs = hns(short, 5 if variant == "mean_last_5" else 1)
    means = {task[6:]: float(x.mean()) for task, x in zip(TASKS, runs, strict=True)}
    found = {name: getattr(stats, name)(runs) for name in ("mean", "median", "iqm", "optimality_gap")}
    reached = sum(mean >= 1 for mean in means.values())
    return found | {"superhuman_gt1": stats.superhuman(runs), "superhuman_ge1": reached, "per_game_mean_hns": means}


def paper_recipe(entry: dict[str, Any], short: str) -> dict[str, Any]:
    runs = hns(short, kind="integer")
    found = {f"{name}_percent": 100 * getattr(stats, name)(runs) for name in ("mean", "median")}
    return found | {f"{name}_1dp": round(value, 1) for name, value in found.items()}


def ranks(entry: dict[str, Any], _: str) -> dict[str, Any]:
    means = {short: [float(x.mean()) for x in hns(short)] for short in METHODS}
    wins, ties, losses = stats.win_tie_loss(*means.values())
    return {"average_rank": stats.average_rank(means), "wins": wins, "losses": losses, "ties": ties}


def literature(entry: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [e for e in scores.literature() if e.method.label == name]
    means = benchmarks.normalised({task: [mean] for task, mean in found.means.items()}, TASKS)
    values: dict[str, Any] = {"hns_mean": stats.mean(means), "hns_median": stats.median(means)}
    values |= {"superhuman_gt1": stats.superhuman(means), "n_runs": entry["expected"]["n_runs"]}
    if found.runs:
        runs = benchmarks.normalised(found.runs, TASKS)
        values |= {"hns_iqm": stats.iqm(runs), "hns_optimality_gap": stats.optimality_gap(runs)}
        values["n_runs"] = sorted({len(found.runs[task]) for task in TASKS})
    return values


def learning_curve(entry: dict[str, Any], short: str, game: str) -> dict[str, Any]:
    steps, (matrix,) = evaluation_matrices(RUNS[short], [f"atari_{game}"])
    found = [stats.describe(column) for column in matrix.T]
    values: dict[str, Any] = {"steps": steps, "mean": [d.mean for d in found], "std_ddof1": [d.std for d in found]}
    values |= {"sem": [d.sem for d in found], "t95_half": [d.t_half_width for d in found]}
    return values | {"auc_trapz_mean": stats.area_under_curve(steps, values["mean"])}


def data_quality(entry: dict[str, Any], short: str) -> dict[str, Any]:
    runs = RUNS[short]
    moving = {r.task for r in runs if r.scores.any()}
    pairs = [
        {"game": d.task[6:], "seeds": list(d.seeds), "equal_points": d.equal, "differs_at_step": d.differs_at[0]}
        for d in guard.duplicates(runs)
    ]
    return {
        "games": len({r.task for r in runs}),
        "seeds": len({r.seed for r in runs}),
        "points": max(len(r.scores) for r in runs),
        "nan": sum(int(np.isnan(r.scores).sum()) for r in runs),
        "all_zero": sorted({r.task[6:] for r in runs if r.task not in moving}),
        "duplicate_seed_pairs": pairs,
    }


POINTS: dict[str, Any] = {
    "per_game": per_game,
    "aggregate": aggregate,
    "paper_recipe": paper_recipe,
    "ranks": ranks,
    "literature": literature,
    "learning_curve": learning_curve,
    "data_quality": data_quality,
}


def check(found: Any, expected: Any, rtol: float) -> None:
    if isinstance(expected, dict):
        for name, value in expected.items():
            if value is not None:  # the file leaves some out
                check(found[name], value, rtol)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            check(a, b, rtol)
    else:
        assert found == (pytest.approx(expected, rel=rtol) if isinstance(expected, float) else expected)


def check_intervals(entry: dict[str, Any], short: str, *_: str) -> None:
    found = stats.aggregate(hns(short), tuple(entry["expected"]), reps=entry["params"]["reps"], interval="percentile")
    for name, e in entry["expected"].items():
        assert found[name].estimate == pytest.approx(e["point"], rel=1e-12)
        assert found[name].low == pytest.approx(e["lo"], abs=e["tol_other_stream_lo"])
        assert found[name].high == pytest.approx(e["hi"], abs=e["tol_other_stream_hi"])


def check_improvement(entry: dict[str, Any], *_: str) -> None:
    e, tolerance = entry["expected"], entry["tol_other_stream"]
    found = stats.probability_of_improvement(hns("harmony"), hns("dreamerv3"))
    assert found.overall.estimate == pytest.approx(e["point"], rel=1e-12)
    for reps in (2000, 50_000):
        overall = stats.probability_of_improvement(
            hns("harmony"), hns("dreamerv3"), reps=reps, interval="percentile"
        ).overall
        assert overall.low == pytest.approx(e[f"lo_{reps}"], abs=tolerance)
        assert overall.high == pytest.approx(e[f"hi_{reps}"], abs=tolerance)
    per_task = {task[6:]: value for task, value in zip(TASKS, found.per_task.tolist(), strict=True)}
    check(per_task, e["per_task"], 1e-12)


def check_profile(entry: dict[str, Any], short: str, *_: str) -> None:
    e, tolerance = entry["expected"], entry["tol_other_stream"]
    found = stats.performance_profile(hns(short), e["tau"], interval="percentile")
    assert found.low is not None and found.high is not None
    np.testing.assert_allclose(found.share, e["score_distribution"], rtol=1e-12)
    np.testing.assert_allclose(found.task_share, e["average_score_distribution"], rtol=1e-12)
    np.testing.assert_allclose(found.low, e["lo"], atol=tolerance)
    np.testing.assert_allclose(found.high, e["hi"], atol=tolerance)


def check_curve(entry: dict[str, Any], short: str) -> None:
    e, tolerance = entry["expected"], entry["tol_other_stream"]
    steps, matrices = evaluation_matrices(RUNS[short], TASKS)
    where = [steps.index(step) for step in e["steps"]]
    scaled = [REFERENCES[t].normalise(m[:, where]) for m, t in zip(matrices, TASKS, strict=True)]
    found = stats.curve(e["steps"], scaled, "iqm", interval="percentile")
    for name, wanted in (("iqm", "iqm"), ("mean", "mean_hns"), ("median", "median_hns")):
        estimate = stats.curve(e["steps"], scaled, name, reps=100).estimate
        np.testing.assert_allclose(estimate, e[wanted], rtol=entry["rtol"])
    np.testing.assert_allclose(found.low, e["lo"], atol=tolerance)
    np.testing.assert_allclose(found.high, e["hi"], atol=tolerance)


SPREADS: dict[str, Any] = {
    "ci": check_intervals,
    "poi": check_improvement,
    "profile": check_profile,
    "sample_efficiency_iqm": check_curve,
}


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["id"] for entry in ENTRIES])
def test_the_public_functions_give_the_reference(entry: dict[str, Any]) -> None:
    kind, *place = entry["id"].split("/")
    if kind in SPREADS:
        SPREADS[kind](entry, *place)
    else:
        check(POINTS[kind](entry, *place), entry["expected"], entry.get("rtol", 1e-12))
