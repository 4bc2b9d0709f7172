"""The scan with batched parameter gradients gives what a plain scan gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agent.nn import recurrence


def step(params, state, inputs, dot):
    kernel, bias, out = params
    x, keep = inputs
    state = {"h": jnp.tanh(dot(jnp.where(keep, state["h"], 0), kernel) + x + bias), "c": state["c"] * 0.9 + state["h"]}
    return state, dot(state["c"], out)


@pytest.mark.parametrize("unroll", [1, 3])
def test_states_outputs_and_all_gradients_equal_those_of_a_plain_scan(unroll):
    keys = jax.random.split(jax.random.key(0), 6)
    params = (jax.random.normal(keys[0], (4, 4)), jax.random.normal(keys[1], (4,)), jax.random.normal(keys[2], (4, 3)))
    start = {"h": jax.random.normal(keys[3], (2, 4)), "c": jnp.zeros((2, 4))}
    keep = jnp.array([1, 1, 0, 1, 1, 0, 1], bool)[:, None, None]

    def loss(scan, params, start, x):
        states, extra = scan(step, params, start, (x, keep), unroll=unroll)
        weight = jnp.cos(jnp.arange(extra.size, dtype=jnp.float32)).reshape(extra.shape)
        return (extra * weight).sum() + jnp.square(states["h"]).sum() + states["c"][-1].sum()

    x = jax.random.normal(keys[4], (7, 2, 4))
    results = [
        jax.value_and_grad(lambda *a, scan=scan: loss(scan, *a), argnums=(0, 1, 2))(params, start, x)
        for scan in (recurrence.scan, recurrence.plain_scan)
    ]
    for ours, plain in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=2e-5, atol=2e-5)


def test_scans_are_unrolled_as_asked_and_by_default_not_on_a_cpu():
    assert recurrence.unroll_factor(3, 64) == 3
    assert recurrence.unroll_factor(0, 64) == 1
    assert [recurrence.unroll_factor(0, steps, "gpu") for steps in (64, 50, 15, 7)] == [4, 5, 5, 1]
