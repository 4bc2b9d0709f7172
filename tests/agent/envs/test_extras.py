"""DM Control and Crafter where they are installed, and what is said where they are not."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from agent.contract.schema import EnvSettings
from agent.contract.words import ConfigError
from agent.envs.base import EnvironmentUnavailable
from agent.envs.gl import check_gl
from agent.envs.registry import check_available, make
from agent.spec import BoxAction, DiscreteAction
from tests.agent.envs.streams import actions_for, assert_equal, check_restored, play

needs_dmc = pytest.mark.skipif(find_spec("dm_control") is None, reason="the extra dmc is not installed")
needs_crafter = pytest.mark.skipif(find_spec("crafter") is None, reason="the extra crafter is not installed")


def settings(**sections):
    return EnvSettings.model_validate(sections)


@pytest.mark.parametrize(
    ("task", "package", "extra"), [("dmc_walker_walk", "dm_control", "dmc"), ("crafter_reward", "crafter", "crafter")]
)
def test_an_extra_that_is_not_installed_is_an_error_with_the_pip_command(task, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"is not installed; run: pip install 'harmony-bench\[{extra}\]'$"):
        check_available(task, EnvSettings())
    with pytest.raises(EnvironmentUnavailable, match="pip install"):
        make(task, EnvSettings(), 0)


@needs_dmc
def test_a_dmc_task_from_its_vectors():
    env = make("dmc_walker_walk", EnvSettings(), 0)
    assert env.spec.action == BoxAction(6) and env.spec.repeat == 2
    assert {key: array.shape for key, array in env.spec.obs.items()} == {
        "orientations": (14,),
        "height": (1,),
        "velocity": (9,),
    }
    records = play(env, [np.zeros(6)] * 502)
    assert [i for i, record in enumerate(records) if record["is_last"]] == [500]
    assert not any(record["is_terminal"] for record in records)


@needs_dmc
@pytest.mark.parametrize(
    "task", ["dmc_walker_walk", "dmc_ball_in_cup_catch", "dmc_cartpole_swingup", "dmc_finger_spin"]
)
def test_a_dmc_task_repeats_itself_and_is_restored_exactly(task):
    a, b, other = (make(task, EnvSettings(), seed) for seed in (1, 1, 2))
    actions = actions_for(a, 20)
    assert_equal(play(a, actions), play(b, actions))
    first, second = a.reset(), other.reset()
    assert any(not np.array_equal(first[key], second[key]) for key in first)
    check_restored(a, other)


@needs_dmc
def test_an_unknown_dmc_task_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown task 'dmc_walker_wlk'; did you mean 'dmc_walker_walk'"):
        check_available("dmc_walker_wlk", EnvSettings())


@needs_dmc
def test_a_dmc_task_from_its_camera():
    try:
        check_gl()
    except EnvironmentUnavailable as error:
        pytest.skip(str(error))
    env = make("dmc_walker_walk", settings(dmc={"obs": "vision"}), 0)
    records = play(env, actions_for(env, 5))
    env.close()
    assert records[0]["image"].shape == (64, 64, 3) and records[0]["image"].std() > 20
    assert not np.array_equal(records[0]["image"], records[4]["image"])


@needs_crafter
def test_crafter_repeats_itself_and_is_restored_exactly():
    a, b, other = (make("crafter_reward", EnvSettings(), seed) for seed in (1, 1, 2))
    assert a.spec.action == DiscreteAction(17) and a.spec.obs["image"].shape == (64, 64, 3)
    actions = actions_for(a, 20)
    assert_equal(play(a, actions), play(b, actions))
    assert not np.array_equal(a.reset()["image"], other.reset()["image"])
    check_restored(a, other)


@needs_crafter
def test_crafters_limit_is_no_terminal_end_and_death_is():
    env = make("crafter_reward", settings(crafter={"length": 4}), 0)
    records = play(env, [0] * 6)
    assert records[4]["is_last"] and not records[4]["is_terminal"] and records[5]["is_first"]
    idle = make("crafter_reward", EnvSettings(), 0)
    end = idle.reset()
    while not end["is_last"]:
        end = idle.step(0)
    assert end["is_terminal"]


@needs_crafter
def test_crafter_without_reward_pays_nothing_and_an_unknown_task_names_the_nearest():
    env = make("crafter_noreward", EnvSettings(), 0)
    assert not any(record["reward"] for record in play(env, actions_for(env, 40)))
    with pytest.raises(ConfigError, match="did you mean 'crafter_reward'"):
        check_available("crafter_rewad", EnvSettings())
