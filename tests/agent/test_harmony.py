"""HarmonyDream: values by hand, and where the weights come to rest."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agent.harmony import Harmony, harmonise, total_loss

SCALES = {"image": 1.0, "reward": 1.0, "cont": 1.0, "dyn": 0.5, "rep": 0.1}


def losses(**values):
    return {name: jnp.full((2, 3), float(values.get(name, 1.0))) for name in SCALES}


def test_a_weight_and_its_regulariser_by_hand():
    assert float(harmonise(jnp.float32(3.0), jnp.float32(0.5))) == pytest.approx(
        3 * np.exp(-0.5) + np.log1p(np.exp(0.5))
    )
    assert float(harmonise(jnp.float32(3.0), jnp.float32(0.5), regularise=False)) == pytest.approx(3 * np.exp(-0.5))


def test_at_the_start_the_two_methods_differ_by_the_dynamics_share_and_the_regularisers():
    values = losses(image=5, reward=2, dyn=3, rep=4, cont=0.5)
    plain, harmonised = (float(total_loss(values, Harmony(), jnp.float32(on), SCALES)[0, 0]) for on in (0, 1))
    assert plain == pytest.approx(5 + 2 + 0.5 + 0.5 * 3 + 0.1 * 4)
    log2 = np.log(2)
    assert harmonised == pytest.approx(5 + 2 + 2 * log2 + 0.5 + 5 / 6 * (3 + log2) + 1 / 6 * 4, rel=1e-6)


@pytest.mark.parametrize(("name", "expected"), [("reward", 0.3), ("image", 7.0), ("dyn", 5 / 6 / 2.5)])
def test_at_rest_w_times_one_plus_w_is_one_over_the_loss(name, expected):
    # reward: L = 1/0.3; image: L = 1/7; dynamics: L = (0.5 dyn + 0.1 rep)/0.6 = 2.5, with 5/6 of a regulariser.
    values = losses(reward=1 / 0.3, image=1 / 7, dyn=2.5, rep=2.5)
    s = jnp.float32(0.0)

    def loss(s):
        harmony = eqx.tree_at(lambda tree: getattr(tree, name), Harmony(), s)
        return total_loss(values, harmony, jnp.float32(1), SCALES).mean()

    s = jax.jit(lambda s: jax.lax.fori_loop(0, 400, lambda _, s: s - 0.3 * jax.grad(loss)(s), s))(s)
    weight = float(jnp.exp(-s))
    assert weight * (1 + weight) == pytest.approx(expected, rel=1e-3)
