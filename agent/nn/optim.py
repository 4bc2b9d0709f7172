"""Optax's Adam behind its clip by global norm, on one flat vector of all parameters."""

from typing import Any, TypeVar

import jax
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from agent.contract.schema import Adam as Settings

Params = TypeVar("Params")

# Updates made (`count`), and the moments `mu` and `nu` of the gradient, parameters joined in the pytree's order.
AdamState = optax.ScaleByAdamState


def init(params: object) -> AdamState:
    """Return the state before the first update."""
    flat, _ = ravel_pytree(params)
    adam: Any = optax.scale_by_adam()  # optax types every state and update as any tree
    return adam.init(flat)


def update(
    params: Params, grads: Params, state: AdamState, settings: Settings
) -> tuple[Params, AdamState, Float[Array, ""]]:
    """Return parameters and state after one step, and the gradient's norm before clipping.

    The clip scales the gradient to norm `clip` where it is longer, and is off at 0; Adam is bias-corrected, eps outside
    the root.
    """
    flat, unravel = ravel_pytree(params)
    grad, _ = ravel_pytree(grads)
    norm = optax.tree.norm(grad)
    clip: Any = optax.clip_by_global_norm(settings.clip) if settings.clip else optax.identity()
    adam: Any = optax.scale_by_adam(eps=settings.eps)
    step, state = adam.update(clip.update(grad, optax.EmptyState())[0], state)
    # Written once, then cut: otherwise each parameter's kernel reads all parameters, which must be copied before.
    return unravel(jax.lax.optimization_barrier(flat - settings.lr * step)), state, norm
