"""Environments in numbers: resets, state, workers that die, hang or break, and the end of the parent."""

import logging
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from agent.contract.schema import EnvSettings
from agent.envs.base import EnvironmentFault, EnvironmentUnavailable
from agent.envs.registry import EVALUATION, factories
from agent.envs.state import StateError
from agent.envs.vector import VectorEnv
from tests.agent.envs.faulty import HANG, KILL, NAN, RAISE, WRONG_SHAPE, Counter, Witness
from tests.agent.envs.streams import changed, check_schema, through_a_file

WHERE = [pytest.param(False, id="in process"), pytest.param(True, id="workers"), pytest.param(2, id="two workers")]


def counters(count, **settings):
    return [partial(Counter, name=i, **settings) for i in range(count)]


def catches(count, seed=0):
    return factories("catch", EnvSettings(), seed, count)


def rollout(vector, actions):
    return [vector.step(row) for row in actions]


def assert_equal(ours, theirs):
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], f"{key} of record {index}")


def worker_ids(vector):
    return [lane.pid for lane in vector._lanes]


def drive(vector, count, action=1):
    return rollout(vector, np.full((count, len(vector)), action))


@pytest.mark.parametrize("processes", WHERE)
def test_the_first_step_resets_and_so_does_the_one_after_the_last(processes):
    with VectorEnv(counters(3, length=2), processes) as vector:
        records = drive(vector, 7)
    assert [r["is_first"].tolist() for r in records] == [[i % 3 == 0] * 3 for i in range(7)]
    assert [r["is_last"].tolist() for r in records] == [[i % 3 == 2] * 3 for i in range(7)]
    assert [r["count"][0, 1] for r in records] == [1, 1, 1, 2, 2, 2, 3]
    assert records[1]["count"][:, 3].tolist() == [0, 1, 2]


def test_records_are_the_same_wherever_environments_live():
    actions = np.random.default_rng(0).integers(0, 3, (60, 5))
    runs = []
    for processes in (False, True, 2):
        with VectorEnv(catches(5), processes) as vector:
            runs.append(rollout(vector, actions))
    assert_equal(runs[0], runs[1])
    assert_equal(runs[0], runs[2])


def test_records_are_not_overwritten_by_later_steps():
    with VectorEnv(catches(2), True) as vector:
        first = vector.step(np.ones(2, int))
        kept = {key: value.copy() for key, value in first.items()}
        drive(vector, 5)
        assert_equal([first], [kept])
        with pytest.raises(ValueError, match="read-only"):
            first["reward"][0] = 1


@pytest.mark.parametrize("processes", WHERE)
def test_a_saved_vector_goes_on_exactly_in_another(processes):
    actions = np.random.default_rng(1).integers(0, 3, (50, 4))
    with VectorEnv(catches(4), processes) as vector, VectorEnv(catches(4, seed=9), not processes) as other:
        rollout(vector, actions[:11])
        other.load(through_a_file(vector.save()))
        assert_equal(rollout(vector, actions[11:]), rollout(other, actions[11:]))


def test_a_vector_saved_before_its_first_step_begins_with_resets():
    with VectorEnv(catches(2)) as vector, VectorEnv(catches(2, seed=3)) as other:
        drive(other, 5)
        other.load(through_a_file(vector.save()))
        assert_equal(drive(vector, 20), drive(other, 20))


def test_a_state_of_another_number_of_environments_is_refused():
    with (
        VectorEnv(catches(2)) as vector,
        VectorEnv(catches(3)) as other,
        pytest.raises(StateError, match="holds 2 environments, this vector 3"),
    ):
        other.load(through_a_file(vector.save()))


@pytest.mark.parametrize("processes", WHERE)
def test_a_state_that_is_not_this_vectors_is_refused_by_name(processes):
    with VectorEnv(catches(2), processes) as vector:
        drive(vector, 3)
        check_schema(vector, lambda names: names[0] != "envs")
        state = vector.save()
        with pytest.raises(StateError, match=r"^catch: the saved state at row is 99, "):
            vector.load(changed(state, ("envs", "1", "row"), 99))
        drive(vector, 3)


@pytest.mark.parametrize("processes", WHERE)
def test_inactive_environments_stand_still_and_repeat_their_record(processes):
    with VectorEnv(counters(3), processes) as vector:
        drive(vector, 2)
        records = [vector.step(np.zeros(3, int), np.array([True, False, False])) for _ in range(3)][-1]
        assert records["count"][:, 0].tolist() == [4, 1, 1]
        assert drive(vector, 1)[0]["count"][:, 0].tolist() == [5, 2, 2]


