"""Uncertainty weighting: HarmonyDream without its rectification, the ablation of the paper.

The regulariser s has no lower bound, so that the weight of a loss that goes to 0 grows without end. Source: Kendall et
al., arXiv:1705.07115, in the form of HarmonyDream's ablation, arXiv:2310.00344.
"""

from collections.abc import Mapping

from jaxtyping import Array, Float

from agent.weighting.base import Losses, Metrics, Scalars, learned_total, learned_weights

NAME = "uncertainty_dreamerv3"
LABEL = "DreamerV3, uncertainty weighting"
SCALARS = ("reward", "image", "dyn")
IGNORES = ("loss_scales.reward", "loss_scales.image", "loss_scales.cont", "loss_scales.vector")


def total(losses: Losses, scalars: Scalars, scales: Mapping[str, float]) -> Float[Array, "batch time"]:
    """Return the sum of L·exp(-s) + s."""
    return learned_total(losses, scalars, scales, lambda s: s)


def metrics(scalars: Scalars) -> Metrics:
    """Return s, weight and sigma of each weighted loss."""
    return learned_weights(scalars, SCALARS)
