"""HarmonyDream: learned weights that keep the world model's losses on one scale. Source: arXiv:2310.00344."""

from collections.abc import Mapping

import jax
from jaxtyping import Array, Float

from agent.weighting.base import Losses, Metrics, Scalars, learned_total, learned_weights

NAME = "harmony_dreamerv3"
LABEL = "Harmony DreamerV3"
SCALARS = ("reward", "image", "dyn")
IGNORES = ("loss_scales.reward", "loss_scales.image", "loss_scales.cont", "loss_scales.vector")


def total(losses: Losses, scalars: Scalars, scales: Mapping[str, float]) -> Float[Array, "batch time"]:
    """Return the sum of L·exp(-s) + log(1 + exp(s)), whose second term keeps the learned weight finite."""
    return learned_total(losses, scalars, scales, jax.nn.softplus)


def metrics(scalars: Scalars) -> Metrics:
    """Return s, weight and sigma of each weighted loss."""
    return learned_weights(scalars, SCALARS)
