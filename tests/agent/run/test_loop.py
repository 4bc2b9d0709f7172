"""The training loop on the debug preset and Catch: real environments, real updates, small numbers."""

import contextlib
import io
import json

import jax
import numpy as np
import pytest

from agent.contract import files, run_folder, sealed
from agent.run.loop import Loop
from agent.run.pack import Pack
from tests.agent.loops import config_of, lose_lease, same_arrays, scores_of, state_of, train


def test_a_run_ends_with_its_result_scores_and_counts(whole):
    result = files.read_json(whole.run.result)
    assert result is not None
    assert (result["env_steps"], result["frames"], result["updates"]) == (120, 120, 15)
    assert [row["env_steps"] for row in scores_of(whole)] == [60]
    assert all(len(row["episodes"]) == 2 and row["lengths"] == [7, 7] for row in scores_of(whole))
    status = run_folder.read_status(whole.run)
    assert status is not None
    assert (status.state, status.env_steps, status.total_env_steps) == ("done", 120, 120)
    assert not whole.run.lease.exists()
    assert not list((whole.run.checkpoint).glob("replay/*"))


@pytest.mark.parametrize("stop_at", [60, 83])
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one_to_the_bit(whole, programs, tmp_path, stop_at):
    outcomes, members = train(programs, tmp_path, [config_of()], stop_at=stop_at)
    assert outcomes == ["stopped"]
    status = run_folder.read_status(members[0].run)
    assert status is not None
    assert (status.state, status.reason) == ("stopped", "stopped")
    outcomes, members = train(programs, tmp_path, [config_of()])
    assert outcomes == ["done"]
    assert members[0].claim.attempt == 2
    assert same_arrays(members[0], whole)
    assert state_of(members[0])[1]["updates"] == state_of(whole)[1]["updates"]
    assert scores_of(members[0]) == scores_of(whole)


def test_rows_after_the_last_checkpoint_are_replayed_not_repeated(whole, programs, tmp_path):
    _, members = train(programs, tmp_path, [config_of()], stop_at=60)
    run = members[0].run
    index = json.loads((run.checkpoint / "latest.json").read_text())
    files.append_row(run.scores, {"env_steps": 60, "mean": 99.0})
    with open(run.metrics, "ab") as file:
        file.write(b'{"env_steps": 6')
    outcomes, members = train(programs, tmp_path, [config_of()])
    assert outcomes == ["done"]
    assert index["rows"]["scores.jsonl"]["rows"] == 0
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
    rows = [row for member in members for row in files.read_rows(member.run.metrics)[0]]
    assert rows and not [row for row in rows if "nan" in row.values()]  # of the one that an update left out
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
    pack.device = jax.tree.map(
        lambda leaf: leaf.at[index].set(jax.numpy.nan) if leaf.dtype == "float32" and leaf.ndim > 1 else leaf,
        pack.device,
    )


def test_a_run_that_is_no_longer_finite_ends_alone(programs, tmp_path, monkeypatch, capsys):
    original = Pack.update

    def update(pack, steps, *, metrics):
        if pack.size == 2 and steps[0] == 81:
            poison(pack, 1)
        original(pack, steps, metrics=metrics)

    monkeypatch.setattr(Pack, "update", update)
    outcomes, members = train(programs, tmp_path, [config_of(), config_of(seed=1)])
    assert outcomes == ["done", "failed"]
    status = run_folder.read_status(members[1].run)
    assert status is not None
    assert status.reason == "nan"
    assert "not finite at step" in (status.message or "")
    assert not members[1].run.result.exists()
    assert "nan: losses or gradients are not finite" in capsys.readouterr().err


def test_a_broken_environment_ends_its_run_alone(programs, tmp_path, monkeypatch):
    original = Loop._step_environments

    def step(loop):
        for member in loop.active:
            if member.config.seed == 1 and member.steps == 90:
                monkeypatch.setattr(member.envs, "step_wait", lambda: 1 / 0)
        return original(loop)

    monkeypatch.setattr(Loop, "_step_environments", step)
    outcomes, members = train(programs, tmp_path, [config_of(seed=1), config_of()])
    assert outcomes == ["failed", "done"]
    status = run_folder.read_status(members[0].run)
    assert status is not None
    assert "ZeroDivisionError" in (status.message or "")


def test_a_full_disk_ends_the_run_with_its_reason_and_keeps_the_checkpoint(programs, tmp_path, monkeypatch):
    _, members = train(programs, tmp_path, [config_of()], stop_at=83)
    before = (members[0].run.checkpoint / "latest.json").read_text()

    class Full(io.BytesIO):
        def write(self, data):
            if self.tell() + len(data) > 1000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    @contextlib.contextmanager
    def full(path):
        with files.replacing(path):
            yield Full()

    monkeypatch.setattr(sealed, "replacing", full)
    outcomes, members = train(programs, tmp_path, [config_of()])
    assert outcomes == ["failed"]
    status = run_folder.read_status(members[0].run)
    assert status is not None
    assert status.reason == "disk_full"
    assert (members[0].run.checkpoint / "latest.json").read_text() == before
    monkeypatch.undo()
    assert train(programs, tmp_path, [config_of()])[0] == ["done"]


def test_a_run_taken_over_by_another_process_stops_writing(programs, tmp_path, monkeypatch):
    original = Loop._round

    def round_(loop):
        if loop.active[0].steps == 90:
            lose_lease(loop)
        original(loop)

    monkeypatch.setattr(Loop, "_round", round_)
    outcomes, members = train(programs, tmp_path, [config_of()])
    assert outcomes == ["failed"]
    assert members[0].steps == 91
    assert json.loads(members[0].run.lease.read_text())["owner"] == "another"
    assert not members[0].run.result.exists()
