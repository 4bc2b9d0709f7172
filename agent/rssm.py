"""The recurrent state-space model: a deterministic GRU state and categorical variables, prior and posterior."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from agent.distributions import OneHot, Sampler, flat
from agent.nets import Dense, Linear, Norm, truncated_normal
from agent.schema import RSSM as Settings


class Latent(NamedTuple):
    """One state: `deter`, and the draw `stoch` from categorical variables with log-probabilities `logit`."""

    deter: Float[Array, "*batch deter"]
    logit: Float[Array, "*batch stoch classes"]
    stoch: Float[Array, "*batch stoch classes"]

    @property
    def features(self) -> Float[Array, "*batch features"]:
        """What heads see: deter and the flattened stoch."""
        return jnp.concatenate([self.deter, flat(self.stoch)], -1)


def clip_action(action: Float[Array, "*batch action"], limit: float) -> Float[Array, "*batch action"]:
    """Return the action scaled into ±limit entry by entry; no gradient through the scale."""
    return action * jax.lax.stop_gradient(limit / jnp.maximum(limit, jnp.abs(action)))


class GRU(eqx.Module):
    """A gated cell: one kernel over concat(deter, x) with a joint norm gives reset, candidate, update, in order."""

    kernel: Float[Array, "inputs gates"]
    norm: Norm

    def __init__(self, deter: int, inputs: int, *, key: PRNGKeyArray):
        shape = (deter + inputs, 3 * deter)
        self.kernel = truncated_normal(shape, fan_in=shape[0], fan_out=shape[1], key=key)
        self.norm = Norm(3 * deter)

    def __call__(self, deter: Float[Array, "*batch deter"], x: Float[Array, "*batch inputs"]) -> Float[Array, "..."]:
        dtype = self.kernel.dtype
        gates = jnp.concatenate([deter.astype(dtype), x.astype(dtype)], -1) @ self.kernel
        return self.gate(self.norm(gates), deter)

    @staticmethod
    def gate(gates: Float[Array, "*batch gates"], deter: Float[Array, "*batch deter"]) -> Float[Array, "*batch deter"]:
        """Return the next state from normed gates; the update gate leans to keeping by -1."""
        reset, candidate, update = jnp.split(gates, 3, -1)
        candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
        update = jax.nn.sigmoid(update - 1)
        return update * candidate + (1 - update) * deter


class RSSM(eqx.Module):
    """The model of one step, and scans of it over time."""

    img_in: Dense
    gru: GRU
    img_out: Dense
    img_stats: Linear
    obs_out: Dense
    obs_stats: Linear
    initial_deter: Float[Array, " deter"]
    settings: Settings = eqx.field(static=True)

    def __init__(self, settings: Settings, embed: int, action: int, *, key: PRNGKeyArray):
        keys = jax.random.split(key, 6)
        deter, units = settings.deter, settings.units
        stoch = settings.stoch * settings.classes
        self.img_in = Dense(stoch + action, units, key=keys[0])
        self.gru = GRU(deter, units, key=keys[1])
        self.img_out = Dense(deter, units, key=keys[2])
        self.img_stats = Linear(units, stoch, key=keys[3])
        self.obs_out = Dense(deter + embed, units, key=keys[4])
        self.obs_stats = Linear(units, stoch, key=keys[5])
        self.initial_deter = jnp.zeros(deter)
        self.settings = settings

    @property
    def feature_size(self) -> int:
        """Length of `Latent.features`."""
        return self.settings.deter + self.settings.stoch * self.settings.classes

    def initial(self, batch: int) -> Latent:
        """Return the learned initial state; its stoch is the mode of the prior there, without gradient."""
        deter = jnp.tanh(self.initial_deter)
        prior = self.prior(deter)
        state = Latent(deter, jnp.zeros_like(prior.logits), prior.mode())
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (batch, *x.shape)), state)

    def prior(self, deter: Float[Array, "*batch deter"]) -> OneHot:
        """Return the distribution of stoch before the observation is seen."""
        return self._unimix(self.img_stats(self.img_out(deter)))

    def posterior(self, deter: Float[Array, "*batch deter"], embed: Float[Array, "*batch embed"]) -> OneHot:
        """Return the distribution of stoch once the observation is seen."""
        return self._unimix(self.obs_stats(self.obs_out(jnp.concatenate([deter, embed.astype(jnp.float32)], -1))))

    def _unimix(self, raw: Float[Array, "*batch size"]) -> OneHot:
        shape = (*raw.shape[:-1], self.settings.stoch, self.settings.classes)
        return OneHot.unimix(raw.reshape(shape), self.settings.unimix)

    def transition(self, prev: Latent, action: Float[Array, "*batch action"]) -> Float[Array, "*batch deter"]:
        """Return the next deterministic state."""
        x = jnp.concatenate([flat(prev.stoch), clip_action(action, self.settings.action_clip)], -1)
        return self.gru(prev.deter, self.img_in(x))

    def img_step(self, prev: Latent, action: Float[Array, "*batch action"], noise: Array, sampler: Sampler) -> Latent:
        """Return the next state as the model imagines it."""
        deter = self.transition(prev, action)
        prior = self.prior(deter)
        return Latent(deter, prior.logits, prior.sample(noise, sampler))

    def reset(
        self, prev: Latent, action: Float[Array, "batch action"], is_first: Bool[Array, " batch"]
    ) -> tuple[Latent, Float[Array, "batch action"]]:
        """Return previous state and action with the initial state and no action where an episode begins."""
        initial = self.initial(len(is_first))

        def choose(new: Array, old: Array) -> Array:
            return jnp.where(is_first.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        return jax.tree.map(choose, initial, prev), choose(jnp.zeros_like(action), action)

    def obs_step(
        self,
        prev: Latent,
        action: Float[Array, "batch action"],
        embed: Float[Array, "batch embed"],
        is_first: Bool[Array, " batch"],
        noise: Array,
        sampler: Sampler,
    ) -> Latent:
        """Return the next state once its observation is seen."""
        prev, action = self.reset(prev, action, is_first)
        deter = self.transition(prev, action)
        post = self.posterior(deter, embed)
        return Latent(deter, post.logits, post.sample(noise, sampler))

    def observe(
        self,
        embed: Float[Array, "batch time embed"],
        prev_actions: Float[Array, "batch time action"],
        is_first: Bool[Array, "batch time"],
        start: Latent,
        *,
        sampler: Sampler,
        key: PRNGKeyArray,
    ) -> tuple[Latent, OneHot]:
        """Return the posterior states [batch, time, ...] and the priors of the same steps."""
        by_time = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (embed, prev_actions, is_first))
        noise = sampler.categorical_noise(key, (embed.shape[1], embed.shape[0], self.settings.stoch))

        def step(prev: Latent, inputs: tuple) -> tuple[Latent, tuple[Latent, OneHot]]:
            embed, action, first, noise = inputs
            post = self.obs_step(prev, action, embed, first, noise, sampler)
            return post, (post, self.prior(post.deter))

        _, outputs = jax.lax.scan(step, start, (*by_time, noise))
        return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), outputs)
