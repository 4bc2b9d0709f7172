"""Gymnasium environments: spaces, scaling, limits, seeds, and state by playing again."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from agent.contract.words import ConfigError
from agent.envs.base import EnvironmentFault, EnvironmentUnavailable
from agent.envs.gym import Gym
from agent.envs.state import StateError
from agent.spec import BoxAction, DiscreteAction
from tests.agent.envs.streams import actions_for, assert_equal, check_restored, check_schema, play


class Probe(gymnasium.Env):
    """Shows and takes whatever spaces it is given, and remembers the last action."""

    def __init__(self, observation_space, action_space, length=5):
        self.observation_space, self.action_space, self.length = observation_space, action_space, length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.taken, self.steps = action, self.steps + 1
        return self.observation_space.sample(), 1.0, self.steps == self.length, False, {}


class Forgetful(Probe):
    """Ignores its seed."""

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return self.observation_space.sample(), {}


def probe(observation_space, action_space=None, kind=Probe, **settings):
    name = "Probe-v0"
    gymnasium.registry.pop(name, None)
    action_space = action_space or spaces.Discrete(2)
    gymnasium.register(name, lambda **_: kind(observation_space, action_space), disable_env_checker=True)
    return Gym(name, 0, **settings)


def taken(env):
    """Return the action that reached the environment inside."""
    inside: Any = env._env.unwrapped
    return inside.taken


VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)


def test_cartpole_is_a_vector_and_two_actions():
    env = Gym("CartPole-v1", 0)
    records = play(env, actions_for(env, 60))
    assert env.spec.action == DiscreteAction(2) and env.spec.obs["vector"].shape == (4,)
    ends = [record for record in records if record["is_last"]]
    assert ends and all(record["is_terminal"] and record["reward"] == 1 for record in ends)


def test_a_time_limit_is_no_terminal_end():
    env = Gym("Pendulum-v1", 0)
    records = play(env, [np.zeros(1)] * 202)
    assert [i for i, record in enumerate(records) if record["is_last"]] == [200]
    assert not any(record["is_terminal"] for record in records)


def test_continuous_actions_are_scaled_to_their_bounds():
    env = probe(VECTOR, spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64))
    env.reset()
    for action, expected in (([-1, -1], [-2, 0]), ([1, 1], [2, 10]), ([0, 0.5], [0, 7.5]), ([-9, 9], [-2, 10])):
        env.step(np.array(action))
        np.testing.assert_allclose(taken(env), expected)
    assert env.spec.action == BoxAction(2)


def test_unbounded_actions_are_passed_as_they_are():
    env = probe(VECTOR, spaces.Box(-np.inf, np.inf, (2,), np.float32))
    env.reset()
    env.step(np.array([0.5, -0.25]))
    np.testing.assert_array_equal(taken(env), [0.5, -0.25])


def test_discrete_actions_start_where_the_space_starts():
    env = probe(VECTOR, spaces.Discrete(3, start=5))
    env.reset()
    env.step(2)
    assert taken(env) == 7


@pytest.mark.parametrize(
    ("space", "name", "shape", "dtype"),
    [
        (spaces.Box(0, 255, (32, 48, 3), np.uint8), "image", (64, 64, 3), "uint8"),
        (spaces.Box(0, 255, (100, 70), np.uint8), "image", (64, 64, 1), "uint8"),
        (spaces.Box(0, 255, (64, 64, 3), np.uint8), "image", (64, 64, 3), "uint8"),
        (spaces.Box(0, 1, (2, 3), np.float64), "vector", (6,), "float32"),
        (spaces.Box(0, 255, (128,), np.uint8), "vector", (128,), "float32"),
        (spaces.Discrete(16), "vector", (16,), "float32"),
        (spaces.MultiBinary(4), "vector", (4,), "float32"),
    ],
)
def test_observations_become_images_or_vectors(space, name, shape, dtype):
    env = probe(space)
    play(env, actions_for(env, 8))
    assert list(env.spec.obs) == [name]
    assert (env.spec.obs[name].shape, env.spec.obs[name].dtype) == (shape, dtype)


def test_a_dict_of_observations_keeps_its_names_and_its_only_image_is_the_image():
    env = probe(spaces.Dict({"camera": spaces.Box(0, 255, (64, 64, 3), np.uint8), "goal": spaces.Discrete(3)}))
    record = play(env, [0])[0]
    assert record["image"].dtype == np.uint8 and sorted(record["goal"].tolist()) == [0, 0, 1]
    assert env.notes == ["camera is what the agent sees as its image"]


@pytest.mark.parametrize("space", [spaces.Text(4), spaces.Tuple((VECTOR, VECTOR))])
def test_an_observation_space_that_is_neither_is_named(space):
    with pytest.raises(ConfigError, match=r"task 'gym_Probe-v0': observations of (Text|Tuple).*wrap the environment"):
        probe(space)


@pytest.mark.parametrize("space", [spaces.MultiDiscrete([2, 2]), spaces.Box(0, 3, (2,), np.int64)])
def test_an_action_space_that_the_agent_cannot_use_is_named(space):
    with pytest.raises(ConfigError, match=r"task 'gym_Probe-v0': actions of .* Discrete and Box"):
        probe(VECTOR, space)


def test_a_limit_of_ones_own_is_a_setting():
    records = play(probe(VECTOR, length=3), [0] * 5)
    assert [bool(record["is_last"]) for record in records] == [False, False, False, True, False]
    assert not records[3]["is_terminal"]


def test_a_repeated_action_adds_rewards_until_the_end():
    env = probe(VECTOR, repeat=3)
    records = play(env, [0] * 3)
    assert [float(record["reward"]) for record in records] == [0, 3, 2] and records[2]["is_terminal"]


def test_equal_seeds_repeat_and_others_differ():
    def stream(seed):
        env = Gym("CartPole-v1", seed)
        return play(env, actions_for(env, 50))

    assert_equal(stream(1), stream(1))
    assert not np.array_equal(stream(1)[0]["vector"], stream(2)[0]["vector"])


def test_episodes_differ_from_one_another():
    env = Gym("CartPole-v1", 0)
    assert not np.array_equal(env.reset()["vector"], env.reset()["vector"])


@pytest.mark.parametrize("before", [1, 25, 60])
def test_a_restored_environment_goes_on_exactly_through_resets(before):
    check_restored(Gym("CartPole-v1", 1), Gym("CartPole-v1", 2), before=before)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_a_state_that_is_not_this_environments_is_refused_by_name(env_id):
    env = Gym(env_id, 0)
    play(env, actions_for(env, 10))
    check_schema(env)
    with pytest.raises(StateError, match="at name is 'gym_MountainCar-v0', "):
        env.load(Gym("MountainCar-v0", 0).save())


def test_an_environment_that_does_not_repeat_itself_is_found_out_on_load():
    env = probe(VECTOR, kind=Forgetful)
    play(env, [0, 1])
    with pytest.raises(EnvironmentFault, match="gym_Probe-v0: it does not repeat itself"):
        env.load(env.save())


def test_an_unknown_id_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown task 'gym_CartPol-v1'; did you mean 'gym_CartPole-v1'"):
        Gym("CartPol-v1", 0)


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(
        EnvironmentUnavailable, match=r"env.gym.module=no_such: No module named 'no_such'; name a module"
    ):
        Gym("CartPole-v1", 0, module="no_such")


def test_stepping_an_episode_that_is_over_is_an_error():
    env = probe(VECTOR)
    with pytest.raises(RuntimeError, match=r"gym_Probe-v0: the episode is over; call reset\(\)"):
        env.step(0)
