"""The world model: encoder, RSSM, decoder, reward and continuation heads, and their loss."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from agent.contract.config import Config
from agent.contract.methods import scalar_names
from agent.method.rssm import RSSM, Latent
from agent.nn.convolution import ConvForm, in_chunks
from agent.nn.distributions import Bernoulli, OneHot, Sampler, TwoHot, squared_error, symlog, symlog_squared_error
from agent.nn.layers import MLP, Conv, ConvTranspose, Linear, stages
from agent.nn.products import Dot, Inputs, dot
from agent.nn.recurrence import unroll_factor
from agent.spec import ArraySpec, EnvSpec
from agent.weighting.base import Weighting, total_loss

Batch = Mapping[str, Shaped[Array, "batch time ..."]]
IMAGE = "image"


def image_shape(obs: Mapping[str, ArraySpec]) -> tuple[int, ...] | None:
    """Return the shape of the image among the observations, or None."""
    return tuple(obs[IMAGE].shape) if IMAGE in obs else None


def vector_sizes(obs: Mapping[str, ArraySpec]) -> dict[str, int]:
    """Return the length of each vector among the observations, in their order."""
    return {name: spec.shape[0] for name, spec in obs.items() if name != IMAGE}


def check_observations(obs: Mapping[str, ArraySpec]) -> None:
    """Raise ValueError unless the observations are a uint8 `image` of 3 axes, float32 vectors, or both."""
    if not obs:
        raise ValueError("no observation: expected an 'image', vectors, or both")
    for name, spec in obs.items():
        rank, dtype = (3, "uint8") if name == IMAGE else (1, "float32")
        if len(spec.shape) != rank or spec.dtype != dtype:
            raise ValueError(
                f"observation {name!r} is {spec.dtype}{list(spec.shape)}; expected 'image' as uint8 with 3 axes, "
                f"and any other as a float32 vector"
            )


class Encoder(eqx.Module):
    """Observations to one embedding: the image's convolutions flattened, then the vectors' MLP."""

    convs: tuple[Conv, ...]
    mlp: MLP | None
    size: int = eqx.field(static=True)
    vectors: tuple[str, ...] = eqx.field(static=True)
    symlog_inputs: bool = eqx.field(static=True)

    def __init__(self, config: Config, obs: Mapping[str, ArraySpec], form: ConvForm, *, key: PRNGKeyArray):
        settings, shape, vectors = config.encoder, image_shape(obs), vector_sizes(obs)
        count = stages(shape, settings.minres) if shape else 0
        *keys, mlp_key = jax.random.split(key, count + 1)
        depths = [shape[-1] if shape else 0, *(settings.cnn_depth * 2**i for i in range(count))]
        self.convs = tuple(Conv(a, b, form, key=k) for a, b, k in zip(depths[:-1], depths[1:], keys, strict=True))
        inputs = sum(vectors.values())
        self.mlp = MLP(inputs, settings.mlp_units, settings.mlp_layers, key=mlp_key) if vectors else None
        self.size = (settings.minres**2 * depths[-1] if shape else 0) + (settings.mlp_units if vectors else 0)
        self.vectors = tuple(vectors)
        self.symlog_inputs = settings.symlog_inputs

    def __call__(self, obs: Mapping[str, Shaped[Array, "..."]]) -> Float[Array, "*batch embed"]:
        """Return the embedding of observations as they are stored: images uint8, vectors float32."""
        parts = []
        if self.convs:
            x = scaled(obs[IMAGE]) - 0.5
            batch = x.shape[:-3]
            x = in_chunks(self.convs, x.reshape(-1, *x.shape[-3:]), self.convs[0].form)
            parts.append(x.reshape(*batch, -1))
        if self.mlp is not None:
            x = jnp.concatenate([obs[name] for name in self.vectors], -1)
            parts.append(self.mlp(symlog(x) if self.symlog_inputs else x))
        return jnp.concatenate(parts, -1)


class Decoder(eqx.Module):
    """Features back to observations: images in 0..1, vectors in symlog space."""

    image_in: Linear | None
    convs: tuple[ConvTranspose, ...]
    mlp: MLP | None
    vectors: dict[str, Linear]
    minres: int = eqx.field(static=True)

    def __init__(self, config: Config, obs: Mapping[str, ArraySpec], inputs: int, form: ConvForm, *, key: PRNGKeyArray):
        settings, shape, vectors = config.decoder, image_shape(obs), vector_sizes(obs)
        image_key, conv_key, mlp_key, vector_key = jax.random.split(key, 4)
        count = stages(shape, settings.minres) if shape else 0
        depths = [*(settings.cnn_depth * 2**i for i in reversed(range(count))), shape[-1] if shape else 0]
        keys = jax.random.split(conv_key, max(count, 1))
        first = settings.minres**2 * depths[0]
        self.image_in = Linear(inputs, first, key=image_key) if shape else None
        self.convs = tuple(
            ConvTranspose(depths[i], depths[i + 1], form, last=i == count - 1, scale=settings.outscale, key=keys[i])
            for i in range(count)
        )
        self.mlp = MLP(inputs, settings.mlp_units, settings.mlp_layers, key=mlp_key) if vectors else None
        keys = jax.random.split(vector_key, max(len(vectors), 1))
        self.vectors = {
            name: Linear(settings.mlp_units, size, scale=settings.outscale, key=k)
            for (name, size), k in zip(vectors.items(), keys, strict=False)
        }
        self.minres = settings.minres

    def __call__(self, features: Float[Array, "*batch features"]) -> dict[str, Float[Array, "..."]]:
        """Return the mean of every observation, float32; vectors stay in symlog space."""
        out = {}
        if self.image_in is not None:
            x = self.image_in(features)
            batch = x.shape[:-1]
            x = x.reshape(-1, self.minres, self.minres, x.shape[-1] // self.minres**2)
            x = in_chunks(self.convs, x, self.convs[0].form)
            out[IMAGE] = x.reshape(*batch, *x.shape[-3:]) + 0.5
        if self.mlp is not None:
            x = self.mlp(features)
            out |= {name: layer(x) for name, layer in self.vectors.items()}
        return out


class TwoHotHead(eqx.Module):
    """An MLP that gives a number's distribution: reward and critic. Its output starts at zero by default."""

    mlp: MLP
    out: Linear

    def __init__(self, inputs: int, layers: int, units: int, bins: int, scale: float, *, key: PRNGKeyArray):
        mlp_key, out_key = jax.random.split(key)
        self.mlp = MLP(inputs, units, layers, key=mlp_key)
        self.out = Linear(units, bins, scale=scale, key=out_key)

    def __call__(self, features: Inputs, dot: Dot = dot) -> TwoHot:
        return TwoHot(self.out(self.mlp(features, dot), dot))


