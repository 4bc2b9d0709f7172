"""Adam behind its clip."""

import jax.numpy as jnp
import numpy as np
import pytest

from agent.contract.schema import Adam
from agent.nn import optim

PARAMS = {"a": jnp.zeros(3), "b": jnp.zeros((2, 2))}
GRADS = {"a": jnp.array([3.0, -4.0, 0.0]), "b": jnp.full((2, 2), 1e-9)}


@pytest.mark.parametrize("clip", [0.0, 1000.0])
def test_a_clip_of_zero_is_off_as_published_and_a_long_one_changes_nothing(clip: float) -> None:
    params, state, norm = optim.update(PARAMS, GRADS, optim.init(PARAMS), Adam(lr=0.1, eps=1e-8, clip=clip))
    np.testing.assert_allclose(norm, 5.0, rtol=1e-6)
    np.testing.assert_allclose(params["a"], [-0.1, 0.1, 0.0], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(state.mu), [0.3, -0.4, 0.0, *[1e-10] * 4], rtol=1e-5)


def test_a_gradient_that_is_too_long_is_scaled_to_the_clip() -> None:
    _, state, norm = optim.update(PARAMS, GRADS, optim.init(PARAMS), Adam(lr=0.1, eps=1e-8, clip=0.5))
    np.testing.assert_allclose(norm, 5.0, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(state.mu)[:3], [0.03, -0.04, 0.0], rtol=1e-5)
