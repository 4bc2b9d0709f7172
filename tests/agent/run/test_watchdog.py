"""An environment that never comes back from a step: its run ends with a reason, and a stop is heard."""

import contextlib
import os
import signal
import time

import pytest

from agent import train
from agent.contract import run_folder
from agent.contract.run_folder import RunDir
from agent.envs import inside
from agent.run.stop import StopFlag
from tests.agent.sleepers import trainer


def fallen_asleep(process):
    assert process.stdout is not None
    for line in process.stdout:
        if line == "asleep\n":
            return time.monotonic()
    raise AssertionError(process.communicate())


@pytest.mark.slow
def test_an_environment_that_does_not_come_back_ends_its_run_with_the_reason_environment(tmp_path):
    process = trainer(tmp_path, "gym_Step-v0", "env.processes=off", "env.hang_s=3")
    began = fallen_asleep(process)
    _, err = process.communicate(timeout=60)
    assert 2 < time.monotonic() - began < 15
    assert process.returncode == train.FAILED
    run = RunDir(tmp_path / "run")
    status = run_folder.read_status(run)
    assert status is not None and (status.state, status.reason) == ("failed", "environment")
    assert "an environment of gym_Step-v0 has not come back from a step for 4 s (env.hang_s=3)" in (
        status.message or ""
    )
    assert (status.message or "-") in err and "Traceback" not in err
    assert not run.lease.exists()


@pytest.mark.slow
def test_a_stop_is_heard_though_an_environment_does_not_come_back(tmp_path):
    process = trainer(tmp_path, "gym_Step-v0", "env.processes=off", "env.hang_s=0")
    fallen_asleep(process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == train.STOPPED, err
    run = RunDir(tmp_path / "run")
    status = run_folder.read_status(run)
    assert status is not None and (status.state, status.reason) == ("stopped", "stopped")
    assert "has not come back from a step" in (status.message or "")
    assert not run.lease.exists()


def test_a_step_is_under_way_until_it_ends_and_each_is_another():
    owner = object()
    with inside.step_of(owner):
        (first,) = inside.under_way()
    second = first
    with contextlib.suppress(ZeroDivisionError), inside.step_of(owner):
        (second,) = inside.under_way()
        _ = 1 / 0
    assert first[0] is second[0] is owner and first != second
    assert not inside.under_way()


def test_a_signal_is_heard_before_its_handler_has_run():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    try:
        stop = StopFlag()
        assert not stop.heard()
        signal.signal(signal.SIGTERM, lambda number, frame: None)  # as if the handler had not come to its turn
        os.kill(os.getpid(), signal.SIGTERM)
        assert not stop()
        assert stop.heard() and stop.heard()
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