class BinaryHead(eqx.Module):
    """An MLP that gives a yes-or-no variable: does the episode continue?"""

    mlp: MLP
    out: Linear

    def __init__(self, inputs: int, layers: int, units: int, scale: float, *, key: PRNGKeyArray):
        mlp_key, out_key = jax.random.split(key)
        self.mlp = MLP(inputs, units, layers, key=mlp_key)
        self.out = Linear(units, 1, scale=scale, key=out_key)

    def __call__(self, features: Inputs) -> Bernoulli:
        return Bernoulli(self.out(self.mlp(features))[..., 0])


class WorldModel(eqx.Module):
    """Everything the model optimizer trains, the learned scalars of all methods included: 0 at the start."""

    encoder: Encoder
    rssm: RSSM
    decoder: Decoder
    reward: TwoHotHead
    cont: BinaryHead
    scalars: dict[str, Float[Array, ""]]

    def __init__(self, config: Config, spec: EnvSpec, form: ConvForm, *, key: PRNGKeyArray):
        check_observations(spec.obs)
        keys = jax.random.split(key, 5)
        self.encoder = Encoder(config, spec.obs, form, key=keys[0])
        self.rssm = RSSM(config.rssm, self.encoder.size, spec.action.size, key=keys[1])
        size, reward, cont = self.rssm.feature_size, config.reward_head, config.cont_head
        self.decoder = Decoder(config, spec.obs, size, form, key=keys[2])
        self.reward = TwoHotHead(size, reward.layers, reward.units, reward.bins, reward.outscale, key=keys[3])
        self.cont = BinaryHead(size, cont.layers, cont.units, cont.outscale, key=keys[4])
        self.scalars = {name: jnp.zeros(()) for name in scalar_names()}