def test_a_step_can_overlap_with_other_work():
    with VectorEnv(catches(2), True) as vector:
        vector.step_async(np.zeros(2, int))
        with pytest.raises(RuntimeError, match="step_wait"):
            vector.step_async(np.zeros(2, int))
        with pytest.raises(RuntimeError, match=r"before save\(\)"):
            vector.save()
        assert vector.step_wait()["is_first"].all()
        with pytest.raises(RuntimeError, match="step_async"):
            vector.step_wait()


@pytest.mark.parametrize("actions", [np.zeros(3, int), np.zeros(2), np.zeros((2, 3), int), np.zeros(2, bool)])
def test_actions_of_another_shape_or_kind_are_refused(actions):
    with VectorEnv(catches(2)) as vector, pytest.raises(ValueError, match=r"expected integers \[2\]"):
        vector.step(actions)


def test_no_environments_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        VectorEnv([])


@pytest.mark.parametrize("fault", [KILL, HANG])
def test_a_lost_worker_is_replaced_and_its_episode_cut_without_being_called_terminal(fault, caplog):
    fns = [partial(Counter, fault=fault), partial(Counter)]
    with VectorEnv(fns, True, timeout_s=1.0) as vector, caplog.at_level(logging.WARNING):
        records = drive(vector, 3)
        assert not vector.was_cut.any()
        records += drive(vector, 1)
        assert vector.was_cut.tolist() == [True, False]
        records += drive(vector, 2)
        assert vector.restarts == 1 and not vector.was_cut.any()
    cut, after = records[3], records[4]
    assert cut["is_last"].tolist() == [True, False] and not cut["is_terminal"].any() and not cut["is_first"].any()
    assert cut["reward"].tolist() == [0, 1]
    np.testing.assert_array_equal(cut["count"][0], records[2]["count"][0])
    assert after["is_first"].tolist() == [True, False]
    assert after["count"][0].tolist() == [0, 1, 1, 0]  # A new environment, told that it is restart 1.
    assert [r["count"][1, 0] for r in records] == [0, 1, 2, 3, 4, 5]  # Its neighbour noticed nothing.
    assert "the worker of environment 0 was lost" in caplog.text and "9 restarts left" in caplog.text
    assert ("signal 9" if fault == KILL else "no answer for 1 s") in caplog.text


def test_all_episodes_of_a_lost_worker_are_cut_those_standing_still_when_next_stepped():
    with VectorEnv([partial(Counter, fault=KILL), partial(Counter), partial(Counter, length=2)], 1) as vector:
        drive(vector, 3)
        still = np.array([True, False, True])
        records = vector.step(np.ones(3, int), still)  # 0 kills; 1 stands still mid-episode; 2 is to be reset.
        assert records["is_last"].tolist() == [True, False, False] and records["is_first"].tolist() == [0, 0, 1]
        assert records["count"][1, 0] == 2
        records = drive(vector, 1)[0]
        assert records["is_last"].tolist() == [False, True, False] and records["is_first"].tolist() == [1, 0, 0]
        assert drive(vector, 1)[0]["is_first"].tolist() == [False, True, False]


def test_a_vector_saved_between_loss_and_cut_still_cuts():
    with VectorEnv([partial(Counter), partial(Counter)], True) as vector, VectorEnv(counters(2)) as other:
        drive(vector, 3)
        os.kill(worker_ids(vector)[0], signal.SIGKILL)
        other.load(through_a_file(vector.save()))
        for each in (vector, other):
            assert drive(each, 1)[0]["is_last"].tolist() == [True, False]
            assert drive(each, 1)[0]["is_first"].tolist() == [True, False]


def test_a_worker_that_dies_while_it_makes_or_resets_its_environment_is_replaced():
    with VectorEnv([partial(Counter, fault="die at birth"), partial(Counter, fault="kill at reset")], True) as vector:
        assert drive(vector, 1)[0]["is_first"].all()
        assert vector.restarts == 2


def test_restarts_are_bounded():
    with (
        VectorEnv([partial(Counter, fault=KILL, at=1, always=True)], True, max_restarts=2) as vector,
        pytest.raises(EnvironmentFault, match=r"lost once too often \(2 restarts\): it was ended by signal 9"),
    ):
        drive(vector, 20)


