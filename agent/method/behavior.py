"""Behaviour learned in imagination: trajectories, lambda-returns, and the losses of actor and critic."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from agent.contract.config import Config
from agent.contract.schema import RetNorm
from agent.method.rssm import RSSM, Latent
from agent.method.world_model import TwoHotHead, WorldModel
from agent.nn import recurrence
from agent.nn.distributions import Normal, OneHot, Sampler, TwoHot
from agent.nn.layers import MLP, Linear
from agent.nn.products import Dot, Features, Inputs, OneHotForm, at, dot, one_hot_form, recorded, recording
from agent.spec import Action, DiscreteAction

STD_SHIFT = 2.0
Params = TypeVar("Params")


class DiscreteActor(eqx.Module):
    """A policy over n actions, unimixed."""

    mlp: MLP
    out: Linear
    unimix: float = eqx.field(static=True)

    def __call__(self, features: Inputs, dot: Dot = dot) -> OneHot:
        return OneHot.unimix(self.out(self.mlp(features, dot), dot), self.unimix)

    def noise(self, key: PRNGKeyArray, batch: tuple[int, ...], sampler: Sampler) -> Array:
        """Return noise for one action per batch entry."""
        return sampler.categorical_noise(key, (*batch, *self.out.bias.shape))

    def act(self, features: Inputs, noise: Array, sampler: Sampler, dot: Dot = dot) -> Float[Array, "*batch action"]:
        """Return a one-hot action."""
        return self(features, dot).sample(noise, sampler)


class ContinuousActor(eqx.Module):
    """A normal policy: mean within ±1, deviation between `minstd` and `maxstd`."""

    mlp: MLP
    out: Linear
    std: Linear
    minstd: float = eqx.field(static=True)
    maxstd: float = eqx.field(static=True)

    def __call__(self, features: Inputs, dot: Dot = dot) -> Normal:
        x = self.mlp(features, dot)
        std = (self.maxstd - self.minstd) * jax.nn.sigmoid(self.std(x, dot) + STD_SHIFT) + self.minstd
        return Normal(jnp.tanh(self.out(x, dot)), std)

    def noise(self, key: PRNGKeyArray, batch: tuple[int, ...], sampler: Sampler) -> Array:
        """Return noise for one action per batch entry."""
        return sampler.normal_noise(key, (*batch, *self.out.bias.shape))

    def act(self, features: Inputs, noise: Array, sampler: Sampler, dot: Dot = dot) -> Float[Array, "*batch action"]:
        """Return an action; its gradient reaches mean and deviation."""
        return self(features, dot).sample(noise)


Actor = DiscreteActor | ContinuousActor


def make_actor(config: Config, inputs: int, action: Action, *, key: PRNGKeyArray) -> Actor:
    """Return the actor for an action space."""
    settings = config.actor
    mlp_key, out_key, std_key = jax.random.split(key, 3)
    mlp = MLP(inputs, settings.units, settings.layers, key=mlp_key)
    out = Linear(settings.units, action.size, scale=settings.outscale, key=out_key)
    if isinstance(action, DiscreteAction):
        return DiscreteActor(mlp, out, settings.unimix)
    std = Linear(settings.units, action.size, scale=settings.outscale, key=std_key)
    return ContinuousActor(mlp, out, std, settings.minstd, settings.maxstd)


class Trajectory(NamedTuple):
    """H+1 imagined states and what belongs to them, time first; `products` are the actor's, or empty."""

    deter: Float[Array, "time batch deter"]
    stoch: Float[Array, "time batch stoch classes"]
    action: Float[Array, "time batch action"]
    cont: Float[Array, "time batch"]
    weight: Float[Array, "time batch"]
    products: tuple[Float[Array, "time batch _"], ...] = ()

    def features(self, config: Config) -> Features:
        """Return what heads see of each state."""
        return Features(self.deter, self.stoch, one_hot_form(config.jax.one_hot))


class Imagined(NamedTuple):
    """The part of an imagined state that the next one depends on."""

    deter: Float[Array, "*batch deter"]
    stoch: Float[Array, "*batch stoch classes"]
    action: Float[Array, "*batch action"]


