"""Layers and stacks of them, their initial values, and the type in which they compute.

A layer computes in the type of its kernel: `in_compute_dtype` casts kernels once per update. Layer norms compute in
float32 always, and what a layer without norm returns is float32.
"""

import math
from collections.abc import Sequence
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from agent.nn.convolution import ConvForm, conv, conv_transpose
from agent.nn.products import Dot, Inputs, dot, joined

Tree = TypeVar("Tree")

NORM_EPS = 1e-3
# Standard deviation of a unit normal that is cut at two standard deviations.
TRUNCATED_STD = 0.87962566103423978


def truncated_normal(
    shape: Sequence[int], *, fan_in: int, fan_out: int, scale: float = 1.0, key: PRNGKeyArray
) -> Float[Array, "..."]:
    """Return a kernel with standard deviation sqrt(scale / mean fan), drawn within two raw standard deviations."""
    std = math.sqrt(scale * 2 / (fan_in + fan_out)) / TRUNCATED_STD
    draws = _generator(key)
    kernel = draws.standard_normal(shape)
    while (beyond := np.abs(kernel) > 2).any():
        kernel[beyond] = draws.standard_normal(int(beyond.sum()))
    return jnp.asarray(std * kernel, jnp.float32)


def uniform(
    shape: Sequence[int], *, fan_in: int, fan_out: int, scale: float = 1.0, key: PRNGKeyArray
) -> Float[Array, "..."]:
    """Return a kernel uniform within ±sqrt(3 scale / mean fan)."""
    bound = math.sqrt(3 * scale * 2 / (fan_in + fan_out))
    return jnp.asarray(_generator(key).uniform(-bound, bound, shape), jnp.float32)


def _generator(key: PRNGKeyArray) -> np.random.Generator:
    """Return the host's generator for a key: initial values need no program, which would take long to compile."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())


def in_compute_dtype(module: Tree, dtype: jnp.dtype) -> Tree:
    """Return the module with every kernel in `dtype`; norms, biases and all other parameters stay float32."""

    def cast(path: tuple, leaf: Array) -> Array:
        return leaf.astype(dtype) if getattr(path[-1], "name", None) == "kernel" else leaf

    return jax.tree_util.tree_map_with_path(cast, module)


class Norm(eqx.Module):
    """Layer norm over the last axis: epsilon 1e-3 inside the root, biased variance, float32."""

    scale: Float[Array, " size"]
    bias: Float[Array, " size"]

    def __init__(self, size: int):
        self.scale = jnp.ones(size)
        self.bias = jnp.zeros(size)

    def __call__(self, x: Float[Array, "*batch size"]) -> Float[Array, "*batch size"]:
        x = x.astype(jnp.float32)
        x = x - x.mean(-1, keepdims=True)
        variance = jnp.square(x).mean(-1, keepdims=True)
        return x * jax.lax.rsqrt(variance + NORM_EPS) * self.scale + self.bias


class Dense(eqx.Module):
    """Linear without bias, layer norm, silu."""

    kernel: Float[Array, "inputs outputs"]
    norm: Norm

    def __init__(self, inputs: int, outputs: int, *, key: PRNGKeyArray):
        self.kernel = truncated_normal((inputs, outputs), fan_in=inputs, fan_out=outputs, key=key)
        self.norm = Norm(outputs)

    def __call__(self, x: Inputs, dot: Dot = dot) -> Float[Array, "*batch outputs"]:
        return self.activate(dot(x, self.kernel))

    def activate(self, x: Float[Array, "*batch outputs"]) -> Float[Array, "*batch outputs"]:
        """Norm and silu of what the kernel gives, in the kernel's type."""
        return jax.nn.silu(self.norm(x)).astype(self.kernel.dtype)


class Linear(eqx.Module):
    """Linear with bias, neither norm nor activation: an output layer. `scale` 0 makes the kernel start at zero."""

    kernel: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, *, scale: float = 1.0, key: PRNGKeyArray):
        self.kernel = uniform((inputs, outputs), fan_in=inputs, fan_out=outputs, scale=scale, key=key)
        self.bias = jnp.zeros(outputs)

    def __call__(self, x: Inputs, dot: Dot = dot) -> Float[Array, "*batch outputs"]:
        return dot(x, self.kernel).astype(jnp.float32) + self.bias


class MLP(eqx.Module):
    """A stack of dense layers of one width."""

    layers: tuple[Dense, ...]

    def __init__(self, inputs: int, units: int, layers: int, *, key: PRNGKeyArray):
        sizes = [inputs, *[units] * layers]
        keys = jax.random.split(key, layers)
        self.layers = tuple(Dense(a, b, key=k) for a, b, k in zip(sizes[:-1], sizes[1:], keys, strict=True))

    def __call__(self, x: Inputs, dot: Dot = dot) -> Float[Array, "*batch units"]:
        for layer in self.layers:
            x = layer(x, dot)
        return joined(x)


class Conv(eqx.Module):
    """4×4 stride-2 convolution without bias, layer norm over channels, silu."""

    kernel: Float[Array, "4 4 i o"]
    norm: Norm
    form: ConvForm = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, form: ConvForm, *, key: PRNGKeyArray):
        self.kernel = truncated_normal((4, 4, inputs, outputs), fan_in=16 * inputs, fan_out=16 * outputs, key=key)
        self.norm = Norm(outputs)
        self.form = form

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        x = conv(x.astype(self.kernel.dtype), self.kernel, self.form)
        return jax.nn.silu(self.norm(x)).astype(self.kernel.dtype)


class ConvTranspose(eqx.Module):
    """4×4 stride-2 transposed convolution: with layer norm and silu, or (`last`) with a bias only."""

    kernel: Float[Array, "4 4 o i"]
    norm: Norm | None
    bias: Float[Array, " o"] | None
    form: ConvForm = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, form: ConvForm, *, last: bool, scale: float = 1.0, key: PRNGKeyArray):
        fans = {"fan_in": 16 * inputs, "fan_out": 16 * outputs}
        shape = (4, 4, outputs, inputs)
        self.kernel = uniform(shape, **fans, scale=scale, key=key) if last else truncated_normal(shape, **fans, key=key)
        self.norm = None if last else Norm(outputs)
        self.bias = jnp.zeros(outputs) if last else None
        self.form = form

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        x = conv_transpose(x.astype(self.kernel.dtype), self.kernel, self.form)
        if self.bias is not None:
            return x.astype(jnp.float32) + self.bias
        if self.norm is not None:
            return jax.nn.silu(self.norm(x)).astype(self.kernel.dtype)
        return x


def stages(size: tuple[int, ...], minres: int) -> int:
    """Return how often an image [height, width, channels] halves until its side is `minres`.

    Raises: ValueError when it is not square or never arrives there.
    """
    height, width = size[0], size[1]
    count = round(math.log2(height / minres)) if height >= minres else -1
    if height != width or count < 1 or minres * 2**count != height:
        raise ValueError(f"image {list(size)}: expected a square of {minres}·2^k pixels a side, k at least 1")
    return count
