"""A stop is heard everywhere: before anything was made, in random play, between compilations, in a start that hangs."""

import os
import signal
import time

import pytest

from agent import train
from agent.contract import files, run_folder
from agent.contract.run_folder import RunDir
from agent.run.loop import Loop
from agent.run.member import Member
from agent.run.pack import Pack
from agent.run.stop import StopFlag, Stopped
from tests.agent.loops import config_of, same_arrays, scores_of, state_of
from tests.agent.loops import train as train_pack
from tests.agent.sleepers import trainer

PREFILL = 60


def status_of(run):
    status = run_folder.read_status(run)
    assert status is not None
    return status


@pytest.mark.parametrize("stop_at", [1, 20, 59])
def test_a_run_stopped_in_random_play_goes_on_to_the_bit(whole, programs, tmp_path, stop_at):
    outcomes, (member,) = train_pack(programs, tmp_path, [config_of()], stop_at=stop_at)
    assert outcomes == ["stopped"]
    _, values = state_of(member)
    assert stop_at <= values["env_steps"] == member.steps < PREFILL and values["updates"] == 0
    status = status_of(member.run)
    assert (status.state, status.reason, status.env_steps) == ("stopped", "stopped", member.steps)
    assert status.message == f"asked to stop at step {member.steps}; checkpoint written"
    outcomes, (member,) = train_pack(programs, tmp_path, [config_of()])
    assert outcomes == ["done"] and same_arrays(member, whole) and scores_of(member) == scores_of(whole)


def test_random_play_is_checkpointed_as_time_passes_and_says_its_phase(whole, programs, tmp_path):
    often = config_of(more={"run.checkpoint_every_s": 1e-9})
    seen = []

    def stopped():
        loop.beat.now()
        index = files.read_json(member.run.checkpoint / "latest.json") or {"env_steps": 0}
        seen.append((status_of(member.run).phase, status_of(member.run).env_steps, index["env_steps"]))
        return member.steps >= 40

    member = Member(often, RunDir(tmp_path / "0-True"))
    loop = Loop([member], programs, on_device=True, stopped=stopped)
    assert loop.run() == ["stopped"]
    playing = [row for row in seen if row[0] == "prefill"]
    assert [row[1] for row in playing] == sorted(row[1] for row in playing) and playing[-1][1] >= 36
    assert any(0 < saved < steps for _, steps, saved in playing)
    outcomes, (member,) = train_pack(programs, tmp_path, [config_of()])
    assert outcomes == ["done"] and same_arrays(member, whole)


def test_a_stop_before_anything_was_played_leaves_a_run_that_starts_again(whole, programs, tmp_path):
    member = Member(config_of(), RunDir(tmp_path / "0-True"))
    assert Loop([member], programs, on_device=True, stopped=lambda: True).run() == ["stopped"]
    assert not (member.run.checkpoint / "latest.json").exists() and not member.run.lease.exists()
    status = status_of(member.run)
    assert (status.state, status.reason, status.message) == ("stopped", "stopped", "asked to stop before it began")
    outcomes, (member,) = train_pack(programs, tmp_path, [config_of()])
    assert outcomes == ["done"] and same_arrays(member, whole)


def test_a_pack_stopped_in_the_random_play_of_its_first_run_keeps_it_and_begins_no_other(whole, programs, tmp_path):
    configs = [config_of(), config_of(seed=1)]
    outcomes, members = train_pack(programs, tmp_path, configs, stop_at=20)
    assert outcomes == ["stopped", "stopped"]
    assert [member.steps > 0 for member in members] == [True, False]
    assert [(member.run.checkpoint / "latest.json").exists() for member in members] == [True, False]
    outcomes, members = train_pack(programs, tmp_path, configs)
    assert outcomes == ["done", "done"] and scores_of(members[0]) == scores_of(whole)


def test_a_stop_while_the_first_program_is_compiled_starts_no_other(whole, programs, tmp_path, monkeypatch):
    asked = []
    act = Pack.act
    monkeypatch.setattr(Pack, "act", lambda *arguments: (act(*arguments), asked.append(1)))
    monkeypatch.setattr(Pack, "update", lambda *_, **__: pytest.fail("an update was begun"))
    member = Member(config_of(), RunDir(tmp_path / "0-True"))
    assert Loop([member], programs, on_device=True, stopped=lambda: bool(asked)).run() == ["stopped"]
    _, values = state_of(member)
    assert values["env_steps"] == PREFILL and values["rows"]["scores.jsonl"]["rows"] == 1
    monkeypatch.undo()
    outcomes, (member,) = train_pack(programs, tmp_path, [config_of()])
    assert outcomes == ["done"] and same_arrays(member, whole) and scores_of(member) == scores_of(whole)


def test_environments_that_cannot_be_made_give_the_run_back_and_say_why(tmp_path, monkeypatch):
    run = RunDir(tmp_path)
    with pytest.raises(ValueError, match="unknown task 'atari_no_such'"):
        Member(config_of().model_copy(update={"task": "atari_no_such"}), run)
    status = status_of(run)
    assert (status.state, status.attempt, status.phase) == ("failed", 1, "ended")
    assert "unknown task 'atari_no_such'" in (status.message or "")
    assert not run.lease.exists()


def test_a_signal_interrupts_what_leaves_nothing_behind_and_only_that():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    try:
        stop = StopFlag()
        with stop.interrupts():
            pass
        with pytest.raises(Stopped), stop.interrupts():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        with pytest.raises(Stopped), stop.interrupts():
            pytest.fail("begun after a stop")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_an_environment_that_hangs_at_its_birth_does_not_keep_a_stop_from_being_heard(tmp_path, number):
    process = trainer(tmp_path, "gym_Birth-v0")
    assert process.stdout is not None and process.stdout.readline() == "asleep\n", process.communicate()
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == train.STOPPED, err
    assert "Traceback" not in err
    run = RunDir(tmp_path / "run")
    assert not run.lease.exists()
    assert (status_of(run).state, status_of(run).message) == (
        "stopped",
        "asked to stop while its environments were made",
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_the_imports_is_no_failure(tmp_path, number):
    process = trainer(tmp_path, "gym_CartPole-v1", "run.steps=1000000")
    caught = f"/proc/{process.pid}/status"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with open(caught) as file:
            (mask,) = [line.split()[1] for line in file if line.startswith("SigCgt")]
        if int(mask, 16) >> (number - 1) & 1 and int(mask, 16) >> (signal.SIGUSR2 - 1) & 1:
            break
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == train.STOPPED, err
    assert "Traceback" not in err and not (tmp_path / "run" / "lease.json").exists()
