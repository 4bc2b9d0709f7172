"""Layers, MLPs, and the encoder and decoder of images and vectors.

A layer computes in the type of its kernel: `in_compute_dtype` casts kernels once per update. Layer norms compute in
float32 always, and what a layer without norm returns is float32.
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from agent.recurrence import Dot, dot

ConvForm = Literal["lax", "matmul"]
Tree = TypeVar("Tree")

NORM_EPS = 1e-3
# Standard deviation of a unit normal that is cut at two standard deviations.
TRUNCATED_STD = 0.87962566103423978
# Sides of images whose windows reach beyond them so often that a transposed convolution multiplies first, then adds.
SMALL = 4


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

    def __call__(self, x: Float[Array, "*batch inputs"], dot: Dot = dot) -> Float[Array, "*batch outputs"]:
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

    def __call__(self, x: Float[Array, "*batch inputs"], dot: Dot = dot) -> Float[Array, "*batch outputs"]:
        return dot(x, self.kernel).astype(jnp.float32) + self.bias


class MLP(eqx.Module):
    """A stack of dense layers of one width."""

    layers: tuple[Dense, ...]

    def __init__(self, inputs: int, units: int, layers: int, *, key: PRNGKeyArray):
        sizes = [inputs, *[units] * layers]
        keys = jax.random.split(key, layers)
        self.layers = tuple(Dense(a, b, key=k) for a, b, k in zip(sizes[:-1], sizes[1:], keys, strict=True))

    def __call__(self, x: Float[Array, "*batch inputs"], dot: Dot = dot) -> Float[Array, "*batch units"]:
        for layer in self.layers:
            x = layer(x, dot)
        return x


def conv(x: Float[Array, "n h w i"], kernel: Float[Array, "4 4 i o"], form: ConvForm) -> Float[Array, "n h2 w2 o"]:
    """Return the 4×4 stride-2 SAME convolution of images with even sides, halving them."""
    if form == "matmul":
        return _conv_matmul(x, kernel)
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def conv_transpose(
    x: Float[Array, "n h w i"], kernel: Float[Array, "4 4 o i"], form: ConvForm
) -> Float[Array, "n h2 w2 o"]:
    """Return the 4×4 stride-2 SAME transposed convolution (kernel [h, w, out, in], not flipped), doubling the sides."""
    if form == "matmul":
        return _conv_transpose_small(x, kernel) if x.shape[1] <= SMALL else _conv_transpose_matmul(x, kernel)
    numbers = ("NHWC", "HWOI", "NHWC")
    return jax.lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=numbers)


# Patches are four times the size of what they are cut from: the backward pass cuts them again rather than keep them.
@jax.checkpoint
def _conv_matmul(x: Array, kernel: Array) -> Array:
    n, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    # A 4×4 window at even offsets is 2×2 blocks of 2×2 pixels.
    blocks = x.reshape(n, h // 2 + 1, 2, w // 2 + 1, 2, c).transpose(0, 1, 3, 2, 4, 5)
    blocks = blocks.reshape(n, h // 2 + 1, w // 2 + 1, 4 * c)
    patches = jnp.concatenate([blocks[:, :-1, :-1], blocks[:, :-1, 1:], blocks[:, 1:, :-1], blocks[:, 1:, 1:]], axis=-1)
    weights = kernel.reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 1, 3, 4, 5).reshape(16 * c, -1)
    return patches @ weights


@jax.checkpoint
def _conv_transpose_matmul(x: Array, kernel: Array) -> Array:
    n, h, w, c = x.shape
    out = kernel.shape[2]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = jnp.concatenate([x[:, :-1, :-1], x[:, :-1, 1:], x[:, 1:, :-1], x[:, 1:, 1:]], axis=-1)
    # Between inputs i-1 and i lie outputs 2i-1 (taps 1 and 3) and 2i (taps 0 and 2).
    taps = kernel.reshape(2, 2, 2, 2, out, c)[:, ::-1, :, ::-1]
    weights = taps.transpose(0, 2, 5, 1, 3, 4).reshape(4 * c, 4 * out)
    y = (patches @ weights).reshape(n, h + 1, w + 1, 2, 2, out)
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h + 2, 2 * w + 2, out)[:, 1:-1, 1:-1]


def _conv_transpose_small(x: Array, kernel: Array) -> Array:
    n, h, w, c = x.shape
    out = kernel.shape[2]
    products = x.reshape(-1, c) @ kernel.transpose(3, 0, 1, 2).reshape(c, 16 * out)
    return _overlap(_overlap(products.reshape(n, h, w, 4, 4, out), 1), 2)


def _overlap(products: Array, axis: int) -> Array:
    """Return outputs along an axis from products of inputs with taps (axis 3): tap t of input i adds to 2i + 2 - t."""
    taps, length = jnp.moveaxis(products, 3, 0), products.shape[axis]
    before, after = ([(0, 0)] * (products.ndim - 1) for _ in range(2))
    before[axis], after[axis] = (1, 0), (0, 1)
    earlier = jax.lax.slice_in_dim(jnp.pad(taps[0], before), 0, length, axis=axis)
    later = jax.lax.slice_in_dim(jnp.pad(taps[3], after), 1, length + 1, axis=axis)
    pairs = jnp.stack([taps[2] + earlier, taps[1] + later], axis + 1)
    return pairs.reshape(*pairs.shape[:axis], 2 * length, *pairs.shape[axis + 2 :])


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