class Carry(NamedTuple):
    """What one update hands to the next: the last posterior and the last action of each sequence."""

    latent: Latent
    action: Float[Array, "batch action"]


class ModelOutputs(NamedTuple):
    """What the loss computed on the way: states, heads' distributions, and each loss per [batch, time]."""

    post: Latent
    prior: OneHot
    reward: TwoHot
    cont: Bernoulli
    losses: dict[str, Float[Array, "batch time"]]
    total: Float[Array, "batch time"]


def scaled(image: Shaped[Array, "..."]) -> Float[Array, "..."]:
    """Return a stored uint8 image as float32 in 0..1."""
    return image.astype(jnp.float32) / 255.0


def model_losses(
    model: WorldModel, batch: Batch, post: Latent, prior: OneHot, config: Config
) -> tuple[dict[str, Float[Array, "batch time"]], TwoHot, Bernoulli]:
    """Return each loss per [batch, time], unscaled, and the reward and continuation heads' distributions."""
    features = post.features
    detached = jax.lax.stop_gradient(features)

    def seen_by(head: str) -> Float[Array, "batch time features"]:
        return features if head in config.grad_heads else detached

    losses = dict(kl_losses(post, prior, config))
    for name, mean in model.decoder(seen_by("decoder")).items():
        if name == IMAGE:
            losses[name] = squared_error(mean, scaled(batch[name]), axes=3)
        else:
            losses[name] = symlog_squared_error(mean, batch[name])
    reward, cont = model.reward(seen_by("reward")), model.cont(seen_by("cont"))
    losses["reward"] = -reward.log_prob(batch["reward"])
    losses["cont"] = -cont.log_prob(1.0 - batch["is_terminal"].astype(jnp.float32))
    return losses, reward, cont


def kl_losses(post: Latent, prior: OneHot, config: Config) -> dict[str, Float[Array, "batch time"]]:
    """Return dyn (trains the prior) and rep (trains the posterior): the same KL, at least `free` nats each."""
    stop = jax.lax.stop_gradient
    posterior = OneHot(post.logit)
    dyn = OneHot(stop(post.logit)).kl(prior).sum(-1)
    rep = posterior.kl(OneHot(stop(prior.logits))).sum(-1)
    return {"dyn": jnp.maximum(dyn, config.dyn_loss.free), "rep": jnp.maximum(rep, config.rep_loss.free)}


def previous_actions(carry: Carry, action: Float[Array, "batch time action"]) -> Float[Array, "batch time action"]:
    """Return the action before each step; that before the first comes from the carry."""
    return jnp.concatenate([carry.action[:, None], action[:, :-1]], 1)


def world_model_loss(
    model: WorldModel,
    batch: Batch,
    carry: Carry,
    method: Int[Array, ""],
    weightings: Sequence[Weighting],
    config: Config,
    *,
    sampler: Sampler,
    key: PRNGKeyArray,
) -> tuple[Float[Array, ""], ModelOutputs]:
    """Return the mean loss of a batch, weighted by the run's method, and what was computed on the way."""
    embed = model.encoder(batch)
    is_first: Bool[Array, "batch time"] = batch["is_first"]
    actions = previous_actions(carry, batch["action"])
    post, prior = model.rssm.observe(
        embed, actions, is_first, carry.latent, sampler=sampler, key=key,
        fast=config.jax.scan == "fast", unroll=unroll_factor(config.jax.observe_unroll, is_first.shape[1]),
    )  # fmt: skip
    losses, reward, cont = model_losses(model, batch, post, prior, config)
    total = total_loss(losses, model.scalars, method, weightings, loss_scales(losses, config))
    return total.mean(), ModelOutputs(post, prior, reward, cont, losses, total)


def loss_scales(losses: Mapping[str, object], config: Config) -> dict[str, float]:
    """Return the fixed scale of each named loss; vectors share one."""
    scales = config.loss_scales
    known = {"image": scales.image, "reward": scales.reward, "cont": scales.cont, "dyn": scales.dyn, "rep": scales.rep}
    return {name: known.get(name, scales.vector) for name in losses}
