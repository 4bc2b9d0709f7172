"""The golden numbers notice subtle mistakes: each perturbation of the implementation breaks at least one array."""

import functools

import jax
import jax.numpy as jnp
import pytest

from agent.method import behavior, learner, rssm, world_model
from agent.method.rssm import GRU, RSSM
from agent.nn import distributions, layers, optim
from agent.nn.distributions import OneHot, TwoHot
from agent.weighting import base as weighting
from tests.golden import standalone

pytestmark = pytest.mark.slow


def broken(part, case_name="disc", *, on=True):
    """How many arrays of a part disagree, everything traced anew."""
    case, arrays = standalone.stored_case(standalone.STORE / f"{case_name}.npz")
    state = standalone.initial_state(case, arrays)._replace(method=jnp.asarray(int(on)))
    if part == "updates":
        return len(standalone.after_updates(case, arrays, harmony=on).failures)
    compute = {"forward": "forward", "behavior": "imagination"}.get(part, "losses")
    values = jax.jit(functools.partial(getattr(standalone, compute), case))(state, standalone.batch(arrays, 0))
    return len(standalone.compare(part, arrays, values).failures)


def swapped_gates(gates, deter):
    candidate, reset, update = jnp.split(gates, 3, -1)
    update = jax.nn.sigmoid(update - 1)
    return update * jnp.tanh(jax.nn.sigmoid(reset) * candidate) + (1 - update) * deter


def prior_without_unimix(self, deter, dot=rssm.dot):
    raw = self.img_stats(self.img_out(deter, dot), dot)
    return OneHot.unimix(raw.reshape(*raw.shape[:-1], self.settings.stoch, self.settings.classes), 0.0)


def scale_updated_after_its_use(actor, trajectory, model, critic, scale, config, loss=behavior.actor_loss):
    update = behavior.update_scale
    behavior.update_scale = lambda old, returns, settings: old
    try:
        value, outputs = loss(actor, trajectory, model, critic, scale, config)
    finally:
        behavior.update_scale = update
    return value, outputs._replace(scale=update(scale, outputs.scores.returns, config.retnorm))


def extra_regulariser(name):
    """The loss with the dynamics' regulariser once more at the share of rep, or with that of another scalar."""

    def total_loss(losses, scalars, method, weightings, scales, total=weighting.total_loss):
        share = scales["dyn"] / (scales["dyn"] + scales["rep"])
        more = (1 - share) * jax.nn.softplus(scalars[name])
        return total(losses, scalars, method, weightings, scales) + more

    return total_loss


def unshared_weight(losses, scalars, method, weightings, scales, total=weighting.total_loss):
    share = scales["dyn"] / (scales["dyn"] + scales["rep"])
    apart = (1 - share) * losses["rep"] * (1 - jnp.exp(-scalars["dyn"]))
    return total(losses, scalars, method, weightings, scales) + apart


def weight_off_by_one(cont, horizon):
    return jnp.cumprod((1 - 1 / horizon) * cont, 0)


def sharp_sample(self, noise, sampler):
    return sampler.categorical(self.probs, noise)


def without_bias_correction(params, grads, state, settings, update=optim.update):
    late = state._replace(count=jnp.int32(10**6))
    params, new, norm = update(params, grads, late, settings)
    return params, new._replace(count=state.count + 1), norm


def slow_never_copied(slow, critic, updates, config, update=behavior.update_slow):
    return update(slow, critic, jnp.maximum(updates, 1), config)


def free_nats_of_the_mean(post, prior, config):
    kl = OneHot(post.logit).kl(prior).sum(-1)
    return {name: jnp.broadcast_to(jnp.maximum(kl.mean(), 1.0), kl.shape) for name in ("dyn", "rep")}


def reward_of_the_state_before(model, critic, trajectory, config, score=behavior.score):
    earlier = trajectory._replace(deter=jnp.roll(trajectory.deter, 1, 0), stoch=jnp.roll(trajectory.stoch, 1, 0))
    right, late = score(model, critic, trajectory, config), score(model, critic, earlier, config)
    discount = 1 - 1 / config.horizon
    returns = behavior.lambda_returns(late.reward, right.value, trajectory.cont, discount, config.return_lambda)
    return right._replace(reward=late.reward, returns=returns)


def swapped_critics(critic, slow, trajectory, returns, config, products=(), loss=behavior.critic_loss):
    return loss(slow, critic, trajectory, returns, config)


def imagined_in_the_old_model(state, *args, gradient=learner.actor_gradient, **kwargs):
    return gradient(state._replace(model=jax.tree.map(lambda x: x * 0.999, state.model)), *args, **kwargs)


PERTURBATIONS = {
    "GRU gates in another order": (GRU, "gate", staticmethod(swapped_gates), "forward"),
    "layer norm epsilon 1e-5": (layers, "NORM_EPS", 1e-5, "forward"),
    "no unimix in the prior": (RSSM, "prior", prior_without_unimix, "forward"),
    "images over 256": (world_model, "scaled", lambda image: image.astype(jnp.float32) / 256, "forward"),
    "two-hot mean of symexp bins": (
        TwoHot, "mean", lambda self: (jax.nn.softmax(self.logits) * distributions.symexp(self.bins)).sum(-1), "forward",
    ),
    "no straight-through gradient": (OneHot, "sample", sharp_sample, "losses_on"),
    "regulariser of dyn at weight 1": (world_model, "total_loss", extra_regulariser("dyn"), "losses_on"),
    "regulariser of reward counted more": (world_model, "total_loss", extra_regulariser("reward"), "losses_on"),
    "rep without the weight of dyn": (world_model, "total_loss", unshared_weight, "losses_on"),
    "free nats of the mean KL": (world_model, "kl_losses", free_nats_of_the_mean, "losses_on"),
    "return scale used before its update": (behavior, "actor_loss", scale_updated_after_its_use, "behavior"),
    "trajectory weight off by one": (behavior, "trajectory_weight", weight_off_by_one, "behavior"),
    "reward of the state before": (behavior, "score", reward_of_the_state_before, "behavior"),
    "fast and slow critic swapped": (behavior, "critic_loss", swapped_critics, "behavior"),
    "Adam without bias correction": (optim, "update", without_bias_correction, "updates"),
    "slow critic not copied at first": (behavior, "update_slow", slow_never_copied, "updates"),
    "imagination in another model": (learner, "actor_gradient", imagined_in_the_old_model, "updates"),
}  # fmt: skip


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_golden_numbers_notice(name, monkeypatch):
    owner, attribute, replacement, part = PERTURBATIONS[name]
    monkeypatch.setattr(owner, attribute, replacement)
    assert broken(part)


@pytest.mark.parametrize("part", ["forward", "losses_on", "behavior", "updates"])
def test_the_implementation_as_it_is_breaks_nothing(part):
    assert not broken(part)
