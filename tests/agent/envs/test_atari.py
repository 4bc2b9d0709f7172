"""Atari: frames, pooling, limits, seeds and exact state, against the emulator itself."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("ale_py")

from ale_py import Action, ALEInterface, roms

from agent.contract.tasks import ATARI_100K
from agent.envs.atari import Atari, games, resize_area, rom_of
from agent.envs.base import check_step
from agent.envs.state import StateError
from tests.agent.envs.streams import check_schema, through_a_file

GAMES = [task.removeprefix("atari_") for task in ATARI_100K]


def play(env, actions):
    """Return the records of a stream: a reset where the last record ended an episode, a step otherwise."""
    records = [env.reset()]
    for action in actions:
        records.append(env.reset() if records[-1]["is_last"] else env.step(int(action)))
    return records


def assert_equal(ours, theirs):
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        for key in a:
            assert np.array_equal(a[key], b[key]), (index, key)


def actions_for(env, count, seed=0):
    return np.random.default_rng(seed).integers(0, env.spec.action.size, count)


def emulator(game, seed=0):
    ale = ALEInterface()
    ale.setInt("random_seed", seed)
    ale.setInt("system_random_seed", seed)
    ale.setFloat("repeat_action_probability", 0.0)
    ale.loadROM(str(roms.get_rom_path(rom_of(game))))
    ale.reset_game()
    return ale


def test_the_26_games_and_every_other_rom_can_be_named():
    assert set(GAMES) <= set(games()) and len(games()) > 100
    assert rom_of("james_bond") == rom_of("jamesbond") == "jamesbond"


def test_a_rom_for_two_players_only_is_refused_before_the_emulator_ends_the_process():
    with pytest.raises(ValueError, match="unknown task 'atari_combat'"):
        Atari("combat", 0)


def test_an_unknown_game_names_the_nearest_and_their_number():
    with pytest.raises(
        ValueError, match=r"unknown task 'atari_pnog'; did you mean 'atari_pong' or .*\(\d+ names, from atari_"
    ):
        Atari("pnog", 0)


def test_the_image_is_the_exact_area_average():
    """In units of 1/64 pixel a target pixel covers 5 × 105 weights (2.5 × 3.28125 pixels), rounded half up."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (210, 160, 3)).astype(np.uint8)
    rows = np.repeat(image.astype(np.int64), 32, 0).reshape(64, 105, 160, 3).sum(1)
    total = np.repeat(rows, 2, 1).reshape(64, 64, 5, 3).sum(2)
    np.testing.assert_array_equal(resize_area(image, (64, 64)), (total + 262) // 525)


def test_a_step_shows_the_maximum_of_its_last_two_frames_and_sums_four_rewards():
    env, ale = Atari("pong", 0, noops=0), emulator("pong")
    record = env.reset()
    np.testing.assert_array_equal(record["image"], resize_area(ale.getScreenRGB(), (64, 64)))
    for action in actions_for(env, 100):
        record = env.step(int(action))
        reward, screens = 0, []
        for _ in range(4):
            reward += ale.act(Action(env.action_set[action]))
            screens.append(ale.getScreenRGB())
        np.testing.assert_array_equal(record["image"], resize_area(np.maximum(*screens[2:]), (64, 64)))
        assert record["reward"] == reward and record["reward"].dtype == np.float32


def test_noops_are_drawn_from_0_to_29_at_every_reset():
    env, ale = Atari("ms_pacman", 3), emulator("ms_pacman", 3)
    random = np.random.RandomState(3)
    for attempt in range(3):
        if attempt:
            ale.reset_game()
        for _ in range(random.randint(30)):
            ale.act(Action.NOOP)
        np.testing.assert_array_equal(env.reset()["image"], resize_area(ale.getScreenRGB(), (64, 64)))


@pytest.mark.parametrize("terminal", [True, False])
def test_the_time_limit_ends_an_episode_and_its_terminality_is_a_setting(terminal):
    env = Atari("breakout", 0, length=40, limit_is_terminal=terminal)
    records = play(env, [0] * 10)
    assert [bool(r["is_last"]) for r in records] == [False] * 10 + [True]
    assert bool(records[-1]["is_terminal"]) is terminal


def test_a_lost_life_does_not_end_the_episode_and_the_end_of_the_game_does():
    env = Atari("breakout", 0, limit_is_terminal=False)
    record, lives = env.reset(), []
    while not record["is_last"]:
        lives.append(env._ale.lives())
        record = env.step(1)
    assert set(lives) == {5, 4, 3, 2, 1} and record["is_terminal"]


class Script:
    """An emulator whose frame f lights column f of the screen, and whose game is over after `over` frames."""

    def __init__(self, over):
        self.over, self.frame = over, 0

    def reset_game(self):
        self.frame = 0

    def act(self, action):
        self.frame += 1
        return 1

    def game_over(self, **_):
        return self.frame >= self.over

    def getScreenRGB(self, out):
        out.fill(0)
        out[:, self.frame] = 255


@pytest.mark.parametrize(
    ("over", "pooled", "reward"),
    [(4, [3, 4], 4), (3, [3], 3), (2, [2], 2), (8, [7, 8], 4), (7, [7], 3), (6, [3, 6], 2), (5, [3, 5], 1)],
)
def test_a_game_over_within_a_step_pools_its_last_frame_with_the_latest_third_one(over, pooled, reward):
    """The third frame's buffer lives on between the steps of an episode, and is black after a reset."""
    env: Any = Atari("pong", 0, noops=0, limit_is_terminal=False)
    env._ale = Script(over)
    for _ in range(2):  # The second episode must not see the first one's buffer.
        record = env.reset()
        while not record["is_last"]:
            record = env.step(0)
        assert record["is_terminal"] and record["reward"] == reward
        assert np.flatnonzero(env._pooled[0, :, 0]).tolist() == pooled


def test_an_image_is_not_overwritten_by_the_next_step():
    env = Atari("pong", 0)
    first = env.reset()["image"]
    kept = first.copy()
    play(env, actions_for(env, 20))
    np.testing.assert_array_equal(first, kept)


def test_sticky_actions_take_effect_and_follow_the_seed():
    def images(**settings):
        return [r["image"] for r in play(Atari("pong", noops=0, **settings), [2, 3] * 40)]

    plain, sticky, again, other = (
        images(seed=0),
        images(seed=0, sticky=0.25),
        images(seed=0, sticky=0.25),
        images(seed=1, sticky=0.25),
    )
    assert np.array_equal(sticky, again)
    assert not np.array_equal(plain, sticky) and not np.array_equal(sticky, other)


def test_equal_seeds_repeat_and_others_differ():
    def stream(seed):
        env = Atari("qbert", seed)
        return play(env, actions_for(env, 60))

    assert_equal(stream(0), stream(0))
    assert any(not np.array_equal(a["image"], b["image"]) for a, b in zip(stream(0), stream(1), strict=True))


def check_restored(game, **settings):
    """Save in the middle of an episode; a fresh emulator must then go on exactly, through resets as well."""
    first = Atari(game, 1, **settings)
    actions = actions_for(first, 500)
    records = play(first, actions[:150])
    second = Atari(game, 99, **settings)
    play(second, actions_for(second, 30, seed=5))
    state = through_a_file(first.save())
    second.load(state)
    for action in actions[150:]:
        ended = records[-1]["is_last"]
        a, b = (env.reset() if ended else env.step(int(action)) for env in (first, second))
        assert_equal([a], [b])
        records.append(a)
    return len(state)


@pytest.mark.parametrize("game", ["qbert", "pong", "ms_pacman"])
def test_a_restored_game_goes_on_exactly_through_resets(game):
    check_restored(game, length=800, sticky=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_every_one_of_the_26_games_is_restored_exactly(game):
    check_restored(game, length=800)
    check_restored(game)


@pytest.mark.slow
def test_every_rom_can_be_loaded_stepped_and_shown_at_64_by_64():
    for game in games():
        env = Atari(game, 0)
        check_step(env.reset(), env.spec, game)
        check_step(env.step(env.spec.action.size - 1), env.spec, game)


def test_a_state_of_another_game_is_refused():
    message = "atari_pong: the saved state at name is 'atari_breakout', 'atari_pong' is expected"
    with pytest.raises(StateError, match=message):
        Atari("pong", 0).load(Atari("breakout", 0).save())
    with pytest.raises(StateError, match=r"at actions is \[0, 1, 2,.*, \[0, 1, 3, 4, 11, 12\] is expected"):
        Atari("pong", 0).load(Atari("pong", 0, full_actions=True).save())


def test_a_state_that_is_not_this_games_is_refused_by_name():
    check_schema(Atari("pong", 0))


@pytest.mark.parametrize("damage", ["cut", "reversed", "memory"])
def test_a_state_that_the_emulator_cannot_read_whole_is_refused(damage):
    """Of a part that it cannot read it says so on stderr only, and goes on with what it had."""
    env = Atari("pong", 0)
    play(env, [0] * 20)
    state = env.save()
    data = state["emulator"].copy()
    at = data.tobytes().find(b"M6502Low")
    assert at > 0
    data = {
        "cut": data[:-500],
        "reversed": data[::-1],
        "memory": np.concatenate([data[:at], data[:1], data[at + 1 :]]),
    }[damage]
    with pytest.raises(StateError, match=r"atari_pong: the emulator cannot read (a part of )?its saved state"):
        Atari("pong", 0).load({**state, "emulator": data})


def test_the_full_action_set_is_a_setting():
    assert Atari("pong", 0).spec.action.size == 6 and Atari("pong", 0, full_actions=True).spec.action.size == 18


def test_every_record_is_what_the_spec_says():
    env = Atari("pong", 0, size=32)
    assert env.spec.repeat == 4 and env.spec.obs["image"].shape == (32, 32, 3)
    check_step(env.reset(), env.spec, "atari_pong")
    check_step(env.step(0), env.spec, "atari_pong")


def test_stepping_an_episode_that_is_over_is_an_error():
    env = Atari("pong", 0, length=4)
    env.reset()
    env.step(0)
    with pytest.raises(RuntimeError, match=r"atari_pong: the episode is over; call reset\(\)"):
        env.step(0)


@pytest.mark.parametrize("settings", [{"length": 0}, {"noops": -1}, {"repeat": 0}, {"size": 0}, {"sticky": 1.0}])
def test_a_setting_out_of_range_is_named(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=rf"env.atari.{name}={value}: expected"):
        Atari("pong", 0, **settings)
