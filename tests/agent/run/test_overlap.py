"""Evaluations played while training goes on: their scores, their end, and what becomes of them when a run ends."""

import threading

import jax
import pytest

from agent.contract import run_folder
from agent.run import evaluate
from agent.run.evaluate import Evaluation
from agent.run.loop import Loop
from tests.agent.loops import config_of, lose_lease, same_arrays, scores_of, train


class Held:
    """Evaluations that do not play before they are let go, or are asked to stop."""

    def __init__(self, monkeypatch):
        self.let_go = threading.Event()
        self._play = evaluate.evaluate
        monkeypatch.setattr(evaluate, "evaluate", self)

    def __call__(self, configs, env_steps, policy, *, stopped):
        while not self.let_go.wait(0.01):
            if stopped():
                raise evaluate.EvaluationStopped
        return self._play(configs, env_steps, policy, stopped=stopped)


def test_training_goes_on_during_an_overlapping_evaluation_and_its_scores_are_the_same(
    whole, programs, tmp_path, monkeypatch
):
    held = Held(monkeypatch)
    original = Loop._round

    def round_(loop):
        if loop.active[0].steps == 100:
            assert loop.playing is not None
            held.let_go.set()
        original(loop)

    monkeypatch.setattr(Loop, "_round", round_)
    outcomes, members = train(programs, tmp_path, [config_of(overlap="on")])
    assert outcomes == ["done"]
    assert scores_of(members[0]) == scores_of(whole)
    assert same_arrays(members[0], whole)


@pytest.mark.parametrize("pack", [1, 2])
def test_an_evaluation_in_flight_at_a_checkpoint_is_played_again_after_it(whole, programs, tmp_path, monkeypatch, pack):
    configs = [config_of(overlap="on"), config_of(seed=3, harmony=False, overlap="on")][:pack]
    with monkeypatch.context() as patch:
        Held(patch)
        outcomes, members = train(programs, tmp_path, configs, stop_at=83)
        assert outcomes == ["stopped"] * pack
        assert scores_of(members[0]) == []
    outcomes, members = train(programs, tmp_path, configs)
    assert outcomes == ["done"] * pack
    assert scores_of(members[0]) == scores_of(whole)
    assert all(len(scores_of(member)) == 1 for member in members)
    assert pack > 1 or same_arrays(members[0], whole)


def test_a_run_ends_only_when_its_last_evaluation_has_been_played(whole, programs, tmp_path, monkeypatch):
    held = Held(monkeypatch)
    original = Loop._collect

    def collect(loop, *, wait):
        if loop.active[0].steps == 120:
            assert wait
            held.let_go.set()
        return original(loop, wait=wait)

    monkeypatch.setattr(Loop, "_collect", collect)
    outcomes, members = train(programs, tmp_path, [config_of(overlap="on")])
    assert outcomes == ["done"]
    assert scores_of(members[0]) == scores_of(whole)


@pytest.mark.parametrize("overlap", ["on", "off"])
def test_an_evaluation_environment_that_breaks_ends_its_run_alone(whole, programs, tmp_path, monkeypatch, overlap):
    make = evaluate.make_envs

    def make_envs(config, env_steps):
        envs, books = make(config, env_steps)
        if config.seed == 1:
            monkeypatch.setattr(envs, "step_wait", lambda: 1 / 0)
        return envs, books

    monkeypatch.setattr(evaluate, "make_envs", make_envs)
    outcomes, members = train(programs, tmp_path, [config_of(seed=1, overlap=overlap), config_of(overlap=overlap)])
    assert outcomes == ["failed", "done"]
    assert scores_of(members[1]) == scores_of(whole)
    status = run_folder.read_status(members[0].run)
    assert status is not None
    assert "ZeroDivisionError" in (status.message or "")


@pytest.mark.parametrize("overlap", ["on", "off"])
def test_an_evaluation_of_a_run_that_was_taken_over_is_abandoned(programs, tmp_path, monkeypatch, overlap):
    held = Held(monkeypatch)
    original = Evaluation.wait

    def wait(evaluation, until):
        lose_lease(evaluation.loop)
        return original(evaluation, until)

    def play(loop, *arguments):
        begin(loop, *arguments)
        loop.playing.evaluation.loop = loop

    def round_(loop):
        if loop.active[0].steps == 90:
            lose_lease(loop)
        step(loop)

    begin, step = Loop._play, Loop._round
    monkeypatch.setattr(Loop, "_play", play)
    monkeypatch.setattr(*(Loop, "_round", round_) if overlap == "on" else (Evaluation, "wait", wait))
    outcomes, members = train(programs, tmp_path, [config_of(overlap=overlap)])
    assert outcomes == ["failed"]
    assert not held.let_go.is_set()  # it would have waited for ever
    assert members[0].steps == (91 if overlap == "on" else 60)
    assert scores_of(members[0]) == []