@pytest.mark.parametrize("processes", [False, True])
def test_an_environment_that_raises_ends_the_run_with_its_traceback(processes):
    with VectorEnv([partial(Counter, fault=RAISE)], processes) as vector:
        drive(vector, 3)
        error = EnvironmentFault if processes else ZeroDivisionError
        with pytest.raises(error, match="the physics broke") as caught:
            drive(vector, 1)
    if processes:
        assert "Traceback" in str(caught.value) and "misbehave" in str(caught.value)


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize(
    ("fault", "message"), [(NAN, "environment 0.*'reward' is not finite"), (WRONG_SHAPE, r"'count' is float32\[3\]")]
)
def test_bad_values_are_named(fault, message, processes):
    with (
        VectorEnv([partial(Counter, fault=fault, at=1)], processes) as vector,
        pytest.raises(EnvironmentFault, match=message),
    ):
        drive(vector, 3)


def test_a_late_nan_is_caught_too():
    with (
        VectorEnv([Counter, partial(Counter, fault=NAN, at=8)]) as vector,
        pytest.raises(EnvironmentFault, match="environment 1: 'reward' is not finite"),
    ):
        drive(vector, 12)


def test_an_environment_broken_at_birth_ends_the_run_and_leaves_no_process():
    before = set(psutil.Process().children())
    with pytest.raises(EnvironmentFault, match="born broken"):
        VectorEnv([Counter, partial(Counter, fault="at birth")], True)
    assert set(psutil.Process().children()) == before


def unavailable(**_):
    raise EnvironmentUnavailable("no such thing here; pip install thing")


def test_what_is_not_available_is_said_in_one_line_from_a_worker_too():
    with pytest.raises(EnvironmentUnavailable, match=r"^no such thing here; pip install thing$"):
        VectorEnv([unavailable], True)


def test_workers_have_not_imported_jax_and_end_with_close():
    with VectorEnv([Witness, Witness], True) as vector:
        record = drive(vector, 1)[0]["count"]
        ids = [int(high) * 10_000 + int(low) for _, low, high, _ in record]
        assert record[:, 0].tolist() == [0, 0] and len(set(ids)) == 2 and os.getpid() not in ids
        assert all(psutil.pid_exists(i) for i in ids)
    assert not any(psutil.pid_exists(i) for i in ids)


def test_workers_ignore_the_signals_that_ask_a_job_to_stop():
    with VectorEnv([Counter], True) as vector:
        drive(vector, 1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            os.kill(worker_ids(vector)[0], number)
        assert drive(vector, 1)[0]["count"][0, 0] == 1 and vector.restarts == 0


PARENT = """
import sys, time
from functools import partial
from agent.envs.vector import VectorEnv
from tests.agent.envs.faulty import HANG, Counter
import numpy as np
vector = VectorEnv([Counter, partial(Counter, fault=HANG, at=1)], True)
vector.step(np.zeros(2, int))
vector.step_async(np.zeros(2, int))
print(*[lane.pid for lane in vector._lanes], flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a hung worker notices its parent's death on Linux only")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_not_even_a_hung_one_outlives_its_parent(number):
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=root
    ) as parent:
        assert parent.stdout is not None
        ids = [int(word) for word in parent.stdout.readline().split()]
        assert len(ids) == 2 and all(psutil.pid_exists(i) for i in ids)
        parent.send_signal(number)
        parent.wait(timeout=30)
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(i) for i in ids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(psutil.pid_exists(i) for i in ids)


def test_atari_in_workers_is_the_same_stream_and_is_restored_exactly():
    pytest.importorskip("ale_py")
    fns = factories("atari_pong", EnvSettings(), 0, 3)
    actions = np.random.default_rng(0).integers(0, 6, (60, 3))
    with VectorEnv(fns) as here, VectorEnv(fns, 2) as there:
        assert_equal(rollout(here, actions[:30]), rollout(there, actions[:30]))
        state = here.save()
        rest = rollout(here, actions[30:])
        there.load(state)
        assert_equal(rest, rollout(there, actions[30:]))


def test_seeds_of_training_and_evaluation_and_of_runs_are_all_different():
    def first_balls(seed, **options):
        with VectorEnv(factories("catch", EnvSettings(), seed, 4, **options)) as vector:
            return np.stack([r["image"] for r in drive(vector, 80)])

    runs = [first_balls(0), first_balls(1), first_balls(0, purpose=EVALUATION)]
    assert np.array_equal(runs[0], first_balls(0))
    assert not any(np.array_equal(a, b) for i, a in enumerate(runs) for b in runs[:i])
    assert not np.array_equal(runs[0][:, 0], runs[0][:, 1])


def test_a_restarted_environment_does_not_repeat_the_episodes_of_its_forerunner():
    (factory,) = factories("catch", EnvSettings(), 0, 1)

    def balls(env):
        return [env.reset()["image"].argmax() for _ in range(20)]

    assert balls(factory()) == balls(factory()) != balls(factory(restart=1)) != balls(factory(restart=2))
