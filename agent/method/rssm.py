"""The recurrent state-space model: a deterministic GRU state and categorical variables, prior and posterior."""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from agent.contract.schema import RSSM as Settings
from agent.nn import recurrence
from agent.nn.distributions import OneHot, Sampler, flat
from agent.nn.layers import Dense, Linear, Norm, truncated_normal
from agent.nn.products import Dot, Features, OneHotForm, dot


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

    def __call__(
        self, deter: Float[Array, "*batch deter"], x: Float[Array, "*batch inputs"], dot: Dot = dot
    ) -> Float[Array, "*batch deter"]:
        gates = dot(jnp.concatenate([deter.astype(x.dtype), x], -1), self.kernel)
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

    def prior(self, deter: Float[Array, "*batch deter"], dot: Dot = dot) -> OneHot:
        """Return the distribution of stoch before the observation is seen."""
        return self.unimix(self.img_stats(self.img_out(deter, dot), dot))

    def posterior(self, deter: Float[Array, "*batch deter"], embed: Float[Array, "*batch embed"]) -> OneHot:
        """Return the distribution of stoch once the observation is seen."""
        return self.unimix(self.obs_stats(self.obs_out(jnp.concatenate([deter, embed.astype(jnp.float32)], -1))))

    def unimix(self, raw: Float[Array, "*batch size"]) -> OneHot:
        """Return the stoch variables' distribution from a stats layer's outputs."""
        shape = (*raw.shape[:-1], self.settings.stoch, self.settings.classes)
        return OneHot.unimix(raw.reshape(shape), self.settings.unimix)

    def transition(
        self, prev: Latent, action: Float[Array, "*batch action"], dot: Dot = dot, form: OneHotForm = "matmul"
    ) -> Float[Array, "*batch deter"]:
        """Return the next deterministic state. With `form` "lookup", `prev.stoch` must be exactly one-hot."""
        stoch_kernel, action_kernel = jnp.split(self.img_in.kernel, [self.settings.stoch * self.settings.classes])
        action = clip_action(action, self.settings.action_clip)
        x = self.img_in.activate(dot(Features(None, prev.stoch, form), stoch_kernel) + dot(action, action_kernel))
        return self.gru(prev.deter, x, dot)

    def img_step(
        self,
        prev: Latent,
        action: Float[Array, "*batch action"],
        noise: Array,
        sampler: Sampler,
        dot: Dot = dot,
        form: OneHotForm = "matmul",
    ) -> Latent:
        """Return the next state as the model imagines it."""
        deter = self.transition(prev, action, dot, form)
        prior = self.prior(deter, dot)
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
        fast: bool = True,
        unroll: int = 1,
    ) -> tuple[Latent, OneHot]:
        """Return the posterior states [batch, time, ...] and the priors of the same steps.

        `fast` computes in the scan only what must be sequential; without it every step is taken whole, as published.
        """
        embed, prev_actions, is_first = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (embed, prev_actions, is_first))
        settings = self.settings
        noise = sampler.categorical_noise(key, (*is_first.shape, settings.stoch, settings.classes))
        if fast:
            post = self._observe_fast(embed, prev_actions, is_first, start, noise, sampler, unroll)
            outputs = (post, self.prior(post.deter))
        else:

            def step(prev: Latent, inputs: tuple) -> tuple[Latent, tuple[Latent, OneHot]]:
                action, embed, first, noise = inputs
                post = self.obs_step(prev, action, embed, first, noise, sampler)
                return post, (post, self.prior(post.deter))

            _, outputs = jax.lax.scan(step, start, (prev_actions, embed, is_first, noise), unroll=unroll)
        return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), outputs)

    def _observe_fast(
        self,
        embed: Float[Array, "time batch embed"],
        actions: Float[Array, "time batch action"],
        is_first: Bool[Array, "time batch"],
        start: Latent,
        noise: Array,
        sampler: Sampler,
        unroll: int,
    ) -> Latent:
        """Return the posterior states, time first: embeddings and actions are projected for all steps beforehand."""
        settings, initial = self.settings, self.initial(1)
        sizes = (settings.stoch * settings.classes, settings.deter)
        stoch_kernel, action_kernel = jnp.split(self.img_in.kernel, sizes[:1])
        deter_kernel, embed_kernel = jnp.split(self.obs_out.kernel, sizes[1:])
        first = is_first[..., None]
        actions = jnp.where(first, 0.0, clip_action(actions, settings.action_clip))
        inputs = (dot(actions, action_kernel), dot(embed, embed_kernel), first, noise)
        params = (self, stoch_kernel, deter_kernel, Recurrent(initial.deter[0], flat(initial.stoch)[0]))
        step = partial(observe_step, sampler)
        state = Recurrent(start.deter, flat(start.stoch))
        states, logit = recurrence.scan(step, params, state, inputs, unroll=unroll)
        return Latent(states.deter, logit, states.stoch.reshape(logit.shape))


class Recurrent(NamedTuple):
    """The part of a state that the next one depends on, stoch flattened."""

    deter: Float[Array, "*batch deter"]
    stoch: Float[Array, "*batch size"]


def observe_step(
    sampler: Sampler, params: tuple[RSSM, Array, Array, Recurrent], prev: Recurrent, inputs: tuple, dot: Dot
) -> tuple[Recurrent, Float[Array, "*batch stoch classes"]]:
    """Return the next state and its posterior's logits, from projected action and embedding."""
    rssm, stoch_kernel, deter_kernel, initial = params
    action_in, embed_in, first, noise = inputs
    prev = jax.tree.map(lambda new, old: jnp.where(first, new, old), initial, prev)
    deter = rssm.gru(prev.deter, rssm.img_in.activate(dot(prev.stoch, stoch_kernel) + action_in), dot)
    hidden = rssm.obs_out.activate(dot(deter, deter_kernel) + embed_in)
    post = rssm.unimix(rssm.obs_stats(hidden, dot))
    return Recurrent(deter, flat(post.sample(noise, sampler))), post.logits
