"""The training loop on the debug preset and Catch: real environments, real updates, small numbers."""

import json
import threading

import jax
import numpy as np
import pytest

from agent import checkpoint, evaluate, files, record, replay
from agent.config import make_config
from agent.evaluate import Evaluation
from agent.loop import Loop
from agent.member import Member
from agent.pack import Pack, start
from agent.programs import Programs
from agent.record import RunDir

SETTINGS = {"task": "catch", "run.steps": 120, "run.eval_every": 60, "env.catch.size": 8}


def config_of(seed=0, harmony=True, overlap="auto", more=None):
    given = {"seed": seed, "harmony": harmony, "run.eval_overlap": overlap}
    return make_config(["debug"], {**SETTINGS, **given, **(more or {})})


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Compiled once for every test of the same shapes."""
    config = config_of()
    member = Member(config, RunDir(tmp_path_factory.mktemp("spec")))
    spec = member.spec
    member.end("stopped")
    return Programs(config, spec, replay.replay_spec(config, spec))


class StopAt:
    """Asks to stop when a run has reached a step."""

    def __init__(self, env_steps):
        self.env_steps = env_steps
        self.member: Member | None = None

    def __call__(self):
        return self.member is not None and self.member.steps >= self.env_steps


def train(programs, folder, configs, *, stop_at=None, on_device=True):
    members = [Member(c, RunDir(folder / f"{c.seed}-{c.harmony}"), pack=len(configs)) for c in configs]
    stop = StopAt(stop_at or 10**9)
    stop.member = members[0]
    return Loop(members, programs, on_device=on_device, stopped=stop).run(), members


def state_of(member):
    saved = checkpoint.load(member.run.checkpoint)
    assert saved is not None
    return saved


def same_arrays(member, expected):
    """Compare the last checkpoints of two runs, to the bit; the environments' state is pickled and may differ."""
    arrays, others = state_of(member)[0], state_of(expected)[0]
    assert arrays.keys() == others.keys()
    for name, array in others.items():
        if name != "host/envs":
            np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    return True


def scores_of(member):
    rows, problems = files.read_rows(member.run.scores)
    assert not problems
    return [{k: v for k, v in row.items() if k not in ("walltime_s", "evaluation_s")} for row in rows]


@pytest.fixture(scope="module")
def whole(programs, tmp_path_factory):
    """One run from beginning to end."""
    outcomes, members = train(programs, tmp_path_factory.mktemp("whole"), [config_of()])
    assert outcomes == ["done"]
    return members[0]


def test_a_run_ends_with_its_result_scores_and_counts(whole):
    result = files.read_json(whole.run.result)
    assert result is not None
    assert (result["env_steps"], result["frames"], result["updates"]) == (120, 120, 15)
    assert [row["env_steps"] for row in scores_of(whole)] == [60]
    assert all(len(row["episodes"]) == 2 and row["lengths"] == [7, 7] for row in scores_of(whole))
    status = record.read_status(whole.run)
    assert status is not None
    assert (status.state, status.env_steps, status.total_env_steps) == ("done", 120, 120)
    assert not whole.run.lease.exists()
    assert not list((whole.run.checkpoint).glob("replay/*"))


@pytest.mark.parametrize("stop_at", [60, 83])
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one_to_the_bit(whole, programs, tmp_path, stop_at):
    outcomes, members = train(programs, tmp_path, [config_of()], stop_at=stop_at)
    assert outcomes == ["stopped"]
    status = record.read_status(members[0].run)
    assert status is not None
    assert (status.state, status.reason) == ("stopped", "stopped")
    outcomes, members = train(programs, tmp_path, [config_of()])
    assert outcomes == ["done"]
    assert members[0].attempt == 2
    assert same_arrays(members[0], whole)
    assert state_of(members[0])[1]["updates"] == state_of(whole)[1]["updates"]
    assert scores_of(members[0]) == scores_of(whole)


class Held:
    """Evaluations that do not play before they are let go, or are asked to stop."""

    def __init__(self, monkeypatch):
        self.let_go = threading.Event()
        self._play = evaluate.evaluate
        monkeypatch.setattr(evaluate, "evaluate", self)

    def __call__(self, configs, env_steps, policy, *, stopped):
        while not self.let_go.wait(0.01):
            if stopped():
                raise evaluate.Stopped
        return self._play(configs, env_steps, policy, stopped=stopped)


