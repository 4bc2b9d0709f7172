"""DreamerV3: the losses times fixed scales. Source: arXiv:2301.04104."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from agent.weighting.base import Losses, Metrics, Scalars

NAME = "dreamerv3"
LABEL = "DreamerV3"
SCALARS = ()
IGNORES = ()


def total(losses: Losses, scalars: Scalars, scales: Mapping[str, float]) -> Float[Array, "batch time"]:
    """Return the sum of the losses times their scales."""
    return jnp.asarray(sum(loss * scales[name] for name, loss in losses.items()))


def metrics(scalars: Scalars) -> Metrics:
    """Return nothing: nothing is learned."""
    return {}
