"""Damaged files of a run or study folder: each command names them, costs their run only, and shows no traceback."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.contract.files import append_row
from agent.contract.records import AttemptRecord, Holder, Provenance, Result, Status, write_record
from agent.contract.rows import Rows
from agent.contract.run_folder import read_result, write_status
from harness import cancel, launch, logs, resubmit, status
from harness.command import parse
from harness.state.mend import damaged, mend
from harness.state.survey import overview
from harness.state.vocabulary import State
from harness.study.folder import Study, new_launch
from harness.study.grid import configure, expand
from harness.study.grid_file import load_grid
from harness.study.plan import read_configs, write_configs, write_plan
from harness.study.records import CancelRecord, PoolJob, PoolRecord
from tests.harness.local import Capture

DONE, ENDED = "catch/dreamerv3/seed-0", "catch/harmony_dreamerv3/seed-0"


def make(runs: Path) -> Study:
    """A study whose pool has ended with one run complete and one killed."""
    study = Study(runs / "catch")
    made = expand(configure(load_grid("catch"), parse(["seeds=1"], {})))
    profile = {"kind": "local", "name": "local", "gpus": 0, "cpus": 1, "walltime_min": 60}
    with study.lock():
        write_plan(study, "catch", made, {"code_tree": "tree"})
        write_configs(study, made)
        packs = [{"runs": [run.name], "mode": "vmap"} for run in made]
        code = {"code": str(study.code / "tree"), "tree": {"code_tree": "tree"}}
        begun = new_launch(study, {"profile": profile, "packs": packs, "grid": "catch", "jobs_at_once": 1, **code})
    (study.code / "tree").mkdir(parents=True)
    ended = {number: PoolJob(state="ended", job_id="local-1", ended=3.0, exit_code=0) for number in range(2)}
    pool = PoolRecord(pid=1, host="elsewhere", beat=3.0, jobs=ended, ended=3.0)
    write_record(begun.folder / "pool.json", pool)
    write_record(begun.cancel_file(0), CancelRecord(runs=[]))
    for run in made:
        folder = study.run(run.name)
        number, attempt = folder.new_attempt()
        record = AttemptRecord(attempt=number, launch=begun.id, started=1.0, ended=2.0, exit_code=-9, reason="killed")
        write_record(attempt / "attempt.json", record)
        (attempt / "stderr.log").write_text("some words\n")
        append_row(folder.scores, {"env_steps": 10, "frames": 10, "mean": 1.0, "metric": "return"})
        write_record(folder.provenance, Provenance(packages={}, device="cpu", config_hash=run.config_hash))
        state = "done" if run.name == DONE else "running"
        write_status(folder, Status(state=state, env_steps=10, total_env_steps=20, attempt=number, started=1.0))
        if run.name == DONE:
            result = Result(env_steps=10, frames=10, updates=1, final_score=1.0, config_hash=run.config_hash)
            write_record(folder.result, result)
    return study


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "runs"
    make(folder)
    return folder


@pytest.fixture
def study(template: Path, tmp_path: Path) -> Study:
    shutil.copytree(template, tmp_path / "runs", symlinks=True)
    return Study(tmp_path / "runs" / "catch")


def _changed(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return damage


def _replaced(make_other: Callable[[Path], object]) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        path.unlink()
        make_other(path)

    return damage


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "zeros": lambda path: path.write_bytes(bytes(50)),
    "list": lambda path: path.write_text("[1, 2]"),
    "null": lambda path: path.write_text("null"),
    "no key": lambda path: path.write_text("{}"),
    "strings": _changed(lambda data: dict.fromkeys(data, "x")),
    "numbers": _changed(lambda data: dict.fromkeys(data, 7)),
    "nothing": _changed(lambda data: dict.fromkeys(data)),
    "objects": _changed(lambda data: {key: {"a": [data]} for key in data}),
    "NaN": lambda path: path.write_text(json.dumps({key: float("nan") for key in json.loads(path.read_text())})),
    "huge": lambda path: path.write_text(json.dumps(dict.fromkeys(json.loads(path.read_text()), 10**400))),
    "deep": lambda path: path.write_text("[" * 100_000),
    "no UTF-8": lambda path: path.write_bytes(b'{"a": "\xff\xfe"}'),
    "folder": _replaced(Path.mkdir),
    "link to nowhere": _replaced(lambda path: path.symlink_to("nowhere")),
    "link to itself": _replaced(lambda path: path.symlink_to(path.name)),
    "pipe": _replaced(os.mkfifo),
}
EVERYDAY = ("empty", "list", "no key", "strings", "deep", "folder", "link to nowhere")
SOME = [name if name in EVERYDAY else pytest.param(name, marks=pytest.mark.slow) for name in DAMAGES]
LAUNCH_FILES = ("launch.json", "pool.json", "cancel/0000.json", "packs/0000.json")


def commands(study: Study, capsys: Capture) -> dict[str, tuple[int, str]]:
    """Run every command and return code and output; none may raise or show a traceback."""
    words = [f"runs={study.path.parent}", "study=catch"]
    found: dict[str, tuple[int, str]] = {}
    for name, main, more in (
        ("status", status.main, []),
        ("json", status.main, ["--json"]),
        ("logs", logs.main, []),
        ("launch", launch.main, ["grid=catch", "seeds=1", "cluster=local", "--dry-run"]),
        ("resubmit", resubmit.main, ["--dry-run"]),
        ("cancel", cancel.main, []),
    ):
        capsys.readouterr()
        code = main([*words, *more])
        out = capsys.readouterr()
        found[name] = code, out.out + out.err
        assert "Traceback" not in found[name][1], name
    return found


def label(study: Study, name: str) -> str:
    return next(state.label for state in overview(study).runs if state.run.name == name)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_a_run_costs_that_run_only_and_is_named(study: Study, damage: str, capsys: Capture) -> None:
    for file in ("status.json", "attempts/1/attempt.json"):
        path = study.run(ENDED).path / file
        kept = path.read_bytes()
        DAMAGES[damage](path)
        assert label(study, DONE) == "done"
        assert label(study, ENDED) == "damaged", file
        found = commands(study, capsys)
        assert found["status"][0] == 1 and f"damaged: {path}" in found["status"][1]
        assert f"{path}" in found["resubmit"][1] and "would be kept aside" in found["resubmit"][1]
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        path.write_bytes(kept)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_result_counts_only_when_it_is_whole(study: Study, damage: str, capsys: Capture) -> None:
    path = study.run(DONE).result
    DAMAGES[damage](path)
    assert label(study, DONE) == "damaged"
    assert f"{path}" in commands(study, capsys)["status"][1]


@pytest.mark.parametrize("damage", SOME)
@pytest.mark.parametrize("file", LAUNCH_FILES)
def test_a_damaged_file_of_a_launch_never_makes_a_traceback_nor_a_second_submission(
    study: Study, file: str, damage: str, capsys: Capture
) -> None:
    (made,) = study.launches()
    DAMAGES[damage](made.folder / file)
    found = commands(study, capsys)
    if file == "launch.json":
        assert f"{made.folder / file}" in found["status"][1]
        assert "would be resubmitted" not in found["resubmit"][1] and found["resubmit"][0] == 1
        assert "not submitted again" in found["launch"][1] and found["launch"][0] in (0, 1)
    assert label(study, DONE) == "done"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_plan_ends_each_command_with_one_line_and_code_2(study: Study, damage: str, capsys: Capture) -> None:
    path = study.path / "plan.json"
    DAMAGES[damage](path)
    for name, (code, text) in commands(study, capsys).items():
        assert code == 2 and text.startswith(f"{path}: ") and len(text.splitlines()) == 1, (name, text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config_hash": "0" * 16}, "was planned"),
        ({"final_score": 2.0}, "the last row of scores.jsonl is 1.0"),
        ({"env_steps": 9}, "env_steps is 9|at step 9"),
        ({"env_steps": 11}, "says done at 10"),
    ],
)
def test_a_result_that_contradicts_plan_scores_or_status_is_damaged(
    study: Study, change: dict[str, object], words: str
) -> None:
    path = study.run(DONE).result
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    (state,) = [state for state in overview(study).runs if state.run.name == DONE]
    assert state.label == "damaged" and state.diagnosis is not None
    assert any(part in state.diagnosis.message for part in words.split("|"))


def test_a_result_does_not_count_when_a_score_it_vouches_for_was_changed(study: Study) -> None:
    run = study.run(DONE)
    scores = Rows(run.scores)
    scores.go_on()
    for step, mean in ((5, 0.25), (10, 1.0)):
        scores.append({"env_steps": step, "frames": step, "mean": mean, "metric": "return"})
    run.result.write_text(json.dumps(json.loads(run.result.read_text()) | {"rows": {"scores.jsonl": scores.mark()}}))
    assert read_result(run) is not None
    run.scores.write_text(run.scores.read_text().replace("0.25", "0.75"))
    (state,) = [state for state in overview(study).runs if state.run.name == DONE]
    assert state.label == "damaged" and state.diagnosis is not None
    assert "its first 2 rows are not those that the run has written" in state.diagnosis.message


@pytest.mark.parametrize("damage", SOME)
def test_a_damaged_lease_neither_blocks_a_run_for_ever_nor_stops_a_command(study: Study, damage: str) -> None:
    run = study.run(ENDED)
    holder = Holder(owner="a", pid=1, host="elsewhere")
    write_record(run.lease, holder)
    DAMAGES[damage](run.lease)
    assert status.main([f"runs={study.path.parent}", "study=catch", "--json"]) in (0, 1)
    states = {state.run.name: state.state for state in overview(study).runs}
    assert states[ENDED] in (State.RUNNING, State.ENDED)  # its heartbeat is of this moment
    for age in (-(10**6), 10**6):
        when = time.time() - age
        os.utime(run.lease, (when, when), follow_symlinks=False)
        assert label(study, ENDED) == "killed"


@pytest.mark.parametrize("damage", SOME)
def test_resubmit_keeps_what_is_damaged_aside_and_loses_nothing(study: Study, damage: str, capsys: Capture) -> None:
    run, (planned,) = study.run(DONE), [p for p in study.planned() if p.name == DONE]
    paths = [run.status, run.result, run.provenance, run.attempts / "1" / "attempt.json"]
    for path in paths:
        DAMAGES[damage](path)
    mend(run, planned.config_hash, really=False)
    assert capsys.readouterr().out.count("would be kept aside") == 4
    mend(run, planned.config_hash, really=True)
    assert list(damaged(run, planned.config_hash)) == []
    for path in paths:
        assert not os.path.lexists(path)
        assert len([name for name in os.listdir(path.parent) if name.startswith(f"{path.name}.damaged-")]) == 1


@pytest.mark.parametrize("text", ["", "a: [", "[" * 5000, "seed: 0\n", "\x00"])
def test_a_configuration_that_is_not_the_plans_is_made_from_another_runs_or_refused_by_name(
    study: Study, text: str
) -> None:
    study.run(ENDED).config.write_text(text)
    found, odd = read_configs(study, study.planned())
    assert not odd and [run.config_hash for run in found] == [run.config_hash for run in study.planned()]
    study.run(DONE).config.write_text("batch_size: 3\n")
    found, odd = read_configs(study, study.planned())
    assert not found and set(odd) == {DONE, ENDED}
    assert str(study.run(DONE).config) in odd[DONE]


def test_a_changed_setting_is_refused_though_all_else_is_right(study: Study) -> None:
    for name in (DONE, ENDED):
        path = study.run(name).config
        path.write_text(path.read_text().replace("batch_size: ", "batch_size: 1"))
    found, odd = read_configs(study, study.planned())
    assert not found and "is not the configuration that was planned" in odd[ENDED]
