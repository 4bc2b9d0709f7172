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
    model_out: ModelOutputs,
    actor_out: ActorOutputs,
    critic_out: CriticOutputs,
    losses: Metrics,
    norms: Metrics,
) -> Metrics:
    """Return the metrics of one update as scalars; `weights` are its method's before it, norms before clipping."""
    report: Metrics = {f"loss/{name}": loss.mean() for name, loss in model_out.losses.items()}
    report["loss/model"] = model_out.total.mean()
    report |= {f"loss/{name}": value for name, value in losses.items()}
    report |= {f"grad_norm/{name}": value for name, value in norms.items()}
    report |= weights
    return report | _model_metrics(batch, model_out) | _behavior_metrics(actor_out, critic_out)


def _model_metrics(batch: Batch, model_out: ModelOutputs) -> Metrics:
    reward = model_out.reward.mean()
    return {
        "model/post_entropy": OneHot(model_out.post.logit).entropy().sum(-1).mean(),
        "model/prior_entropy": model_out.prior.entropy().sum(-1).mean(),
        "model/reward_pred": reward.mean(),
        "model/reward_avg": batch["reward"].mean(),
        "model/reward_max_pred": jnp.abs(reward).max(),
        "model/reward_max_data": jnp.abs(batch["reward"]).max(),
        "model/cont_pred": model_out.cont.mean().mean(),
        "model/cont_avg": 1.0 - batch["is_terminal"].mean(),
    }


def _behavior_metrics(actor_out: ActorOutputs, critic_out: CriticOutputs) -> Metrics:
    returns = actor_out.scores.returns
    return {
        "actor/entropy": actor_out.entropy.mean(),
        "actor/log_prob": actor_out.log_prob.mean(),
        "actor/advantage": actor_out.advantage.mean(),
        "actor/advantage_mag": jnp.abs(actor_out.advantage).max(),
        "actor/advantage_std": actor_out.advantage.std(),
        "imagined/reward": actor_out.scores.reward.mean(),
        "imagined/return": returns.mean(),
        "imagined/return_std": returns.std(),
        "imagined/return_low": actor_out.scale.low,
        "imagined/return_high": actor_out.scale.high,
        "critic/value": critic_out.value.mean().mean(),
        "critic/slow_value": critic_out.slow_value.mean(),
    }