def imagine(
    model: WorldModel,
    actor: Actor,
    start: Latent,
    is_terminal: Float[Array, " batch"],
    config: Config,
    *,
    sampler: Sampler,
    key: PRNGKeyArray,
) -> Trajectory:
    """Return trajectories of the actor in the model from `start`; the actor sees detached features."""
    horizon, batch, rssm = config.imag_horizon, len(is_terminal), config.rssm
    action_key, stoch_key = jax.random.split(key)
    action_noise = actor.noise(action_key, (horizon + 1, batch), sampler)
    stoch_noise = sampler.categorical_noise(stoch_key, (horizon, batch, rssm.stoch, rssm.classes))
    form = one_hot_form(config.jax.one_hot)
    first_products: list[Array] = []
    detached = jax.lax.stop_gradient(Features(start.deter, start.stoch, form))
    first_action = actor.act(detached, action_noise[0], sampler, recording(first_products))
    first = Imagined(start.deter, start.stoch, first_action)
    scan = recurrence.scan if config.jax.scan == "fast" else recurrence.plain_scan
    rest, products = scan(
        partial(imagine_step, sampler, form), (model.rssm, actor), first, (stoch_noise, action_noise[1:]),
        unroll=recurrence.unroll_factor(config.jax.imagine_unroll, horizon),
    )  # fmt: skip
    deter, stoch, action = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)
    features = Features(deter[1:], stoch[1:], form)
    cont = jnp.concatenate([(1.0 - is_terminal)[None], model.cont(features).mode()])
    known = tuple(jnp.concatenate([a[None], b]) for a, b in zip(first_products, products, strict=True))
    return Trajectory(deter, stoch, action, cont, trajectory_weight(cont, config.horizon), known)


def imagine_step(
    sampler: Sampler,
    form: OneHotForm,
    params: tuple[RSSM, Actor],
    prev: Imagined,
    noises: tuple[Array, Array],
    dot: Dot,
) -> tuple[Imagined, list[Array]]:
    """Return the next imagined state with the action taken in it, and the products of the actor that chose it."""
    rssm, actor = params
    before = Latent(prev.deter, prev.stoch, prev.stoch)
    state = rssm.img_step(before, prev.action, noises[0], sampler, dot, form)
    products: list[Array] = []
    detached = jax.lax.stop_gradient(Features(state.deter, state.stoch, form))
    action = actor.act(detached, noises[1], sampler, recording(products, dot))
    return Imagined(state.deter, state.stoch, action), products


def trajectory_weight(cont: Float[Array, "time batch"], horizon: float) -> Float[Array, "time batch"]:
    """Return how much each imagined state counts: cumprod(γ·cont)/γ with γ = 1 - 1/horizon."""
    discount = 1 - 1 / horizon
    return jnp.cumprod(discount * cont, 0) / discount


def lambda_returns(
    reward: Float[Array, "horizon batch"],
    value: Float[Array, "time batch"],
    cont: Float[Array, "time batch"],
    discount: float,
    lambda_: float,
) -> Float[Array, "horizon batch"]:
    """Return R_t = r_t + γ c_{t+1} ((1-λ) v_{t+1} + λ R_{t+1}) with R_H = v_H, for t = 0..H-1.

    `reward[t]` belongs to the state t+1; `value` and `cont` have one entry more.
    """
    keep = discount * cont[1:]
    now = reward + keep * (1 - lambda_) * value[1:]
    returns = [value[-1]]
    for t in reversed(range(len(reward))):
        returns.append(now[t] + keep[t] * lambda_ * returns[-1])
    return jnp.stack(returns[:0:-1])


class ReturnScale(NamedTuple):
    """Moving low and high percentiles of the returns, both 0 at the start, without bias correction."""

    low: Float[Array, ""]
    high: Float[Array, ""]

    def scale(self, settings: RetNorm) -> Float[Array, ""]:
        """The number advantages are divided by: high - low, at least 1/max."""
        return jnp.maximum(1 / settings.max, self.high - self.low)


