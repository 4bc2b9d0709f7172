"""Results as tidy frames: the values of the report, and CSV that gives every float back."""

import csv
import doctest
import io
from pathlib import Path

import pandas as pd
import pytest

from agent.contract.run_folder import RunKey
from analysis.data import scores
from analysis.data.load import load_study
from analysis.findings import tidy
from analysis.findings.results import Settings, compute
from tests.analysis.studies import write_run


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_evaluations_have_a_row_each() -> None:
    runs = scores.bundled()
    frame = tidy.evaluations(runs)
    assert list(frame.columns) == ["method", "task", "seed", "frames", "score", "complete", "unit"]
    assert len(frame) == sum(len(run.frames) for run in runs)
    run = runs[77]
    same = frame[(frame.method == run.method) & (frame.task == run.task) & (frame.seed == run.seed)]
    assert same.frames.tolist() == run.frames.tolist() and same.score.tolist() == run.scores.tolist()
    assert len(tidy.evaluations([])) == 0


def test_training_series_have_a_row_per_bin(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / "s", RunKey("catch", "harmony_dreamerv3", seed), metrics=True)
    runs = load_study(tmp_path / "s").runs
    frame = tidy.training(runs)
    assert list(frame.columns) == ["method", "task", "seed", "name", "frames", "value"]
    assert set(frame.name) == set(runs[0].series_names) and set(frame.seed) == {0, 1}
    part = tidy.training(runs, ["harmony/reward_weight"])
    assert set(part.name) == {"harmony/reward_weight"} and part.value.iloc[0] == 1.0
    assert part[part.seed == 1].frames.tolist() == runs[1].training()["harmony/reward_weight"][0].tolist()
    assert len(tidy.training([])) == len(tidy.training(runs, ["loss/nothing"])) == 0


def test_the_frames_hold_the_numbers_of_the_results() -> None:
    found = compute(scores.bundled(), Settings(reps=200))
    table = tidy.aggregates(found).set_index(["method", "metric"])
    interval = found.groups[0].aggregates["dreamerv3_published"]["iqm"]
    assert table.loc[("dreamerv3_published", "iqm"), ["estimate", "low", "high"]].tolist() == [
        interval.estimate,
        interval.low,
        interval.high,
    ]
    per_task = tidy.per_task(found)
    assert len(per_task) == 52 and per_task.n.tolist() == [5] * 52
    comparisons = tidy.comparisons(found).set_index("quantity")
    assert comparisons.estimate["wins"] == 19 and pd.isna(comparisons.low["wins"])


def test_csv_gives_every_float_back_and_leaves_unknown_numbers_blank() -> None:
    values = [0.1 + 0.2, 1e-17, 123456789.123456789, float("nan")]
    frame = pd.DataFrame({"name": ["a", "b,c", "d", "e"], "value": values})
    rows = list(csv.reader(io.StringIO(tidy.csv_text(frame))))
    assert rows[0] == ["name", "value"] and rows[2][0] == "b,c"
    assert [row[1] for row in rows[1:]] == [repr(v) for v in values[:3]] + [""]


def test_without_results_there_are_columns_all_the_same() -> None:
    empty = compute([], Settings(reps=200))
    header = "method,metric,estimate,low,high,n_runs,n_tasks,frames_from,frames,scale\n"
    assert tidy.csv_text(tidy.aggregates(empty)) == header
    assert tidy.csv_text(tidy.coverage([])).startswith("task,method,seed,state")
    assert tidy.csv_text(tidy.problems([])) == "path,reason\n"


def test_the_modules_example_holds() -> None:
    assert doctest.testmod(tidy).failed == 0
