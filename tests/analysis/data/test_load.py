"""Reading run folders: sound ones, damaged ones, and many."""

import hashlib
import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from agent.contract import files, run_folder
from agent.contract.run_folder import RunDir, RunKey
from agent.contract.words import ConfigError
from analysis.data.load import LoadedStudy, load_study
from tests.analysis.studies import write_plan, write_run, write_study

LEFT_OUT = "is expected; this evaluation is left out"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_study(tmp_path / "runs" / "small", tasks=("atari_pong",), seeds=2)
    return tmp_path / "runs" / "small"


def run_dir(study: Path, method: str = "dreamerv3", seed: int = 0) -> RunDir:
    return RunDir(RunKey("atari_pong", method, seed).folder(study))


def reasons(loaded: LoadedStudy, path: Path) -> list[str]:
    return [p.reason for p in loaded.problems if p.path.startswith(str(path))]


def state(loaded: LoadedStudy, method: str = "dreamerv3", seed: int = 0) -> str:
    (found,) = [r.state for r in loaded.runs if r.key == RunKey("atari_pong", method, seed)]
    return found


def test_every_run_is_loaded_once_with_its_scores(study: Path) -> None:
    loaded = load_study(study)
    assert len(loaded.runs) == 4 and not loaded.problems
    run = loaded.runs[0]
    assert run.scores.frames.tolist() == [1600, 3200, 4800, 6400]
    assert run.scores.complete and run.state == "done"
    assert len(loaded.configs) == 2  # one per method: the seed is no difference


def test_runs_of_the_plan_without_a_folder_are_missing(study: Path) -> None:
    write_plan(study, [RunKey("atari_pong", "dreamerv3", k) for k in range(4)])
    loaded = load_study(study)
    assert [r.key.seed for r in loaded.runs if r.state == "missing"] == [2, 3]


def test_a_truncated_last_line_is_reported_and_the_rest_kept(study: Path) -> None:
    run = run_dir(study)
    text = run.scores.read_bytes()
    run.scores.write_bytes(text[:-20])
    loaded = load_study(study)
    assert reasons(loaded, run.scores) and "interrupted write" in loaded.problems[0].reason + loaded.problems[0].path
    assert loaded.runs[0].scores.frames.tolist() == [1600, 3200, 4800]


