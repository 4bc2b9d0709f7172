"""Distributions of the agent: one-hot, two-hot in symlog space, Bernoulli, Normal; and the source of their draws.

All parameters and results are float32. Log-probabilities, entropies and divergences are in nats.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

BIN_LIMIT = 20.0
# Squared errors of vectors below this count as zero, as in the published code.
SQUARE_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Sampler:
    """The rule by which draws are made. Noise is drawn ahead of its use, so that scans can be fed with it.

    This one makes real draws; a subclass may replace any part (the golden checks replace every draw by the mode).
    """

    def categorical_noise(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Exponential numbers, one per class (the last axis of `shape`)."""
        return jnp.maximum(jax.random.exponential(key, shape), jnp.finfo(jnp.float32).tiny)

    def categorical(
        self, probs: Float[Array, "*batch classes"], noise: Float[Array, "*batch classes"]
    ) -> Float[Array, "*batch classes"]:
        """A one-hot draw without gradient: the class whose exponential clock of rate `probs` rings first."""
        winner = jnp.argmax(jax.lax.stop_gradient(probs) / noise, -1)
        return jax.nn.one_hot(winner, probs.shape[-1], dtype=jnp.float32)

    def normal_noise(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Standard normal numbers."""
        return jax.random.normal(key, shape)


DRAW = Sampler()


def symlog(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return sign(x) log(1 + |x|)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return sign(x) (exp|x| - 1), the inverse of symlog."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


class OneHot(NamedTuple):
    """Categorical variables as one-hot vectors; `logits` are normalised log-probabilities."""

    logits: Float[Array, "*batch classes"]

    @classmethod
    def unimix(cls, raw: Float[Array, "*batch classes"], share: float) -> "OneHot":
        """Return the distribution softmax(raw), `share` of it replaced by the uniform one."""
        raw = raw.astype(jnp.float32)
        if not share:
            return cls(jax.nn.log_softmax(raw))
        return cls(jnp.log((1 - share) * jax.nn.softmax(raw) + share / raw.shape[-1]))

    @property
    def probs(self) -> Float[Array, "*batch classes"]:
        """Probabilities."""
        return jnp.exp(self.logits)

    def mode(self) -> Float[Array, "*batch classes"]:
        """The most likely class, one-hot, without gradient."""
        return jax.nn.one_hot(jnp.argmax(self.logits, -1), self.logits.shape[-1], dtype=jnp.float32)

    def sample(self, noise: Array, sampler: Sampler) -> Float[Array, "*batch classes"]:
        """A draw, exactly one-hot, whose gradient is that of the probabilities (straight-through)."""
        probs = self.probs
        return sampler.categorical(probs, noise) + (probs - jax.lax.stop_gradient(probs))

    def log_prob(self, value: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
        """Log-probability of one-hot values."""
        return (value * self.logits).sum(-1)

    def entropy(self) -> Float[Array, "*batch"]:
        """Entropy of each variable."""
        return -(self.probs * self.logits).sum(-1)

    def kl(self, other: "OneHot") -> Float[Array, "*batch"]:
        """Divergence of `self` from `other`, each variable."""
        return (self.probs * (self.logits - other.logits)).sum(-1)


def two_hot_bins(count: int) -> Float[Array, " bins"]:
    """Return `count` evenly spaced points of symlog space from -20 to 20.

    Their last bit is that of the published code's, whose compiler fused the interpolation -20·(1 - i·step) + 20·step·i;
    a target that is exactly a bin has all its weight there (`test_golden_agent`).
    """
    i = np.arange(count - 1, dtype=np.float32)
    step = np.float32(1 / (count - 1))
    left = (1.0 - i.astype(np.float64) * float(step)).astype(np.float32)
    right = np.float32(BIN_LIMIT) * step * i
    bins = (right.astype(np.float64) - BIN_LIMIT * left.astype(np.float64)).astype(np.float32)
    return jnp.asarray(np.append(bins, np.float32(BIN_LIMIT)))


def two_hot(x: Float[Array, "*batch"], bins: Float[Array, " bins"]) -> Float[Array, "*batch bins"]:
    """Return weights on the two bins around x whose mean is x; beyond the ends all weight is on the end bin."""
    gap = bins[1:] - bins[:-1]
    rise = jnp.concatenate([jnp.ones_like(x)[..., None], (x[..., None] - bins[:-1]) / gap], -1)
    fall = jnp.concatenate([(bins[1:] - x[..., None]) / gap, jnp.ones_like(x)[..., None]], -1)
    return jnp.clip(jnp.minimum(rise, fall), 0.0, 1.0)


class TwoHot(NamedTuple):
    """A number as a categorical over bins in symlog space. Mean and mode are symexp of the bins' mean."""

    logits: Float[Array, "*batch bins"]

    @property
    def bins(self) -> Float[Array, " bins"]:
        """The bins, in symlog space."""
        return two_hot_bins(self.logits.shape[-1])

    def mean(self) -> Float[Array, "*batch"]:
        """symexp(Σ p·bin), as in the 2023 version; later versions have Σ p·symexp(bin)."""
        return symexp(self.mean_in_bins())

    def mean_in_bins(self) -> Float[Array, "*batch"]:
        """Σ p·bin, in symlog space."""
        return (jax.nn.softmax(self.logits) * self.bins).sum(-1)

    def log_prob(self, value: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Cross entropy (negated) with the two-hot of symlog(value)."""
        return self.log_prob_in_bins(symlog(value))

    def log_prob_in_bins(self, value: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Cross entropy (negated) with the two-hot of a value in symlog space."""
        return (two_hot(value, self.bins) * jax.nn.log_softmax(self.logits)).sum(-1)


class Bernoulli(NamedTuple):
    """A yes-or-no variable."""

    logit: Float[Array, "*batch"]

    def mean(self) -> Float[Array, "*batch"]:
        """Probability of 1."""
        return jax.nn.sigmoid(self.logit)

    def mode(self) -> Float[Array, "*batch"]:
        """1 where the probability exceeds a half, else 0; no gradient."""
        return (self.logit > 0).astype(jnp.float32)

    def log_prob(self, value: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Log-probability of 0 or 1."""
        return -jax.nn.softplus(-self.logit) * value - jax.nn.softplus(self.logit) * (1 - value)

    def entropy(self) -> Float[Array, "*batch"]:
        """Entropy."""
        return jax.nn.softplus(self.logit) - self.logit * self.mean()


class Normal(NamedTuple):
    """Independent normal variables along the last axis."""

    mean: Float[Array, "*batch dim"]
    std: Float[Array, "*batch dim"]

    def sample(self, noise: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
        """mean + std·noise, differentiable in both."""
        return self.mean + self.std * noise

    def log_prob(self, value: Float[Array, "*batch dim"]) -> Float[Array, "*batch"]:
        """Log-density, summed over the last axis."""
        z = (value - self.mean) / self.std
        return (-0.5 * jnp.square(z) - jnp.log(self.std) - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Float[Array, "*batch"]:
        """Entropy, summed over the last axis."""
        return (jnp.log(self.std) + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


def squared_error(mean: Float[Array, "*shape"], value: Float[Array, "*shape"], axes: int) -> Float[Array, "..."]:
    """Return the squared error summed over the last `axes` axes."""
    return jnp.square(mean - value).sum(tuple(range(-axes, 0)))


def symlog_squared_error(mean: Float[Array, "*batch dim"], value: Float[Array, "*batch dim"]) -> Float[Array, "*batch"]:
    """Return the squared error to symlog(value), summed over the last axis; entries below 1e-8 count as zero."""
    error = jnp.square(mean - symlog(value))
    return jnp.where(error < SQUARE_TOLERANCE, 0.0, error).sum(-1)


def flat(stoch: Shaped[Array, "*batch stoch classes"]) -> Shaped[Array, "*batch size"]:
    """Return one-hot variables joined along the last axis."""
    return stoch.reshape(*stoch.shape[:-2], -1)
