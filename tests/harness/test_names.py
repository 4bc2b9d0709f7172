"""Names by which frozen code is started: an interface between versions of the project."""

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.contract import variables
from harness.backend import pool, slot, slurm_submit
from harness.study.folder import Launch
from harness.study.frozen_code import STARTED_BY
from harness.study.records import LaunchRecord, ProfileRecord


def test_submitted_jobs_name_the_worker_by_this_path() -> None:
    """Submitit stores the function by reference: a job that waits for days must find it in the code of its launch."""
    for module in (slurm_submit, slot):
        assert (module.run_pack.__module__, module.run_pack.__qualname__) == ("harness.job.worker", "run_pack")
        assert module.run_pack.__module__ in STARTED_BY


def test_a_pool_is_started_by_this_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def start(command: list[str], **_: Any) -> subprocess.Popen[bytes]:
        started.append(command)
        return begin([sys.executable, "-c", ""])

    begin = subprocess.Popen[bytes]
    monkeypatch.setattr(subprocess, "Popen", start)
    here = ProfileRecord(kind="local")
    data = LaunchRecord(id="1", name="hb", created=0.0, code=str(tmp_path), profile=here, packs=[])
    pool.start(Launch(tmp_path, data))
    assert started[0][1:] == ["-m", "harness.backend.pool", str(tmp_path)]
    assert started[0][2] in STARTED_BY


def test_each_variable_of_the_project_is_spelled_once() -> None:
    spelled = Counter[str]()
    for folder in ("agent", "harness", "analysis"):
        for path in (Path(__file__).parents[2] / folder).rglob("*.py"):
            spelled.update(re.findall(r"HARMONY_BENCH_\w+", path.read_text()))
    assert spelled == {value: 1 for name, value in vars(variables).items() if name.isupper()}


@pytest.mark.parametrize("name", ["agent.train", "agent.envs.check", "harness.backend.pool", "analysis.data.summary"])
def test_programs_that_are_started_by_name_are_there(name: str) -> None:
    assert importlib.util.find_spec(name) is not None
