"""DreamerV3's own score files beside a study: `json.gz` with episodes, and `scores.jsonl` per run."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from agent.contract.words import ConfigError
from analysis import report
from analysis.data.score_files import read_scores
from tests.analysis.studies import rows

RECORD = {"task": "atari100k_pong", "method": "dreamerv3", "seed": "0", "xs": [4000, 391000, 399000], "ys": [1, 2, 4.0]}


def write(path: Path, *records: Any) -> str:
    path.write_bytes(gzip.compress(json.dumps(list(records)).encode()))
    return str(path)


def test_episodes_are_scored_by_those_that_end_in_the_window(tmp_path: Path) -> None:
    path = write(tmp_path / "s.json.gz", RECORD, RECORD | {"seed": 1, "xs": [395000.0, 395000, 7], "ys": [1, 3, None]})
    found = [(run.method, run.task, run.seed, run.window, run.final()) for run in read_scores(f"theirs:{path}")]
    window = (390_000, 400_000)
    assert found == [("theirs", "atari100k_pong", 0, window, 3.0), ("theirs", "atari100k_pong", 1, window, 2.0)]
    long = write(tmp_path / "l.json.gz", RECORD | {"xs": [1, 980_001, 999_000]})
    assert [(run.window, run.final()) for run in read_scores(long)] == [((975_000, 1_000_000), 3.0)]


def test_scores_at_the_same_frames_are_evaluations(tmp_path: Path) -> None:
    path = write(tmp_path / "s.json.gz", RECORD, RECORD | {"seed": 1, "method": "ppo"})
    assert [(r.method, r.window, r.final()) for r in read_scores(path)] == [("dreamerv3", None, 4), ("ppo", None, 4)]
    assert [run.method for run in read_scores(f"x:{path}")] == ["x dreamerv3", "x ppo"]


@pytest.mark.parametrize("folder", ["20240101T000000-atari100k_pong-big-3", "atari100k_pong/big/seed-3"])
def test_a_folder_of_runs_is_read_by_its_names(tmp_path: Path, folder: str) -> None:
    run = tmp_path / "logdir" / folder
    run.mkdir(parents=True)
    lines = [{"step": 395_000, "episode/score": 7.0}, {"step": 399_000, "episode/score": 9.0, "episode/length": 3}]
    (run / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4')
    found = read_scores(str(tmp_path / "logdir"))
    assert [(r.method, r.task, r.seed, r.final()) for r in found] == [("big", "atari100k_pong", 3, 8.0)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "a list of runs with task, method, seed, xs and ys is expected"),
        ([3], "run 0: no 'task'"),
        ([RECORD | {"ys": [1]}], "run 0: xs and ys must be lists of one length"),
        ([RECORD | {"ys": 1}], "run 0: xs and ys must be lists of one length"),
        ([RECORD | {"seed": "a"}], "run 0: 'a' is no seed"),
        ([RECORD | {"xs": [-1, 2, 3]}], "run 0: 1 at -1 frames is no score"),
        ([RECORD | {"ys": ["1", 2, 3]}], "run 0: '1' at 4000 frames is no score"),
        ([RECORD | {"xs": [], "ys": []}], "no scores in it"),
    ],
)
def test_what_is_none_is_refused_by_place(tmp_path: Path, data: Any, message: str) -> None:
    (tmp_path / "s.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=message):
        read_scores(str(tmp_path / "s.json"))


@pytest.mark.usefixtures("own_folder")
def test_they_stand_beside_the_published_ones() -> None:
    records = [RECORD | {"seed": seed, "xs": [4000 + seed, 391000, 399000]} for seed in range(2)]
    path = write(Path("s.json.gz"), *records)
    assert report.main(["reps=200", "--no-figures", "tasks=pong", f"extra=theirs:{path}"]) == 0
    assert [(r["method"], r["n"], r["mean"]) for r in rows("per_task.csv")][-1] == ("theirs", "2", "3.0")
    assert "- Added: theirs:s.json.gz: sha256 " in Path("report/report.md").read_text()
