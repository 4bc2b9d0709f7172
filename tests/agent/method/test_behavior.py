"""Behaviour: returns, weights and percentiles by hand, the slow critic's schedule."""

import jax.numpy as jnp
import numpy as np
import pytest

from agent.contract.schema import Config, RetNorm
from agent.method import behavior
from agent.method.behavior import ReturnScale


def column(*values):
    return jnp.array(values, jnp.float32)[:, None]


def test_lambda_returns_by_hand():
    returns = behavior.lambda_returns(column(1, 2), column(0, 10, 20), column(1, 1, 0.5), 0.9, 0.5)
    last = 2 + 0.9 * 0.5 * (0.5 * 20 + 0.5 * 20)
    first = 1 + 0.9 * 1 * (0.5 * 10 + 0.5 * last)
    np.testing.assert_allclose(returns[:, 0], [first, last], rtol=1e-6)


def test_an_end_of_the_episode_stops_the_return_and_the_weight_of_what_follows():
    cont = column(1, 0, 1)
    assert behavior.lambda_returns(column(1, 2), column(0, 10, 20), cont, 0.9, 0.5)[0, 0] == 1
    discount = 1 - 1 / 333
    np.testing.assert_allclose(behavior.trajectory_weight(cont, 333.0)[:, 0], [1, 0, 0])
    np.testing.assert_allclose(
        behavior.trajectory_weight(column(1, 1, 1), 333.0)[:, 0], [1, discount, discount**2], rtol=1e-6
    )


@pytest.mark.parametrize("share", [0.0, 5.0, 37.0, 95.0, 100.0])
def test_percentiles_are_interpolated_linearly_over_all_entries(share):
    x = np.random.default_rng(0).normal(size=(7, 11)).astype(np.float32)
    low, high = behavior.percentiles(jnp.asarray(x), share, 100.0)
    assert float(low) == pytest.approx(np.percentile(x, share), rel=1e-5)
    assert float(high) == x.max()


def test_the_return_scale_starts_at_zero_moves_by_a_hundredth_and_is_at_least_one():
    settings = RetNorm()
    scale = behavior.update_scale(ReturnScale(jnp.zeros(()), jnp.zeros(())), jnp.linspace(0, 1000, 101)[None], settings)
    np.testing.assert_allclose([scale.low, scale.high], [0.5, 9.5], rtol=1e-5)
    assert float(scale.scale(settings)) == pytest.approx(9.0, rel=1e-5)
    assert float(ReturnScale(jnp.zeros(()), jnp.float32(0.2)).scale(settings)) == 1.0


def test_the_slow_critic_is_set_at_the_first_update_and_follows_at_its_period():
    config = Config(slow_critic_update=3, slow_critic_fraction=0.25)
    slow, seen = jnp.float32(100.0), []
    for n in range(5):
        slow = behavior.update_slow(slow, jnp.float32(n), jnp.int32(n), config)
        seen.append(float(slow))
    assert seen == [0, 0, 0, 0.75, 0.75]
