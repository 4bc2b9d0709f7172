"""The RSSM: its two scans agree, resets forget, actions are scaled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agent.contract.schema import RSSM as Settings
from agent.method.rssm import RSSM, Latent, clip_action
from agent.nn.distributions import DRAW

KEY = jax.random.key(1)
SETTINGS = Settings(deter=6, units=5, stoch=3, classes=4)


def inputs(batch=2, time=5, embed=7, action=3):
    keys = jax.random.split(KEY, 4)
    model = RSSM(SETTINGS, embed, action, key=keys[0])
    model = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(keys[1], x.shape), model)
    first = jnp.zeros((batch, time), bool).at[0, 0].set(True).at[1, 3].set(True)
    arrays = jax.random.normal(keys[2], (batch, time, embed)), 2 * jax.random.normal(keys[3], (batch, time, action))
    return model, *arrays, first


@pytest.mark.parametrize("unroll", [1, 2])
def test_the_fast_scan_gives_the_states_and_gradients_of_the_whole_steps(unroll):
    model, embed, action, first = inputs()
    start = jax.tree.map(lambda x: x + 0.2, model.initial(2))

    def loss(model, embed, start, fast):
        post, prior = model.observe(embed, action, first, start, sampler=DRAW, key=KEY, fast=fast, unroll=unroll)
        weight = jnp.cos(jnp.arange(post.features.size, dtype=jnp.float32)).reshape(post.features.shape)
        return (post.features * weight).sum() + jnp.sin(post.logit).sum() + jnp.cos(prior.logits).sum(), post

    (fast, slow) = (
        jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(model, embed, start, fast) for fast in (True, False)
    )
    np.testing.assert_array_equal(fast[0][1].stoch, slow[0][1].stoch)
    for a, b in zip(jax.tree.leaves(fast), jax.tree.leaves(slow), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


def test_the_first_step_of_an_episode_forgets_state_and_action():
    model, embed, action, _ = inputs()
    first = jnp.array([True, True])
    noise = DRAW.categorical_noise(KEY, (2, 3, 4))
    used = jax.tree.map(lambda x: x + 0.7, model.initial(2))
    fresh = model.obs_step(model.initial(2), jnp.zeros((2, 3)), embed[:, 0], first, noise, DRAW)
    again = model.obs_step(used, action[:, 0], embed[:, 0], first, noise, DRAW)
    for a, b in zip(fresh, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_initial_state_is_learned_through_its_deter_alone():
    model, *_ = inputs()
    initial = model.initial(1)
    np.testing.assert_allclose(initial.deter[0], np.tanh(model.initial_deter), rtol=1e-6)
    grad = jax.grad(lambda m: (m.initial(1).stoch * jnp.arange(4.0)).sum())(model)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grad))
    assert isinstance(initial, Latent)


def test_actions_beyond_one_are_scaled_without_gradient_through_the_scale():
    x = jnp.array([-3.0, -0.5, 0.2, 1.5])
    np.testing.assert_allclose(clip_action(x, 1.0), [-1, -0.5, 0.2, 1], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: clip_action(x, 1.0).sum())(x), [1 / 3, 1, 1, 1 / 1.5], rtol=1e-6)