def percentiles(x: Float[Array, "..."], low: float, high: float) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return two percentiles (0..100) of all entries, linearly interpolated, from one sort."""
    ordered = jnp.sort(x.reshape(-1))

    def at(share: float) -> Float[Array, ""]:
        place = share / 100 * (len(ordered) - 1)
        below = min(int(place), len(ordered) - 1)
        above = min(below + 1, len(ordered) - 1)
        part = place - below
        return ordered[below] * (1 - part) + ordered[above] * part

    return at(low), at(high)


def update_scale(old: ReturnScale, returns: Float[Array, "horizon batch"], settings: RetNorm) -> ReturnScale:
    """Return the percentiles moved towards those of `returns`."""
    low, high = percentiles(jax.lax.stop_gradient(returns), settings.perclo, settings.perchi)
    keep = settings.decay
    return ReturnScale(keep * old.low + (1 - keep) * low, keep * old.high + (1 - keep) * high)


class Scores(NamedTuple):
    """What a trajectory is worth: rewards, returns and the critic's values, time first; and the critic's products."""

    reward: Float[Array, "horizon batch"]
    returns: Float[Array, "horizon batch"]
    value: Float[Array, "time batch"]
    products: list[Float[Array, "time batch _"]]


def score(model: WorldModel, critic: TwoHotHead, trajectory: Trajectory, config: Config) -> Scores:
    """Return reward means of the states after each action, values of all states, and lambda-returns."""
    features = trajectory.features(config)
    reward = model.reward(at(features, slice(1, None))).mean()
    products: list[Array] = []
    value = critic(features, recording(products)).mean()
    discount = 1 - 1 / config.horizon
    returns = lambda_returns(reward, value, trajectory.cont, discount, config.return_lambda)
    return Scores(reward, returns, value, products)


class ActorOutputs(NamedTuple):
    """What the actor's loss computed on the way."""

    trajectory: Trajectory
    scores: Scores
    scale: ReturnScale
    policy: OneHot | Normal
    advantage: Float[Array, "horizon batch"]
    log_prob: Float[Array, "horizon batch"]
    entropy: Float[Array, "horizon batch"]


def actor_loss(
    actor: Actor, trajectory: Trajectory, model: WorldModel, critic: TwoHotHead, scale: ReturnScale, config: Config
) -> tuple[Float[Array, ""], ActorOutputs]:
    """Return the actor's loss over a trajectory it imagined.

    Discrete actions: REINFORCE on detached advantages. Continuous: the advantages' gradient through the model. The
    return scale is updated first, then used; the policy's log-probability and entropy see detached features.
    """
    stop = jax.lax.stop_gradient
    scores = score(model, critic, trajectory, config)
    scale = update_scale(scale, scores.returns, config.retnorm)
    advantage = (scores.returns - scores.value[:-1]) / scale.scale(config.retnorm)
    policy = actor(stop(trajectory.features(config)), recorded(trajectory.products))
    log_prob = policy.log_prob(stop(trajectory.action))[:-1]
    entropy = policy.entropy()[:-1]
    gain = log_prob * stop(advantage) if isinstance(actor, DiscreteActor) else advantage
    loss = stop(trajectory.weight)[:-1] * (-gain - config.actent * entropy)
    outputs = ActorOutputs(trajectory, scores, scale, policy, advantage, log_prob, entropy)
    return config.loss_scales.actor * loss.mean(), outputs


class CriticOutputs(NamedTuple):
    """What the critic's loss computed on the way."""

    value: TwoHot
    slow_value: Float[Array, "horizon batch"]
    nll: Float[Array, "horizon batch"]
    regulariser: Float[Array, "horizon batch"]
    weighted: Float[Array, "horizon batch"]


def critic_loss(
    critic: TwoHotHead,
    slow: TwoHotHead,
    trajectory: Trajectory,
    returns: Float[Array, "horizon batch"],
    config: Config,
    products: Sequence[Float[Array, "time batch _"]] = (),
) -> tuple[Float[Array, ""], CriticOutputs]:
    """Return the critic's loss: cross entropy with the returns and with the slow critic's mean, weighted.

    `products` are the critic's, as `score` kept them; without them they are computed again.
    """
    stop = jax.lax.stop_gradient
    features = at(stop(trajectory.features(config)), slice(-1))
    value = critic(features, recorded([product[:-1] for product in products]))
    slow_value = stop(slow(features).mean())
    nll = -value.log_prob(stop(returns))
    regulariser = -value.log_prob(slow_value)
    weighted = stop(trajectory.weight[:-1]) * (nll + config.loss_scales.slowreg * regulariser)
    outputs = CriticOutputs(value, slow_value, nll, regulariser, weighted)
    return config.loss_scales.critic * weighted.mean(), outputs


def update_slow(slow: Params, critic: Params, updates: Array, config: Config) -> Params:
    """Return the slow critic after `updates` + 1 updates of the critic.

    The first sets it to the critic; then, every `slow_critic_update` updates, it moves by `slow_critic_fraction`.
    """
    due = jnp.where(updates % config.slow_critic_update == 0, config.slow_critic_fraction, 0.0)
    mix = jnp.where(updates == 0, 1.0, due)
    return jax.tree.map(lambda old, new: mix * new + (1 - mix) * old, slow, critic)