def test_training_goes_on_during_an_overlapping_evaluation_and_its_scores_are_the_same(
    whole, programs, tmp_path, monkeypatch
):
    held = Held(monkeypatch)
    original = Loop._round

    def round_(loop):
        if loop.going[0].steps == 100:
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
        if loop.going[0].steps == 120:
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
    status = record.read_status(members[0].run)
    assert status is not None
    assert "ZeroDivisionError" in (status.message or "")


def lose_lease(loop):
    holder = json.loads(loop.going[0].run.lease.read_text()) | {"owner": "another"}
    loop.going[0].run.lease.write_text(json.dumps(holder))
    loop.beat.now()


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
        if loop.going[0].steps == 90:
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
        if loop.going[0].steps == 90 and not held.let_go.is_set():
            monkeypatch.setattr(loop.going[0].envs, "step_wait", lambda: 1 / 0)
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
        if loop.going[0].config.seed == 1 and loop.going[0].steps == 90 and not held.let_go.is_set():
            monkeypatch.setattr(loop.going[0].envs, "step_wait", lambda: [][0])
            held.let_go.set()
        return original(loop)

    held = Held(monkeypatch)
    monkeypatch.setattr(evaluate, "make_envs", make_envs)
    monkeypatch.setattr(Loop, "_step_environments", step)
    outcomes, members = train(programs, tmp_path, [config_of(seed, overlap="on") for seed in (1, 3, 0)])
    assert outcomes == ["failed", "failed", "done"]
    said = [record.read_status(member.run) for member in members]
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
    status = record.read_status(members[0].run)
    assert status is not None
    assert "SystemExit(3)" in (status.message or "")


def test_rows_after_the_last_checkpoint_are_replayed_not_repeated(whole, programs, tmp_path):
    _, members = train(programs, tmp_path, [config_of()], stop_at=60)
    run = members[0].run
    index = json.loads((run.checkpoint / "latest.json").read_text())
    files.append_row(run.scores, {"env_steps": 60, "mean": 99.0})
    with open(run.metrics, "ab") as file:
        file.write(b'{"env_steps": 6')
    outcomes, members = train(programs, tmp_path, [config_of()])
    assert outcomes == ["done"]
    assert index["rows"]["scores"] == 0
    assert scores_of(members[0]) == scores_of(whole)
    assert files.read_rows(run.metrics)[1] == []


def test_runs_of_a_pack_compute_what_they_compute_alone(whole, programs, tmp_path):
    outcomes, members = train(programs, tmp_path, [config_of(), config_of(seed=3, harmony=False)])
    assert outcomes == ["done"] * 2
    arrays, _ = state_of(members[0])
    alone, _ = state_of(whole)
    for name, array in alone.items():
        if name.startswith("state"):
            np.testing.assert_allclose(arrays[name], array, atol=2e-4, rtol=2e-4, err_msg=name)
    other, _ = state_of(members[1])
    assert any(not np.allclose(other[name], array, atol=1e-3) for name, array in alone.items() if "kernel" in name)
    assert scores_of(members[0]) == scores_of(whole)


@pytest.mark.slow
def test_a_pack_of_five_seeds_and_both_methods_scores_as_the_ten_single_runs(programs, tmp_path):
    more = {"run.train_ratio": 8}
    configs = [config_of(seed, harmony, "auto", more) for seed in range(5) for harmony in (False, True)]
    outcomes, together = train(programs, tmp_path / "pack", configs)
    assert outcomes == ["done"] * 10
    for config, member in zip(configs, together, strict=True):
        _, alone = train(programs, tmp_path / "single", [config])
        assert scores_of(member) == scores_of(alone[0]), member.run.path.name
        (arrays, _), (expected, _) = state_of(member), state_of(alone[0])
        for name, array in expected.items():
            if name.startswith("state"):
                np.testing.assert_allclose(arrays[name], array, atol=1e-3, rtol=1e-3, err_msg=name)


