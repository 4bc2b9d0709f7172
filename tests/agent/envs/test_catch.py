"""Catch: its geometry, its exact values for random and perfect play, its state."""

import itertools

import numpy as np
import pytest

from agent.envs.base import check_step
from agent.envs.catch import LEFT, RIGHT, STAY, Catch
from agent.envs.state import StateError
from agent.spec import DiscreteAction
from tests.agent.envs.streams import check_schema, through_a_file


def ball_and_paddle(image):
    """Return (row, column) of the ball and the column of the paddle, read from the picture alone."""
    (ball,) = np.argwhere(image[::2, ::2, 0] == 255)
    (paddle,) = np.argwhere(image[::2, ::2, 1] == 255)
    assert paddle[0] == 7
    return tuple(ball), paddle[1]


def perfect(image):
    (_, ball), paddle = ball_and_paddle(image)
    return STAY if ball == paddle else RIGHT if ball > paddle else LEFT


def play(env, policy):
    """Return an episode's return and its number of records, the reset record included."""
    step, total, records = env.reset(), 0.0, 1
    while not step["is_last"]:
        step = env.step(policy(step["image"]))
        total, records = total + float(step["reward"]), records + 1
    return total, records


def test_an_episode_is_seven_steps_after_the_reset_record():
    env = Catch(0)
    assert [play(env, lambda image: STAY)[1] for _ in range(5)] == [8] * 5


def test_the_ball_falls_one_row_a_step_and_the_end_is_terminal():
    env = Catch(1)
    step = env.reset()
    assert step["is_first"] and not step["is_last"]
    for row in range(1, 8):
        step = env.step(STAY)
        assert ball_and_paddle(step["image"])[0][0] == row or (row == 7 and step["is_last"])
        assert bool(step["is_last"]) == bool(step["is_terminal"]) == (row == 7)
        assert not step["is_first"] and (step["reward"] == 0) == (row < 7)


def test_perfect_play_always_catches_the_ball():
    env = Catch(2)
    assert {play(env, perfect)[0] for _ in range(200)} == {1.0}


def test_the_paddle_starts_in_the_middle_and_stops_at_the_walls():
    env = Catch(0)
    assert ball_and_paddle(env.reset()["image"])[1] == 4
    columns = [ball_and_paddle(env.step(LEFT)["image"])[1] for _ in range(5)]
    assert columns == [3, 2, 1, 0, 0]


def test_play_that_ignores_the_ball_is_worth_exactly_minus_three_quarters():
    """By enumeration: all 8 columns of the ball, all 3^7 sequences of actions."""
    finals = []
    for actions in itertools.product((LEFT, STAY, RIGHT), repeat=7):
        column = 4
        for action in actions:
            column = min(max(column + action - 1, 0), 7)
        finals.append(column)
    returns = [1 if ball == final else -1 for ball in range(8) for final in finals]
    assert np.mean(returns) == -0.75


def test_random_play_measures_near_the_published_untrained_agent():
    """The published agent's first evaluations average -0.7475 ± 0.01 (48 rounds of 100 episodes); notes say -0.77."""
    env, random = Catch(3), np.random.default_rng(0)
    mean = np.mean([play(env, lambda image: int(random.integers(3)))[0] for _ in range(1500)])
    assert abs(mean - -0.75) < 0.06


def test_the_ball_starts_in_every_column_equally_often():
    env = Catch(4)
    counts = np.bincount([ball_and_paddle(env.reset()["image"])[0][1] for _ in range(4000)], minlength=8)
    assert (abs(counts - 500) < 5 * np.sqrt(500)).all()


def test_the_picture_is_black_but_for_four_red_and_four_green_pixels():
    env = Catch(0)
    image = env.reset()["image"]
    assert image.shape == (16, 16, 3) and image.dtype == np.uint8
    assert [(image[..., channel] == 255).sum() for channel in range(3)] == [4, 4, 0]
    assert set(np.unique(image)) == {0, 255}


def test_a_larger_picture_shows_the_same_board():
    small, large = Catch(0), Catch(0, size=64)
    for _ in range(3):
        np.testing.assert_array_equal(small.reset()["image"], large.reset()["image"][::4, ::4])


def test_equal_seeds_repeat_and_others_differ():
    def balls(seed):
        env = Catch(seed)
        return [ball_and_paddle(env.reset()["image"])[0][1] for _ in range(20)]

    assert balls(5) == balls(5) != balls(6)


def test_a_saved_board_continues_exactly():
    random = np.random.default_rng(0)
    for warmup in (0, 1, 5, 8, 21):
        first, second = Catch(7), Catch(8)
        step = first.reset()
        for _ in range(warmup):
            step = first.reset() if step["is_last"] else first.step(int(random.integers(3)))
        second.load(through_a_file(first.save()))
        for _ in range(40):
            action = int(random.integers(3))
            a, b = (env.reset() if step["is_last"] else env.step(action) for env in (first, second))
            assert all(np.array_equal(a[key], b[key]) for key in a)
            step = a


def test_a_state_that_is_not_this_boards_is_refused_by_name():
    check_schema(Catch(0))
    with pytest.raises(StateError, match="catch: the saved state at ball is 7, a whole number from 0 to 3 is expected"):
        Catch(0, columns=4).load(Catch(0).save() | {"ball": 7})


def test_every_record_is_what_the_spec_says():
    env = Catch(0)
    assert env.spec.action == DiscreteAction(3) and env.spec.repeat == 1
    check_step(env.reset(), env.spec, "catch")
    check_step(env.step(0), env.spec, "catch")


def test_stepping_without_reset_is_an_error():
    env = Catch(0)
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        env.step(0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"size": 15}, "15 pixels"), ({"rows": 4}, "at least 5 rows"), ({"columns": 1}, "2 columns")],
)
def test_a_board_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Catch(0, **settings)
