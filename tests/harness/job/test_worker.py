"""What runs inside a job, with the stand-in for training and, where Slurm is asked, for scontrol."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.contract.lease import Lease
from agent.contract.run_folder import RunDir
from agent.contract.variables import ENDS_AT, JOB_ID, QUEUE_AGAIN, RESTARTS
from harness.study.folder import Launch, Study, new_launch
from harness.study.grid import expand
from harness.study.grid_file import load_grid
from harness.study.plan import write_configs, write_plan
from harness.study.profiles import Profile

BASE, HARMONY = "catch/dreamerv3/seed-0", "catch/harmony_dreamerv3/seed-0"


class Job:
    """A job of two runs, as Slurm would start it."""

    def __init__(self, tree: Path, folder: Path, mode: str) -> None:
        grid = folder / "tiny.yaml"
        grid.write_text("tasks: [catch]\npreset: debug\nseeds: 1\n")
        runs = expand(load_grid(str(grid)))
        self.study = Study(folder / "runs" / "tiny")
        with self.study.lock():
            write_plan(self.study, "tiny", runs, {})
        write_configs(self.study, runs)
        processes = 1 if mode == "vmap" else 2
        pack = {"runs": [BASE, HARMONY], "mode": mode, "processes": processes}
        profile = Profile(gpus=0).model_dump(mode="json")
        self.launch: Launch = new_launch(self.study, {"code": str(tree), "profile": profile, "packs": [pack]})
        self.tree, self.asked = tree, folder / "asked"
        programs = folder / "bin"
        programs.mkdir()
        (programs / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {self.asked}\n')
        (programs / "scontrol").chmod(0o755)
        self.environ = {**os.environ, "PYTHONPATH": str(tree), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def behave(self, run: str, **words: Any) -> None:
        (self.run(run).path / "behave.json").write_text(json.dumps(words))

    def run(self, name: str) -> RunDir:
        return self.study.run(name)

    def start(self, restarts: int = 0) -> subprocess.Popen[str]:
        program = f"from harness.job.worker import run_pack; run_pack({str(self.launch.pack_file(0))!r})"
        environ = {**self.environ, JOB_ID: "5", RESTARTS: str(restarts), QUEUE_AGAIN: "scontrol requeue 5"}
        return subprocess.Popen([sys.executable, "-c", program], env=environ, stderr=subprocess.PIPE, text=True)

    def attempt(self, name: str, number: int = 1) -> dict[str, Any]:
        return json.loads((self.run(name).attempts / str(number) / "attempt.json").read_text())


@pytest.fixture
def make_job(tree: Path, tmp_path: Path) -> Callable[[str], Job]:
    return lambda mode: Job(tree, tmp_path, mode)


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_before_time_is_up_all_runs_checkpoint_and_the_job_asks_to_run_again(make_job: Callable[[str], Job]) -> None:
    job = make_job("process")
    for name in (BASE, HARMONY):
        job.behave(name, sleep=0.3)
    worker = job.start()
    wait_for(lambda: all(job.run(name).checkpoint.exists() for name in (BASE, HARMONY)))
    worker.send_signal(signal.SIGUSR2)
    wait_for(job.asked.exists)
    assert job.asked.read_text() == "requeue 5\n"
    worker.send_signal(signal.SIGTERM)  # as Slurm ends a job that it queues again
    worker.communicate(timeout=60)
    assert [job.attempt(name)["reason"] for name in (BASE, HARMONY)] == ["stopped", "stopped"]
    for name in (BASE, HARMONY):
        job.behave(name)
    again = job.start(restarts=1)
    again.communicate(timeout=60)
    assert again.returncode == 0
    assert job.attempt(HARMONY, 2)["env_steps_before"] == job.attempt(HARMONY)["env_steps_after"] > 0
    assert [job.attempt(name, 2)["reason"] for name in (BASE, HARMONY)] == ["done", "done"]


def test_one_process_serves_all_runs_of_a_vmapped_pack(make_job: Callable[[str], Job]) -> None:
    job = make_job("vmap")
    worker = job.start()
    worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert job.attempt(BASE)["pid"] == job.attempt(HARMONY)["pid"]
    logs = [job.run(name).attempts / "1" / "stdout.log" for name in (BASE, HARMONY)]
    assert logs[0].samefile(logs[1])


def test_a_broken_run_is_not_tried_again_by_its_own_job_and_fails_it(make_job: Callable[[str], Job]) -> None:
    job = make_job("process")
    job.behave(BASE, fail="it is broken")
    for restarts in (0, 1):
        worker = job.start(restarts)
        worker.communicate(timeout=60)
        assert worker.returncode == 1
    assert job.run(BASE).attempt_numbers() == job.run(HARMONY).attempt_numbers() == [1]
    assert job.attempt(BASE)["reason"] == "code_error"
    assert job.run(HARMONY).result.exists()


def test_a_job_that_gets_nowhere_does_not_queue_itself_for_ever(make_job: Callable[[str], Job]) -> None:
    job = make_job("process")
    job.behave(BASE, sleep=600)
    worker = job.start(restarts=1)
    wait_for(job.run(BASE).status.exists)
    os.kill(job.attempt(BASE)["pid"], signal.SIGSTOP)  # as a process that does not get to a checkpoint
    worker.send_signal(signal.SIGUSR2)
    time.sleep(0.5)
    os.kill(job.attempt(BASE)["pid"], signal.SIGKILL)
    error = worker.communicate(timeout=60)[1]
    assert worker.returncode == 1
    assert "not queued again: it got no further than its last checkpoint" in error
    assert not job.asked.exists()
    assert job.run(HARMONY).attempt_numbers() == []


def later_launch(job: Job, runs: list[str], *, submitted: bool) -> Launch:
    """A resubmission of runs of the job, which Slurm took or refused."""
    data = {key: getattr(job.launch.data, key) for key in ("code", "profile")}
    launch = new_launch(job.study, {**data, "packs": [{"runs": runs, "mode": "process", "processes": len(runs)}]})
    arrays = [{"name": "later", "submitted": time.time(), "numbers": [0]}] if submitted else []
    (launch.folder / "jobs.json").write_text(json.dumps({"jobs": {"0": "6"} if submitted else {}, "arrays": arrays}))
    return launch


@pytest.mark.parametrize("submitted", [True, False])
def test_a_job_that_runs_again_leaves_a_run_to_the_launch_that_has_it_now(
    make_job: Callable[[str], Job], submitted: bool
) -> None:
    job = make_job("process")
    later_launch(job, [BASE], submitted=submitted)
    job.start(restarts=1).communicate(timeout=60)
    assert job.run(HARMONY).result.exists()
    assert job.run(BASE).attempt_numbers() == ([] if submitted else [1])


def test_a_run_held_elsewhere_does_not_keep_the_others_of_its_job_waiting(make_job: Callable[[str], Job]) -> None:
    job = make_job("process")
    with Lease.claim(job.run(BASE)).kept():
        worker = job.start()
        wait_for(job.run(HARMONY).result.exists)
        assert worker.poll() is None
        later_launch(job, [BASE], submitted=True)
        worker.communicate(timeout=60)
    assert worker.returncode == 1
    assert job.run(BASE).attempt_numbers() == []


def test_a_job_cancelled_while_it_checkpoints_before_time_is_up_is_not_queued_again(
    make_job: Callable[[str], Job],
) -> None:
    job = make_job("process")
    for name in (BASE, HARMONY):
        job.behave(name, sleep=0.3)
    worker = job.start()
    wait_for(lambda: all(job.run(name).checkpoint.exists() for name in (BASE, HARMONY)))
    for name in (BASE, HARMONY):
        os.kill(job.attempt(name)["pid"], signal.SIGSTOP)  # as a checkpoint that takes its time
    worker.send_signal(signal.SIGUSR2)
    time.sleep(0.5)
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    for name in (BASE, HARMONY):
        os.kill(job.attempt(name)["pid"], signal.SIGCONT)
    worker.communicate(timeout=60)
    assert worker.returncode == 1
    assert not job.asked.exists()


def test_a_job_whose_time_runs_out_while_it_checkpoints_is_queued_again(make_job: Callable[[str], Job]) -> None:
    job = make_job("process")
    job.environ[ENDS_AT] = str(int(time.time()) + 20)
    for name in (BASE, HARMONY):
        job.behave(name, sleep=0.3)
    worker = job.start()
    wait_for(lambda: all(job.run(name).checkpoint.exists() for name in (BASE, HARMONY)))
    worker.send_signal(signal.SIGUSR2)
    worker.send_signal(signal.SIGTERM)
    wait_for(job.asked.exists)
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=60)
