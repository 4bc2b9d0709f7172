"""4×4 stride-2 convolutions and transposed convolutions, in the form that is fast on each backend.

"lax" is XLA's own; "matmul" is patches times a matrix; "chunks" computes each, and its gradients, by the method that
suits a CPU at that size, and `in_chunks` takes a few images at a time.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Float

ConvForm = Literal["lax", "matmul", "chunks"]

# Sides of images whose windows reach beyond them so often that a transposed convolution multiplies first, then adds.
SMALL = 4
# Images of one step of `in_chunks`: as many as a CPU's cache holds with their patches, and the fewest worth a loop.
CHUNK, LEAST_CHUNK = 32, 8
# Channels so few that XLA's convolutions are slow on a CPU.
FEW = 8
# What the backward pass of a chunk finds as it was.
PRODUCT = "product"
NHWC = ("NHWC", "HWIO", "NHWC")
BORDER = ((0, 0), (1, 1), (1, 1), (0, 0))


def conv(x: Float[Array, "n h w i"], kernel: Float[Array, "4 4 i o"], form: ConvForm) -> Float[Array, "n h2 w2 o"]:
    """Return the 4×4 stride-2 SAME convolution of images with even sides, halving them."""
    if form == "chunks":
        return checkpoint_name(_halved(x, kernel), PRODUCT)
    if form == "matmul":
        return _conv_matmul(x, kernel)
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=NHWC)


def conv_transpose(
    x: Float[Array, "n h w i"], kernel: Float[Array, "4 4 o i"], form: ConvForm
) -> Float[Array, "n h2 w2 o"]:
    """Return the 4×4 stride-2 SAME transposed convolution (kernel [h, w, out, in], not flipped), doubling the sides."""
    if form == "chunks":
        return checkpoint_name(_doubled(x, kernel[::-1, ::-1]), PRODUCT)
    if form == "matmul":
        return (_conv_transpose_small if x.shape[1] <= SMALL else _conv_transpose_matmul)(x, kernel)
    numbers = ("NHWC", "HWOI", "NHWC")
    return jax.lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=numbers)


# Patches are four times the size of what they are cut from: the backward pass cuts them again rather than keep them.
@jax.checkpoint
def _conv_matmul(x: Array, kernel: Array) -> Array:
    n, h, w, c = x.shape
    # A 4×4 window at even offsets is 2×2 blocks of 2×2 pixels.
    blocks = jnp.pad(x, BORDER).reshape(n, h // 2 + 1, 2, w // 2 + 1, 2, c).transpose(0, 1, 3, 2, 4, 5)
    weights = kernel.reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 1, 3, 4, 5).reshape(16 * c, -1)
    return _windows(blocks.reshape(n, h // 2 + 1, w // 2 + 1, 4 * c)) @ weights


@jax.checkpoint
def _conv_transpose_matmul(x: Array, kernel: Array) -> Array:
    n, h, w, c = x.shape
    out = kernel.shape[2]
    # Between inputs i-1 and i lie outputs 2i-1 (taps 1 and 3) and 2i (taps 0 and 2).
    taps = kernel.reshape(2, 2, 2, 2, out, c)[:, ::-1, :, ::-1]
    weights = taps.transpose(0, 2, 5, 1, 3, 4).reshape(4 * c, 4 * out)
    y = (_windows(jnp.pad(x, BORDER)) @ weights).reshape(n, h + 1, w + 1, 2, 2, out)
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h + 2, 2 * w + 2, out)[:, 1:-1, 1:-1]


def _windows(x: Array) -> Array:
    """Return all 2×2 windows of x [n, h, w, c], as [n, h - 1, w - 1, 4 c]."""
    return jnp.concatenate([x[:, :-1, :-1], x[:, :-1, 1:], x[:, 1:, :-1], x[:, 1:, 1:]], axis=-1)


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


@jax.custom_vjp
def _halved(x: Array, kernel: Array) -> Array:
    """Return the convolution of x [n, 2h, 2w, a] with a kernel [4, 4, a, b], as [n, h, w, b]."""
    return _halve(x, kernel)


@jax.custom_vjp
def _doubled(y: Array, kernel: Array) -> Array:
    """Return the transpose of `_halved`, from y [n, h, w, b] to [n, 2h, 2w, a]."""
    return _double(y, kernel)


def _keep(work: Callable[[Array, Array], Array], x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return work(x, kernel), (x, kernel)


def _halved_backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = saved
    return _double(cotangent, kernel), _kernel_gradient(x, cotangent)


def _doubled_backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    y, kernel = saved
    return _halve(cotangent, kernel), _kernel_gradient(cotangent, y)


# Runs of a pack have kernels of their own. A CPU takes them one after the other: XLA's grouped convolutions are slow.
@sequential_vmap
def _halve(x: Array, kernel: Array) -> Array:
    n, h, w, a = x.shape
    if a >= FEW:
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=NHWC)
    # Two columns as one of twice the channels: the same numbers in memory.
    pairs = jnp.pad(x, BORDER).reshape(n, h + 2, w // 2 + 1, 2 * a)
    return jax.lax.conv_general_dilated(pairs, kernel.reshape(4, 2, 2 * a, -1), (2, 1), "VALID", dimension_numbers=NHWC)


@sequential_vmap
def _double(y: Array, kernel: Array) -> Array:
    n, h, w, b = y.shape
    a = kernel.shape[2]
    if a < FEW:
        products = y.reshape(-1, b) @ kernel[::-1, ::-1].transpose(3, 0, 1, 2).reshape(b, 16 * a)
        return _overlap(_overlap(products.reshape(n, h, w, 4, 4, a), 1), 2)
    # Output 2i has taps 3 and 1 of inputs i-1 and i, output 2i+1 taps 2 and 0 of inputs i and i+1.
    taps = kernel.reshape(2, 2, 2, 2, a, b)[::-1, :, ::-1].transpose(1, 3, 0, 2, 5, 4)
    pads = ((1, 0), (0, 1))
    rows = [
        [
            jax.lax.conv_general_dilated(y, taps[1 - i, 1 - j], (1, 1), (pads[i], pads[j]), dimension_numbers=NHWC)
            for j in (0, 1)
        ]
        for i in (0, 1)
    ]
    return jnp.stack([jnp.stack(row, 3) for row in rows], 2).reshape(n, 2 * h, 2 * w, a)


@sequential_vmap
def _kernel_gradient(x: Array, y: Array) -> Array:
    """Return the gradient [4, 4, a, b] of <y, halved x> for the kernel."""
    n, h, w, b = y.shape
    a = x.shape[-1]
    pairs = jnp.pad(x, BORDER).reshape(n, h + 1, 2, w + 1, 2 * a)
    cells = [pairs[:, i // 2 : i // 2 + h, i % 2, j : j + w].reshape(-1, 2 * a) for i in range(4) for j in (0, 1)]
    rows = y.reshape(-1, b)
    if a < FEW:
        return jnp.stack([cell.T @ rows for cell in cells]).reshape(4, 4, a, b)
    # XLA would fold the transposes into the product, and its CPU kernels are slow at long sums down both columns.
    turned = jax.lax.optimization_barrier(rows.T)
    return jnp.stack([jax.lax.optimization_barrier(turned @ cell).T for cell in cells]).reshape(4, 4, a, b)


_halved.defvjp(partial(_keep, _halve), _halved_backward)
_doubled.defvjp(partial(_keep, _double), _doubled_backward)


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
    some = jax.checkpoint(work, policy=jax.checkpoint_policies.save_only_these_names(PRODUCT))
    made = jax.lax.map(some, images.reshape(-1, size, *images.shape[1:]))
    return made.reshape(count, *made.shape[2:])