def test_members_at_different_steps_finish_together_in_one_pack(whole, programs, tmp_path):
    _, members = train(programs, tmp_path, [config_of()], stop_at=83)
    outcomes, members = train(programs, tmp_path, [config_of(), config_of(seed=1)])
    assert outcomes == ["done", "done"]
    assert [member.steps for member in members] == [120, 120]
    assert [member.updates for member in members] == [15, 15]
    assert scores_of(members[0]) == scores_of(whole)
    np.testing.assert_allclose(
        state_of(members[0])[0]["state.actor.out.bias"], state_of(whole)[0]["state.actor.out.bias"], atol=2e-4
    )


def test_replay_in_host_memory_learns_the_same(whole, programs, tmp_path):
    outcomes, members = train(programs, tmp_path, [config_of()], on_device=False)
    assert outcomes == ["done"]
    arrays, _ = state_of(members[0])
    for name, array in state_of(whole)[0].items():
        if name.startswith("state"):
            np.testing.assert_allclose(arrays[name], array, atol=1e-5, rtol=1e-5, err_msg=name)


def poison(pack, index):
    """Make a run's parameters NaN."""
    pack.state = jax.tree.map(
        lambda leaf: leaf.at[index].set(jax.numpy.nan) if leaf.dtype == "float32" and leaf.ndim > 1 else leaf,
        pack.state,
    )


def test_a_run_that_is_no_longer_finite_ends_alone(programs, tmp_path, monkeypatch, capsys):
    original = Pack.update

    def update(pack, *, metrics):
        if pack.size == 2 and pack.members[0].steps == 81:
            poison(pack, 1)
        original(pack, metrics=metrics)

    monkeypatch.setattr(Pack, "update", update)
    outcomes, members = train(programs, tmp_path, [config_of(), config_of(seed=1)])
    assert outcomes == ["done", "failed"]
    status = record.read_status(members[1].run)
    assert status is not None
    assert status.reason == "nan"
    assert "not finite at step" in (status.message or "")
    assert not members[1].run.result.exists()
    assert "nan: losses or gradients are not finite" in capsys.readouterr().err


def test_a_broken_environment_ends_its_run_alone(programs, tmp_path, monkeypatch):
    original = Loop._step_environments

    def step(loop):
        for member in loop.going:
            if member.config.seed == 1 and member.steps == 90:
                monkeypatch.setattr(member.envs, "step_wait", lambda: 1 / 0)
        return original(loop)

    monkeypatch.setattr(Loop, "_step_environments", step)
    outcomes, members = train(programs, tmp_path, [config_of(seed=1), config_of()])
    assert outcomes == ["failed", "done"]
    status = record.read_status(members[0].run)
    assert status is not None
    assert "ZeroDivisionError" in (status.message or "")


def test_a_full_disk_ends_the_run_with_its_reason_and_keeps_the_checkpoint(programs, tmp_path, monkeypatch):
    _, members = train(programs, tmp_path, [config_of()], stop_at=83)
    before = (members[0].run.checkpoint / "latest.json").read_text()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    outcomes, members = train(programs, tmp_path, [config_of()])
    assert outcomes == ["failed"]
    status = record.read_status(members[0].run)
    assert status is not None
    assert status.reason == "disk_full"
    assert (members[0].run.checkpoint / "latest.json").read_text() == before
    monkeypatch.undo()
    assert train(programs, tmp_path, [config_of()])[0] == ["done"]


def test_a_run_taken_over_by_another_process_stops_writing(programs, tmp_path, monkeypatch):
    original = Loop._round

    def round_(loop):
        if loop.going[0].steps == 90:
            lose_lease(loop)
        original(loop)

    monkeypatch.setattr(Loop, "_round", round_)
    outcomes, members = train(programs, tmp_path, [config_of()])
    assert outcomes == ["failed"]
    assert members[0].steps == 91
    assert json.loads(members[0].run.lease.read_text())["owner"] == "another"
    assert not members[0].run.result.exists()


def test_a_damaged_checkpoint_is_refused_by_name(programs, tmp_path):
    _, members = train(programs, tmp_path, [config_of()], stop_at=83)
    state = next(members[0].run.checkpoint.glob("state-*.npz"))
    state.write_bytes(state.read_bytes()[:1000])
    member = Member(config_of(), members[0].run)
    with pytest.raises(files.RecordError, match=r"state-.*npz: cannot be read"):
        start(member, programs)
    member.end("stopped")
