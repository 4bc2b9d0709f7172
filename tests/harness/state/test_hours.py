"""Device-hours: estimated, spent, wasted."""

import os
from pathlib import Path
from typing import Any

import pytest

from agent.contract.files import write_json
from agent.contract.records import EstimateRecord, Result, Status, write_record
from agent.contract.run_folder import RunDir, RunKey, write_status
from harness.command import parse
from harness.state import hours
from harness.study.folder import Study
from harness.study.grid import Run, configure, expand
from harness.study.grid_file import load_grid
from harness.study.plan import write_configs, write_plan
from harness.study.profiles import Profile


def record(run: RunDir, **changes: Any) -> Path:
    """Record an attempt of an hour on a GPU that two runs shared; changes of None take a key away."""
    number, folder = run.new_attempt()
    body: dict[str, Any] = {
        "attempt": number, "launch": "1", "device": "NVIDIA H100 80GB HBM3", "gpus": 1, "pack": 2, "started": 1000.0,
        "ended": 4600.0, "device_seconds": 1800.0, "lost_s": 0.0, "reason": "done",
    }  # fmt: skip
    body = {key: value for key, value in (body | changes).items() if value is not None}
    write_json(folder / "attempt.json", body)
    return folder


def finish(run: RunDir, steps: int) -> None:
    key = RunKey.of(run.path)
    planned = {p.key: p.config_hash for p in Study(run.path.parents[2]).planned()}
    result = Result(env_steps=steps, frames=steps, updates=0, final_score=None, config_hash=planned[key])
    write_record(run.result, result)


@pytest.fixture
def study(tmp_path: Path) -> tuple[Study, list[Run]]:
    study = Study(tmp_path / "runs" / "catch")
    runs = expand(configure(load_grid("catch"), parse(["agent.run.steps=6000"], {})))
    with study.lock():
        write_plan(study, "catch", runs, {})
    write_configs(study, runs)
    return study, runs


def test_an_estimate_needs_one_finished_run_of_the_kind(study: tuple[Study, list[Run]]) -> None:
    folder, runs = study
    nothing = hours.estimate(runs, hours.measured(folder.path.parent), 1)
    assert (nothing.measured, nothing.unknown) == (0, 4)
    assert "not known before one run of this kind has finished" in hours.text(nothing, Profile(walltime_min=60), 4)
    run = folder.run(runs[0].name)
    record(run)
    finish(run, 6000)
    found = hours.estimate(runs, hours.measured(folder.path.parent), 2)
    assert found.hours == pytest.approx(4 * 0.5)
    assert hours.text(found, Profile(walltime_min=60), 4) == (
        "GPU-hours: about 2.00 (from 1 finished runs of this kind); at most 4 by walltime"
    )


def test_a_plan_keeps_what_its_runs_were_expected_to_take(study: tuple[Study, list[Run]]) -> None:
    folder, runs = study
    assert folder.plan().estimate == EstimateRecord(hours=None, known_hours=0.0, measured=0, unknown=4)
    record(folder.run(runs[0].name))
    finish(folder.run(runs[0].name), 6000)
    rates = hours.measured(folder.path.parent)
    other = Study(folder.path.with_name("other"))
    other.path.mkdir()
    for part in (runs[:1], runs):
        write_plan(other, "catch", part, {}, lambda fresh: hours.estimate(fresh, rates, 2))
    assert other.plan().estimate == EstimateRecord(hours=2.0, known_hours=2.0, measured=1, unknown=0)


def test_only_runs_on_this_type_of_gpu_count(study: tuple[Study, list[Run]]) -> None:
    folder, runs = study
    record(folder.run(runs[0].name))
    finish(folder.run(runs[0].name), 6000)
    assert hours.estimate(runs, hours.measured(folder.path.parent, "h100"), 2).measured == 1
    assert hours.estimate(runs, hours.measured(folder.path.parent, "a100"), 2).measured == 0


def test_other_settings_are_another_kind_and_other_tasks_methods_and_lengths_are_not() -> None:
    first, *others = expand(load_grid("atari100k"))
    assert {run.kind for run in others if run.task != "atari_chopper_command"} == {first.kind}
    assert expand(load_grid("atari100k_smoke"))[0].kind != first.kind  # it evaluates more often


def test_wasted_hours_are_told_by_cause(study: tuple[Study, list[Run]]) -> None:
    folder, runs = study
    run = folder.run(runs[0].name)
    record(run, lost_s=1200.0, reason="preempted")
    record(run, lost_s=600.0, reason="gpu_oom")
    record(run)
    total = hours.spent([run])
    assert total.hours == pytest.approx(1.5)
    assert dict(total.wasted) == {"preempted": pytest.approx(1 / 6), "gpu_oom": pytest.approx(1 / 12)}


def test_an_attempt_without_an_end_counts_to_its_last_sign_of_life(study: tuple[Study, list[Run]]) -> None:
    folder, runs = study
    run = folder.run(runs[0].name)
    attempt = record(run, ended=None, device_seconds=None, lost_s=None, reason=None)
    (attempt / "stdout.log").write_text("")
    os.utime(attempt / "stdout.log", (2800, 2800))
    run.checkpoint.mkdir()
    write_json(run.checkpoint / "latest.json", {"env_steps": 10})
    os.utime(run.checkpoint / "latest.json", (1900, 1900))
    write_status(run, Status())
    os.utime(run.status, (2700, 2700))
    total = hours.spent([run])
    assert total.hours == pytest.approx(1800 / 2 / 3600)
    assert dict(total.wasted) == {"lost": pytest.approx(900 / 2 / 3600)}
