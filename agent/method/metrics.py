"""What an update reports: losses, the method's weights, gradient norms, and the state of model, actor and critic."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from agent.method.behavior import ActorOutputs, CriticOutputs
from agent.method.world_model import Batch, ModelOutputs
from agent.nn.distributions import OneHot

Metrics = dict[str, Float[Array, ""]]


def train_metrics(
    weights: Metrics,
    batch: Batch,
    seen: ModelOutputs,
    acted: ActorOutputs,
    judged: CriticOutputs,
    losses: Metrics,
    norms: Metrics,
) -> Metrics:
    """Return the metrics of one update as scalars; `weights` are its method's before it, norms before clipping."""
    report: Metrics = {f"loss/{name}": loss.mean() for name, loss in seen.losses.items()}
    report["loss/model"] = seen.total.mean()
    report |= {f"loss/{name}": value for name, value in losses.items()}
    report |= {f"grad_norm/{name}": value for name, value in norms.items()}
    report |= weights
    return report | _model_metrics(batch, seen) | _behavior_metrics(acted, judged)


def _model_metrics(batch: Batch, seen: ModelOutputs) -> Metrics:
    reward = seen.reward.mean()
    return {
        "model/post_entropy": OneHot(seen.post.logit).entropy().sum(-1).mean(),
        "model/prior_entropy": seen.prior.entropy().sum(-1).mean(),
        "model/reward_pred": reward.mean(),
        "model/reward_avg": batch["reward"].mean(),
        "model/reward_max_pred": jnp.abs(reward).max(),
        "model/reward_max_data": jnp.abs(batch["reward"]).max(),
        "model/cont_pred": seen.cont.mean().mean(),
        "model/cont_avg": 1.0 - batch["is_terminal"].mean(),
    }


def _behavior_metrics(acted: ActorOutputs, judged: CriticOutputs) -> Metrics:
    returns = acted.scores.returns
    return {
        "actor/entropy": acted.entropy.mean(),
        "actor/log_prob": acted.log_prob.mean(),
        "actor/advantage": acted.advantage.mean(),
        "actor/advantage_mag": jnp.abs(acted.advantage).max(),
        "actor/advantage_std": acted.advantage.std(),
        "imagined/reward": acted.scores.reward.mean(),
        "imagined/return": returns.mean(),
        "imagined/return_std": returns.std(),
        "imagined/return_low": acted.scale.low,
        "imagined/return_high": acted.scale.high,
        "critic/value": judged.value.mean().mean(),
        "critic/slow_value": judged.slow_value.mean(),
    }
