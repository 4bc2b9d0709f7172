"""Distributions: properties, hand-computed values, and real draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.nn import distributions
from agent.nn.distributions import DRAW, Bernoulli, Normal, OneHot, TwoHot, symexp, symlog, two_hot, two_hot_bins

KEY = jax.random.key(0)


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e6, 1e6, width=32))
def test_symexp_undoes_symlog(x):
    assert float(symexp(symlog(jnp.float32(x)))) == pytest.approx(x, rel=1e-4, abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.floats(-20, 20, width=32), st.sampled_from([3, 41, 255]))
def test_the_mean_of_a_two_hot_is_its_number_and_at_most_two_bins_carry_it(x, count):
    bins = two_hot_bins(count)
    weights = np.asarray(two_hot(jnp.float32(x), bins))
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    assert (weights > 0).sum() <= 2
    assert weights @ np.asarray(bins) == pytest.approx(x, abs=1e-4)


def test_a_number_beyond_the_bins_goes_to_the_end_bin():
    weights = np.asarray(two_hot(jnp.array([-25.0, 25.0]), two_hot_bins(255)))
    assert weights[0, 0] == weights[1, -1] == 1
    assert weights.sum() == 2


def test_the_bins_are_even_and_their_middle_is_zero():
    bins = np.asarray(two_hot_bins(255))
    np.testing.assert_allclose(bins, np.linspace(-20, 20, 255), atol=3e-6)
    assert bins[127] == 0
    assert (bins[0], bins[-1]) == (-20, 20)


def test_the_mean_is_symexp_of_the_bins_mean():
    logits = jnp.zeros(5).at[jnp.array([1, 4])].set(50.0)  # half at -10, half at 20
    assert float(TwoHot(logits).mean()) == pytest.approx(np.expm1(5), rel=1e-5)


def test_one_percent_of_the_uniform_is_mixed_in():
    probs = np.asarray(OneHot.unimix(jnp.array([100.0, 0, 0, 0]), 0.01).probs)
    np.testing.assert_allclose(probs, [0.9925, 0.0025, 0.0025, 0.0025], rtol=1e-5)


def test_draws_have_the_distributions_frequencies():
    dist = OneHot.unimix(jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05])), 0.01)
    noise = DRAW.categorical_noise(KEY, (40_000, 4))
    draws = np.asarray(jax.vmap(lambda n: dist.sample(n, DRAW))(noise))
    np.testing.assert_allclose(draws.mean(0), dist.probs, atol=0.01)
    assert set(np.unique(draws)) == {0, 1}


def test_a_draw_is_exactly_one_hot_and_has_the_gradient_of_the_probabilities():
    noise, weight = DRAW.categorical_noise(KEY, (64, 8)), jnp.arange(8.0)
    raw = jax.random.normal(KEY, (64, 8))
    value, grad = jax.value_and_grad(lambda r: (OneHot.unimix(r, 0.01).sample(noise, DRAW) * weight).sum())(raw)
    expected = jax.grad(lambda r: (OneHot.unimix(r, 0.01).probs * weight).sum())(raw)
    np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-6)
    assert float(value) == int(value)


def test_a_bernoullis_mode_is_one_above_a_half():
    assert Bernoulli(jnp.array([-0.1, 0.0, 0.1])).mode().tolist() == [0, 0, 1]


def test_normal_densities_and_entropies_are_sums_over_the_last_axis_in_nats():
    dist = Normal(jnp.zeros(2), jnp.array([1.0, 2.0]))
    assert float(dist.log_prob(jnp.array([1.0, 2.0]))) == pytest.approx(-1 - np.log(2 * np.pi) - np.log(2), rel=1e-6)
    assert float(dist.entropy()) == pytest.approx(np.log(2 * np.pi * np.e) + np.log(2), rel=1e-6)


def test_tiny_squared_errors_of_vectors_count_as_zero():
    mean, value = jnp.array([5e-5, 1.0]), jnp.zeros(2)
    assert float(distributions.symlog_squared_error(mean, value)) == 1.0
