"""What gymnasium's spaces are to the agent."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from agent.contract.schema import EnvSettings
from agent.contract.words import ConfigError
from agent.envs.gym_spaces import entries, resize, translate
from agent.envs.trial import try_out

BYTES, REAL = np.uint8, np.float32


def image(shape, low=0, high=255, kind: Any = BYTES):
    return spaces.Box(low, high, shape, kind)


def bar(shape, rows, columns, channel, value):
    """A picture in which one rectangle of one channel is bright, so that exchanged axes are seen."""
    picture = np.zeros(shape, np.float32)
    picture[rows, columns, channel] = value
    return picture


@pytest.mark.parametrize(
    ("order", "kind", "top"),
    [
        ((0, 1, 2), BYTES, 255),
        ((2, 0, 1), BYTES, 255),
        ((2, 0, 1), REAL, 1),
        ((0, 1, 2), REAL, 1),
        ((0, 1, 2), REAL, 255),
    ],
)
def test_an_image_is_seen_upright_in_bytes_whatever_its_axes_and_bounds(order, kind, top):
    upright = bar((64, 64, 3), slice(10, 20), slice(0, 64), 2, top)
    value = np.transpose(upright, order).astype(kind)
    found, notes = entries("t", image(value.shape, 0, top, kind))
    seen = found["image"].read(value, 64)
    assert seen.dtype == np.uint8 and seen.shape == (64, 64, 3)
    np.testing.assert_array_equal(seen, np.rint(upright * (255 / top)))
    assert bool(notes) == (order != (0, 1, 2) or kind is REAL)


@pytest.mark.parametrize(
    ("shape", "channels", "where"),
    [
        ((84, 84), 1, None),
        ((4, 84, 84), 4, 0),
        ((84, 84, 4), 4, 2),
        ((12, 84, 84), 12, 0),
        ((84, 84, 12), 12, 2),
        ((10, 10, 7), 7, 2),
        ((3, 48, 32), 3, 0),
        ((4, 64, 64, 3), 12, None),
        ((2, 3, 64, 64), 6, None),
    ],
)
def test_channels_are_found_by_the_sizes_of_the_axes(shape, channels, where):
    found, notes = entries("t", image(shape))
    assert found["image"].spec(64).shape == (64, 64, channels)
    assert found["image"].read(np.zeros(shape, BYTES), 64).shape == (64, 64, channels)
    assert bool(notes) == (where == 0 or len(shape) == 4)


def test_stacked_images_keep_the_order_of_their_frames():
    frames = np.zeros((4, 64, 64, 3), BYTES)
    frames[2, :, :, 1] = 9
    seen = entries("t", image(frames.shape))[0]["image"].read(frames, 64)
    assert np.flatnonzero(seen[0, 0]).tolist() == [2 * 3 + 1]


@pytest.mark.parametrize("shape", [(64, 64, 64), (3, 64, 3), (3, 3, 3), (32, 48, 64), (4, 3, 3, 3)])
def test_axes_that_cannot_be_told_are_refused(shape):
    with pytest.raises(ConfigError, match=r"task 't': the observation is an image of .* cannot be told; bring it into"):
        entries("t", image(shape))


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 2), (-np.inf, np.inf)])
def test_a_real_image_of_other_bounds_is_refused(low, high):
    with pytest.raises(ConfigError, match=r"images go from 0 to 1 or from 0 to 255"):
        entries("t", image((64, 64, 3), low, high, REAL))


@pytest.mark.parametrize(
    "space", [image((3, 4), 0, 1, REAL), image((2, 3, 4), -1, 1, REAL), image((50, 60), -9, 9, REAL)]
)
def test_a_table_of_numbers_is_no_image(space):
    found, notes = entries("t", space)
    assert list(found) == ["vector"] and not notes


def test_two_images_are_refused_by_name():
    both = spaces.Dict({"image": image((64, 64, 3)), "wrist": image((48, 32, 3)), "state": spaces.Discrete(3)})
    with pytest.raises(ConfigError, match=r"task 't': 'image' and 'wrist' are both images, and the agent sees one"):
        entries("t", both)


@pytest.mark.parametrize("name", ["reward", "is_first", "is_last", "is_terminal", "action"])
def test_a_name_that_every_step_has_is_refused(name):
    with pytest.raises(ConfigError, match=rf"task 't': its observation '{name}' has the name of what every step has"):
        entries("t", spaces.Dict({"position": spaces.Discrete(3), name: spaces.Discrete(2)}))


def test_what_only_the_log_may_see_never_reaches_the_agent():
    found, notes = entries("t", spaces.Dict({"position": spaces.Discrete(3), "log_goal": spaces.Discrete(2)}))
    assert list(found) == ["position"] and notes == ["log_goal is left out of what the agent sees"]
    with pytest.raises(ConfigError, match="nothing in its observations that the agent may see"):
        entries("t", spaces.Dict({"log_goal": spaces.Discrete(2)}))


def test_no_action_is_outside_a_space_whose_bounds_are_open_on_a_side():
    inf = np.inf
    space = spaces.Box(np.array([0, -inf, -inf, -5], REAL), np.array([inf, 3, inf, 0.1], REAL))
    lows, highs = [0, 1, -1, -5], [2, 3, 1, 0.1]
    np.testing.assert_allclose(translate(-np.ones(4, REAL), space), lows, rtol=1e-6)
    np.testing.assert_allclose(translate(np.ones(4, REAL), space), highs, rtol=1e-6)
    for action in np.random.default_rng(0).uniform(-1, 1, (1000, 4)).astype(REAL):
        assert space.contains(translate(action, space))


def test_many_channels_are_resized_like_few():
    picture = np.random.default_rng(0).integers(0, 256, (96, 96, 12), BYTES)
    whole = resize(picture, 64)
    for channel in range(12):
        np.testing.assert_array_equal(whole[..., channel], resize(picture[..., channel : channel + 1], 64)[..., 0])


class Liar(gymnasium.Env):
    """Shows something else than its space says."""

    observation_space = spaces.Box(-1, 1, (2,), REAL)
    action_space = spaces.Discrete(2)
    shown: np.ndarray = np.zeros(2, REAL)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.shown, {}

    def step(self, action):
        raise OSError("no\nsecond line")


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        (np.zeros(3, REAL), r"gym_Liar-v0: observation 'vector' is float32\[3\], and its space says float32\[2\]$"),
        (np.array([0, np.nan], REAL), "gym_Liar-v0: observation 'vector' is not finite"),
        (np.zeros(2, REAL), "gym_Liar-v0: it cannot be stepped: OSError: no$"),
    ],
)
def test_an_environment_that_does_not_do_what_it_says_is_found_out_before_anything_is_written(shown, message):
    gymnasium.registry.pop("Liar-v0", None)
    gymnasium.register("Liar-v0", lambda **_: type("Shown", (Liar,), {"shown": shown})(), disable_env_checker=True)
    with pytest.raises(ConfigError, match=message):
        try_out("gym_Liar-v0", EnvSettings())


def test_a_task_that_can_be_played_says_how_it_is_seen():
    assert try_out("gym_CartPole-v1", EnvSettings()) == []
    gymnasium.registry.pop("First-v0", None)
    shown = np.zeros((3, 64, 64), BYTES)
    told = {"observation_space": image((3, 64, 64)), "shown": shown}
    kind = type("First", (Liar,), {**told, "step": lambda *_: (shown, 0.0, False, False, {})})
    gymnasium.register("First-v0", lambda **_: kind(), disable_env_checker=True)
    (note,) = try_out("gym_First-v0", EnvSettings())
    assert note.startswith("gym_First-v0: the observation of [3, 64, 64] is taken as an image with its channels first")