@pytest.mark.parametrize("pack", [1, 2])
def test_a_run_that_fails_during_its_evaluation_keeps_the_score(whole, programs, tmp_path, monkeypatch, pack):
    held = Held(monkeypatch)
    original = Loop._step_environments

    def step(loop):
        if loop.active[0].steps == 90 and not held.let_go.is_set():
            monkeypatch.setattr(loop.active[0].envs, "step_wait", lambda: 1 / 0)
            held.let_go.set()
        return original(loop)

    monkeypatch.setattr(Loop, "_step_environments", step)
    configs = [config_of(overlap="on"), config_of(seed=3, harmony=False, overlap="on")][:pack]
    outcomes, members = train(programs, tmp_path, configs)
    assert outcomes == ["failed", "done"][:pack]
    assert scores_of(members[0]) == scores_of(whole)
    assert all(len(scores_of(member)) == 1 for member in members)


def test_training_and_evaluation_environments_that_break_together_end_their_runs_alone(
    whole, programs, tmp_path, monkeypatch
):
    make, original = evaluate.make_envs, Loop._step_environments

    def make_envs(config, env_steps):
        envs, books = make(config, env_steps)
        if config.seed == 3:
            monkeypatch.setattr(envs, "step_wait", lambda: 1 / 0)
        return envs, books

    def step(loop):
        if loop.active[0].config.seed == 1 and loop.active[0].steps == 90 and not held.let_go.is_set():
            monkeypatch.setattr(loop.active[0].envs, "step_wait", lambda: [][0])
            held.let_go.set()
        return original(loop)

    held = Held(monkeypatch)
    monkeypatch.setattr(evaluate, "make_envs", make_envs)
    monkeypatch.setattr(Loop, "_step_environments", step)
    outcomes, members = train(programs, tmp_path, [config_of(seed, overlap="on") for seed in (1, 3, 0)])
    assert outcomes == ["failed", "failed", "done"]
    said = [run_folder.read_status(member.run) for member in members]
    assert [status.message.split(":")[0] for status in said[:2] if status and status.message] == [
        "IndexError",
        "ZeroDivisionError",
    ]
    assert scores_of(members[2]) == scores_of(whole)


def test_the_next_evaluation_waits_for_the_one_before(programs, tmp_path, monkeypatch):
    often = {"run.eval_every": 20}
    _, members = train(programs, tmp_path / "off", [config_of(overlap="off", more=often)])
    expected = scores_of(members[0])
    assert [row["env_steps"] for row in expected] == [60, 80, 100]
    with monkeypatch.context() as patch:
        Held(patch)
        stopped = [config_of(overlap="on", more=often)]
        outcomes, members = train(programs, tmp_path / "on", stopped, stop_at=80)  # stopped while waiting at 80
        assert outcomes == ["stopped"]
        assert members[0].steps == 80
    outcomes, members = train(programs, tmp_path / "on", [config_of(overlap="on", more=often)])
    assert outcomes == ["done"]
    assert scores_of(members[0]) == expected


def test_evaluations_overlap_by_default_only_beside_a_device_and_with_workers(monkeypatch):
    config = config_of(more={"env.processes": "on"})
    assert not evaluate.overlaps(config)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert evaluate.overlaps(config)
    assert not evaluate.overlaps(config_of(more={"env.processes": "off"}))
    assert not evaluate.overlaps(config_of(overlap="off", more={"env.processes": "on"}))


def test_a_policy_that_fails_ends_the_runs_that_were_evaluated(programs, tmp_path, monkeypatch):
    def play(*_, **__):
        raise SystemExit(3)

    monkeypatch.setattr(evaluate, "evaluate", play)
    outcomes, members = train(programs, tmp_path, [config_of()])
    assert outcomes == ["failed"]
    status = run_folder.read_status(members[0].run)
    assert status is not None
    assert "SystemExit(3)" in (status.message or "")
