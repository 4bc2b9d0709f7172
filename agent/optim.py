"""Adam behind a clip by global norm, on one flat vector of all parameters."""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from agent.schema import Adam as Settings

Params = TypeVar("Params")

BETA1 = 0.9
BETA2 = 0.999


class AdamState(NamedTuple):
    """Updates made, and the moments of the gradient, parameters joined in the pytree's order."""

    updates: Int[Array, ""]
    mu: Float[Array, " parameters"]
    nu: Float[Array, " parameters"]


def init(params: object) -> AdamState:
    """Return the state before the first update."""
    flat, _ = ravel_pytree(params)
    return AdamState(jnp.zeros((), jnp.int32), jnp.zeros_like(flat), jnp.zeros_like(flat))


def update(
    params: Params, grads: Params, state: AdamState, settings: Settings
) -> tuple[Params, AdamState, Float[Array, ""]]:
    """Return parameters and state after one step, and the gradient's norm before clipping.

    The clip scales the gradient to norm `clip` where it is longer; Adam is bias-corrected, eps outside the root.
    """
    flat, unravel = ravel_pytree(params)
    grad, _ = ravel_pytree(grads)
    norm = jnp.sqrt(jnp.square(grad).sum())
    grad = jnp.where(norm < settings.clip, grad, grad / norm * settings.clip)
    updates = state.updates + 1
    mu = BETA1 * state.mu + (1 - BETA1) * grad
    nu = BETA2 * state.nu + (1 - BETA2) * jnp.square(grad)
    steps = updates.astype(jnp.float32)
    mean = mu / (1 - BETA1**steps)
    root = jnp.sqrt(nu / (1 - BETA2**steps))
    flat = flat - settings.lr * mean / (root + settings.eps)
    # Written once, then cut: otherwise each parameter's kernel reads all parameters, which must be copied before.
    return unravel(jax.lax.optimization_barrier(flat)), AdamState(updates, mu, nu), norm
