"""4×4 stride-2 convolutions and transposed convolutions, in the form that is fast on each backend.

"lax" is XLA's own; "matmul" is patches times a matrix; "chunks" is the same with the weights' gradient as a CPU likes
it, and `in_chunks` takes a few images at a time.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

ConvForm = Literal["lax", "matmul", "chunks"]

# Sides of images whose windows reach beyond them so often that a transposed convolution multiplies first, then adds.
SMALL = 4
# Images of one step of `in_chunks`: as many as a CPU's cache holds with their patches, and the fewest worth a loop.
CHUNK, LEAST_CHUNK = 32, 8


def conv(x: Float[Array, "n h w i"], kernel: Float[Array, "4 4 i o"], form: ConvForm) -> Float[Array, "n h2 w2 o"]:
    """Return the 4×4 stride-2 SAME convolution of images with even sides, halving them."""
    if form != "lax":
        return _conv_matmul(x, kernel, form)
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def conv_transpose(
    x: Float[Array, "n h w i"], kernel: Float[Array, "4 4 o i"], form: ConvForm
) -> Float[Array, "n h2 w2 o"]:
    """Return the 4×4 stride-2 SAME transposed convolution (kernel [h, w, out, in], not flipped), doubling the sides."""
    if form != "lax":
        work = _conv_transpose_small if x.shape[1] <= SMALL else _conv_transpose_matmul
        return work(x, kernel, form)
    numbers = ("NHWC", "HWOI", "NHWC")
    return jax.lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=numbers)


# Patches are four times the size of what they are cut from: the backward pass cuts them again rather than keep them.
@partial(jax.checkpoint, static_argnums=2)
def _conv_matmul(x: Array, kernel: Array, form: ConvForm) -> Array:
    n, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    # A 4×4 window at even offsets is 2×2 blocks of 2×2 pixels.
    blocks = x.reshape(n, h // 2 + 1, 2, w // 2 + 1, 2, c).transpose(0, 1, 3, 2, 4, 5)
    blocks = blocks.reshape(n, h // 2 + 1, w // 2 + 1, 4 * c)
    patches = jnp.concatenate([blocks[:, :-1, :-1], blocks[:, :-1, 1:], blocks[:, 1:, :-1], blocks[:, 1:, 1:]], axis=-1)
    weights = kernel.reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 1, 3, 4, 5).reshape(16 * c, -1)
    return _product(patches, weights, form)


@partial(jax.checkpoint, static_argnums=2)
def _conv_transpose_matmul(x: Array, kernel: Array, form: ConvForm) -> Array:
    n, h, w, c = x.shape
    out = kernel.shape[2]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = jnp.concatenate([x[:, :-1, :-1], x[:, :-1, 1:], x[:, 1:, :-1], x[:, 1:, 1:]], axis=-1)
    # Between inputs i-1 and i lie outputs 2i-1 (taps 1 and 3) and 2i (taps 0 and 2).
    taps = kernel.reshape(2, 2, 2, 2, out, c)[:, ::-1, :, ::-1]
    weights = taps.transpose(0, 2, 5, 1, 3, 4).reshape(4 * c, 4 * out)
    y = _product(patches, weights, form).reshape(n, h + 1, w + 1, 2, 2, out)
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h + 2, 2 * w + 2, out)[:, 1:-1, 1:-1]


def _conv_transpose_small(x: Array, kernel: Array, form: ConvForm) -> Array:
    n, h, w, c = x.shape
    out = kernel.shape[2]
    products = _product(x.reshape(-1, c), kernel.transpose(3, 0, 1, 2).reshape(c, 16 * out), form)
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


def _product(x: Array, weights: Array, form: ConvForm) -> Array:
    return _narrow_product(x, weights) if form == "chunks" else x @ weights


@jax.custom_vjp
def _narrow_product(x: Array, weights: Array) -> Array:
    """Return x @ weights, many rows and few columns, with the weights' gradient in the form that is fast on CPUs."""
    return x @ weights


def _narrow_forward(x: Array, weights: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ weights, (x, weights)


def _narrow_backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, weights = saved
    rows, columns = x.reshape(-1, x.shape[-1]), cotangent.reshape(-1, cotangent.shape[-1])
    # XLA would fold the transposes into the product, and its CPU kernels are slow at long sums down both columns.
    turned = jax.lax.optimization_barrier(columns.T)
    return cotangent @ weights.T, jax.lax.optimization_barrier(turned @ rows).T


_narrow_product.defvjp(_narrow_forward, _narrow_backward)


def in_chunks(layers: Sequence[Callable[[Array], Array]], images: Array, form: ConvForm) -> Array:
    """Return what the layers make of images [n, height, width, channels], or for "chunks" of a few of them at a time.

    Then their patches stay in a CPU's cache. The backward pass finds the products as they were and recomputes the rest.
    """

    def work(images: Array) -> Array:
        for layer in layers:
            images = layer(images)
        return images

    count = len(images)
    size = max(size for size in range(1, CHUNK + 1) if count % size == 0)
    if form != "chunks" or size < LEAST_CHUNK or size == count:
        return work(images)
    some = jax.checkpoint(work, policy=jax.checkpoint_policies.dots_saveable)
    made = jax.lax.map(some, images.reshape(-1, size, *images.shape[1:]))
    return made.reshape(count, *made.shape[2:])
