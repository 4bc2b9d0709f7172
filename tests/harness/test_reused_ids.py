"""Two launches of one study whose jobs have the same id, as after a cluster was set up anew."""

import os
from pathlib import Path

import pytest

from agent.contract.lease import Lease
from harness import cancel
from harness.backend.base import write_jobs
from harness.command import parse
from harness.state.survey import overview
from harness.state.vocabulary import State
from harness.study.folder import Study, new_launch
from harness.study.grid import configure, expand
from harness.study.grid_file import load_grid
from harness.study.plan import write_configs, write_plan
from harness.study.records import ArrayRecord


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Two runs of Catch, each of which has job 7 of its launch."""
    made = Study(tmp_path / "runs" / "catch")
    runs = expand(configure(load_grid("catch"), parse(["seeds=1"], {})))
    with made.lock():
        write_plan(made, "configs/grids/catch.yaml", runs, {})
        write_configs(made, runs)
        for run in runs:
            pack = {"runs": [run.name], "mode": "vmap", "processes": 1}
            launch = new_launch(made, {"code": "/code", "profile": {"kind": "slurm"}, "packs": [pack]})
            array = ArrayRecord(name=f"{launch.data.name}-0", submitted=1.0, numbers=[0])
            write_jobs(launch, {0: "7"}, [array])
    return made


@pytest.fixture
def calls(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm has the second launch's job 7 waiting; the calls of scancel are written down."""
    name = study.launches()[1].data.name
    for program, script in (
        ("squeue", f"echo '7|7|{name}-0|PENDING|Priority||2026-11-22T12:00:00|N/A|0|0|'"),
        ("sacct", "exit 0"),
        ("scancel", f'echo "$@" >> {tmp_path}/calls'),
    ):
        path = tmp_path / program
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "calls"


def test_the_later_launch_has_the_job_and_the_earlier_ones_is_gone(study: Study, calls: Path) -> None:
    for runs in (study.planned(), study.planned()[::-1]):
        found = {state.run.name: state.label for state in overview(study, runs).runs}
        assert found == {"catch/dreamerv3/seed-0": "cancelled", "catch/harmony_dreamerv3/seed-0": "queued"}


def test_cancelling_a_run_whose_job_is_gone_leaves_the_job_that_has_its_id(study: Study, calls: Path) -> None:
    words = [f"study={study.name}", f"runs={study.path.parent}"]
    with Lease.claim(study.run("catch/dreamerv3/seed-0")).kept():  # it has outlived its cluster
        assert [state.state for state in overview(study).runs] == [State.RUNNING, State.QUEUED]
        assert cancel.main([*words, "methods=dreamerv3"]) == 0
        assert study.launches()[0].cancelled(0) == {"catch/dreamerv3/seed-0"}
        assert not calls.exists()
    assert cancel.main([*words, "methods=harmony"]) == 0
    assert calls.read_text() == "7\n"
