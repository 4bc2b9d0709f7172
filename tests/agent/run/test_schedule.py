import jax.numpy as jnp
import pytest

from agent.contract.config import make_config
from agent.run import replay, schedule
from agent.run.schedule import Every, Ratio


def fires(every, start, increment, count):
    steps = range(start, start + increment * count, increment)
    return [step for step in steps if every.due(step)]


def test_one_update_is_due_at_the_first_call_and_then_the_ratio_holds():
    ratio = Ratio(0.2)
    assert [ratio.due(step) for step in range(5300, 5312)] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]


def test_fractions_of_updates_are_carried_over():
    ratio = Ratio(0.3)
    assert [ratio.due(step) for step in range(12)] == [1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1]


def test_several_updates_are_due_when_steps_come_in_rounds():
    ratio = Ratio(0.5)
    assert [ratio.due(step) for step in (8, 16, 24)] == [1, 4, 4]


def test_every_counts_multiples_of_its_period_from_zero():
    assert fires(Every(10), 3, 4, 20) == [3, 11, 23, 31, 43, 51, 63, 71]


@pytest.mark.parametrize(
    ("preset", "task", "prefill", "final", "evaluations", "updates"),
    [
        ("atari100k", "atari_pong", 1100, 101_000, list(range(5000, 100_001, 5000)), 99_900),
        ("metaworld", "metaworld_lever_pull", 5300, 255_000, [5300, *range(10_000, 250_001, 10_000)], 49_940),
    ],
)
def test_presets_follow_the_published_schedule(preset, task, prefill, final, evaluations, updates):
    config = make_config([preset], {"task": task})
    assert schedule.prefill_steps(config) == prefill
    assert schedule.final_step(config) == final
    every = Every(config.run.eval_every, config.run.eval_initial)
    blocks = range(prefill, config.run.steps, schedule.round_steps(config.run.block, config.env.amount))
    assert [step for step in blocks if every.due(step)] == evaluations
    ratio = Ratio(schedule.update_ratio(config))
    assert sum(ratio.due(step) for step in range(prefill + 1, final + 1)) == updates


def test_prefill_ends_with_the_block_that_completes_enough_windows():
    config = make_config(["metaworld"], {"task": "metaworld_lever_pull", "run.prefill": 2500})
    assert schedule.prefill_steps(config) == 2800
    assert replay.window_range(jnp.int32(2800), 5, 50, 10_000)[1] == 2555