def test_an_empty_scores_file_of_a_finished_run_is_damage(study: Path) -> None:
    run = run_dir(study)
    run.scores.write_bytes(b"")
    loaded = load_study(study)
    assert state(loaded) == "damaged"
    assert reasons(loaded, run.scores) == ["the run is complete but has no evaluation; left out"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"frames": "8000", "mean": 1.0}, f"frames is '8000', a whole number {LEFT_OUT}"),
        ({"frames": 8000, "mean": "nan"}, f"the score is 'nan', a finite number {LEFT_OUT}"),
        ({"frames": 8000, "mean": None}, f"the score is None, a finite number {LEFT_OUT}"),
        ({"frames": 2**60, "mean": 1.0}, f"frames is {2**60}, a whole number {LEFT_OUT}"),
        ({"frames": 8000, "mean": 10**400}, f"the score is 1{'0' * 56}..., a finite number {LEFT_OUT}"),
        (
            {"frames": 8000, "mean": 3.0, "episodes": ["3"]},
            "its episodes are not all finite numbers; the stated mean counts",
        ),
        ({"frames": True, "mean": 1.0}, f"frames is True, a whole number {LEFT_OUT}"),
        ({"frames": 6400, "mean": 1.0}, "a second evaluation at 6400 frames; the first one counts"),
        (
            {"frames": 8000, "mean": 3.0, "episodes": [1.0, 2.0]},
            "its mean says 3 but its episodes average 1.5; the stated mean counts",
        ),
    ],
)  # fmt: skip
def test_an_odd_evaluation_is_listed_by_place_and_reason(study: Path, row: dict[str, object], reason: str) -> None:
    run = run_dir(study)
    with open(run.scores, "a") as file:
        file.write(json.dumps(row) + "\n")
    run.result.write_text(json.dumps({**json.loads(run.result.read_text()), "final_score": None}))
    loaded = load_study(study)
    assert [(p.path, p.reason) for p in loaded.problems] == [(f"{run.scores}, evaluation 5", reason)]
    assert loaded.runs[0].scores.frames.tolist()[:4] == [1600, 3200, 4800, 6400]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("status.json", "{", "not JSON"),
        ("status.json", '{"state": "happy"}', "state is 'happy'"),
        ("status.json", '{"env_steps": "many"}', ""),
        ("status.json", "[1]", "an object is expected"),
        ("result.json", "", "is empty"),
        ("provenance.json", "null", "an object is expected"),
        ("config.yaml", "a: [", "not YAML"),
        ("config.yaml", "- 1\n", "a mapping is expected"),
        ("config.yaml", "harmony: !!bool x\n", "not YAML"),
        ("config.yaml", 'seed: !!int ""\n', "not YAML"),
        ("config.yaml", "task: atari_pong\nharmony: true\n", "no line 'seed: K'"),
        ("config.yaml", "task: atari_boxing\nseed: 0\n", "says task atari_boxing, seed 0, unlike its folder"),
        ("config.yaml", "task: atari_pong\nseed: 0\nharmony: true\n", "says method harmony_dreamerv3, unlike"),
        ("config.yaml", "&a {b: *a}", "not YAML"),
        ("config.yaml", "{" * 2000, "not YAML"),
        ("config.yaml", "seed: 0\ntask: 2020-01-01\n", "says task datetime.date(2020, 1, 1), seed 0, unlike"),
        ("metrics.jsonl", '{"frames":1e9,"loss/image":1}\n', "frames is not a whole number in 1 of 1 rows"),
        ("metrics.jsonl", '{"frames":4,"loss/image":"nan"}\n', "loss/image is not a finite number in 1 of 1 rows"),
        ("scores.jsonl", "\x00\x01\n" * 3, "a damaged line"),
        ("attempts/1/attempt.json", "{]", "not JSON"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_listed_and_never_a_traceback(study: Path, name: str, text: str, reason: str) -> None:
    path = run_dir(study).path / name
    path.write_text(text)
    loaded = load_study(study)
    assert any(reason in f"{p.path} {p.reason}" for p in loaded.problems if p.path.startswith(str(path)))
    assert len(loaded.runs) == 4


@pytest.mark.parametrize(("name", "now"), [("scores.jsonl", "damaged"), ("metrics.jsonl", "done")])
def test_rows_that_a_result_vouches_for_and_that_were_changed_are_listed(study: Path, name: str, now: str) -> None:
    run = run_dir(study)
    for path in (run.metrics, run.scores):
        path.touch()
        path.write_text(path.read_text() or '{"frames": 4, "loss/image": 1.5}\n')
    marks: dict[str, object] = {}
    for path in (run.metrics, run.scores):
        text = path.read_bytes()
        marks[path.name] = {"rows": text.count(b"\n"), "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    run.result.write_text(json.dumps(json.loads(run.result.read_text()) | {"rows": marks}))
    assert not load_study(study).problems
    changed = run.path / name
    first = re.search(r"\d", changed.read_text())
    assert first is not None
    text = changed.read_text()
    changed.write_text(text[: first.start()] + str((int(first[0]) + 1) % 10) + text[first.end() :])
    loaded = load_study(study)
    assert any("are not those that the run has written" in p.reason for p in loaded.problems)
    assert state(loaded) == now
    (found,) = [r for r in loaded.runs if r.key == RunKey.of(run.path)]
    assert now == "damaged" or not found.series_names


def test_attempts_that_are_no_folder_are_listed(study: Path) -> None:
    run = run_dir(study)
    shutil.rmtree(run.attempts)
    run.attempts.write_text("")
    loaded = load_study(study)
    assert reasons(loaded, run.attempts) == ["cannot be read (Not a directory)"] and state(loaded) == "done"


@pytest.mark.parametrize(("name", "reason"), [("seed-00", "is spelt seed-0"), ("a b/seed-0", "method 'a b': only")])
def test_a_folder_that_is_not_named_as_runs_are_is_listed(study: Path, name: str, reason: str) -> None:
    folder = study / "atari_pong" / ("dreamerv3" if "/" not in name else "") / name
    folder.mkdir(parents=True)
    loaded = load_study(study)
    assert len(loaded.runs) == 4
    (found,) = reasons(loaded, folder)
    assert found.startswith(reason) and found.endswith("; the run is left out")


STRAY = ("small/atari_pong/dreamerv3/seed-0", "seed-0", "atari_pong/seed-0", "atari_pong/dreamerv3/old/seed-0")


@pytest.mark.parametrize("place", [*STRAY, "atari_pong/dreamerv3/seed_0"])
def test_a_run_in_another_place_is_listed(study: Path, place: str) -> None:
    run = run_dir(study)
    (study / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(run.path, study / place)
    loaded = load_study(study)
    assert len(loaded.runs) == 4
    assert [p.reason for p in loaded.problems] == ["holds a run but is not TASK/METHOD/seed-K; the run is left out"]
    shutil.rmtree(study / "atari_pong")
    (study / "plan.json").unlink()
    if not place.startswith("atari_pong"):
        with pytest.raises(ConfigError, match=f"{place} looks like a run in another place"):
            load_study(study)


def test_a_folder_without_config_is_left_out_by_name(study: Path) -> None:
    run = run_dir(study)
    run.config.unlink()
    loaded = load_study(study)
    assert state(loaded) == "damaged"
    assert reasons(loaded, run.path) == ["no config.yaml: what it computed is unknown; the run is left out"]


@pytest.mark.parametrize("size", [2**26, pytest.param(2**30, marks=pytest.mark.slow)])
def test_an_endless_line_of_garbage_costs_no_memory(study: Path, size: int) -> None:
    import tracemalloc

    run = run_dir(study)
    with open(run.scores, "r+b") as file:
        file.truncate(size)  # sparse: zeros without a line's end
    tracemalloc.start()
    loaded = load_study(study)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * 2**20
    assert reasons(loaded, run.scores) and loaded.runs[0].scores.frames.tolist() == [1600, 3200, 4800, 6400]


def test_a_damaged_plan_is_listed(study: Path) -> None:
    run_folder.plan_path(study).write_text("{")
    loaded = load_study(study)
    assert "what was planned is unknown" in loaded.problems[0].reason and len(loaded.runs) == 4
    run_folder.plan_path(study).write_text('{"runs": [{"task": "catch"}, 3]}')
    assert [p.reason for p in load_study(study).problems] == ["runs.0.method is missing; what was planned is unknown"]
    run_folder.plan_path(study).write_text('{"runs": [{"task": "../x", "method": "m", "seed": 0, "config_hash": "?"}]}')
    assert load_study(study).problems[0].reason.startswith("runs.0: task '../x': only letters")


def test_a_second_call_reads_only_what_changed(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import analysis.data.load

    read: list[Path] = []
    original = analysis.data.load.summarise_all

    def counting(paths: list[Path], configs: dict[str, object]) -> dict[Path, dict[str, object]]:
        read.extend(paths)
        return original(paths, configs)

    monkeypatch.setattr(analysis.data.load, "summarise_all", counting)
    first = load_study(study)
    assert len(read) == 4
    read.clear()
    again = load_study(study)
    assert not read
    assert [r.scores.scores.tolist() for r in again.runs] == [r.scores.scores.tolist() for r in first.runs]
    assert again.configs == first.configs
    files.append_row(run_dir(study).scores, {"frames": 8000, "mean": 9.0})
    assert load_study(study).runs[0].scores.scores[-1] == 9.0
    assert read == [run_dir(study).path]


def test_a_broken_or_unwritable_cache_changes_nothing(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_study(study)
    (cache,) = (tmp_path / "cache" / "harmony-bench").iterdir()
    cache.write_text("{broken")
    assert len(load_study(study).runs) == len(first.runs)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert len(load_study(study).runs) == len(first.runs)


def test_success_rates_are_the_score_where_they_are_recorded(tmp_path: Path) -> None:
    study = tmp_path / "runs" / "mw"
    write_run(study, RunKey("metaworld_hammer", "dreamerv3", 0), success=True)
    (run,) = load_study(study).runs
    assert run.scores.unit == "success" and run.scores.scores.tolist() == [0.2, 0.4, 0.6, 0.8]


def test_metrics_are_averaged_in_bins(tmp_path: Path) -> None:
    study = tmp_path / "runs" / "one"
    write_run(study, RunKey("catch", "harmony_dreamerv3", 0), metrics=True)
    (run,) = load_study(study).runs
    frames, values = run.training(["loss/reward"])["loss/reward"]
    assert set(values) == {2.0} and len(frames) <= 61 and (np.diff(frames) > 0).all()
    image = run.training()["loss/image"]  # rows at steps 0, 32, 64, …; bins of ⌈6272/60⌉ = 105 frames hold one each
    assert image[0][1] == 157.5 and image[1][1] == 100 / 33


def test_a_study_that_is_not_there_names_the_nearest(study: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'small'"):
        load_study(study.parent / "smal")
    os.makedirs(study.parent / "empty")
    with pytest.raises(ConfigError, match="holds no runs"):
        load_study(study.parent / "empty")


def test_many_runs_are_read_by_several_processes_with_the_same_result(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import analysis.data.summary

    (run_dir(study).path / "status.json").write_text("{")
    alone = load_study(study)
    monkeypatch.setattr(analysis.data.summary, "SECONDS_PER_WORKER", 1e-3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.chdir(study.parent)
    together = load_study(Path("small"))
    assert [r.summary | {"problems": []} for r in together.runs] == [r.summary | {"problems": []} for r in alone.runs]
    assert together.configs == alone.configs
    assert [p.path for p in together.problems] == ["small/atari_pong/dreamerv3/seed-0/status.json"]


def test_a_running_run_without_a_heartbeat_is_silent(tmp_path: Path) -> None:
    study = tmp_path / "runs" / "live"
    write_run(study, RunKey("catch", "dreamerv3", 0), state="running", heartbeat=time.time())
    write_run(study, RunKey("catch", "dreamerv3", 1), state="running", heartbeat=time.time() - 3600)
    for _ in range(2):  # the second time from the cache
        assert [r.state for r in load_study(study).runs] == ["running", "silent"]


def test_done_without_a_result_is_damage(study: Path) -> None:
    run_dir(study).result.unlink()
    loaded = load_study(study)
    assert state(loaded) == "damaged"
    assert reasons(loaded, run_dir(study).status) == ["says done, but there is no result.json; the run is left out"]


def test_a_finished_run_that_lost_its_last_evaluations_is_left_out_by_name(study: Path) -> None:
    run = run_dir(study)
    lines = run.scores.read_text().splitlines(keepends=True)
    last = json.loads(lines[-1])["mean"]
    result = json.loads(run.result.read_text())
    run.result.write_text(json.dumps({**result, "final_score": last}))
    assert load_study(study).runs[0].state == "done"
    run.scores.write_text("".join(lines[:-1]))
    loaded = load_study(study)
    assert loaded.runs[0].state == "damaged"
    [reason] = reasons(loaded, run.scores)
    assert f"but result.json says {last:g}: evaluations are missing or changed; the run is left out" in reason
