"""Matrix products of layers: plain ones, and those of features whose categorical part is exactly one-hot.

A product with one-hot variables only adds up rows of the kernel. A CPU does that several times faster by looking the
rows up ("lookup") than by multiplying; a GPU multiplies ("matmul"). Both give the same sums in another order.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

OneHotForm = Literal["lookup", "matmul"]
# Variables whose rows are added in one pass over the sums.
AT_ONCE = 8


class Features(eqx.Module):
    """What heads see of imagined states: `deter` (or None), and `stoch`, of which every variable is exactly one-hot."""

    deter: Float[Array, "*batch deter"] | None
    stoch: Float[Array, "*batch stoch classes"]
    form: OneHotForm = eqx.field(static=True)

    @property
    def joined(self) -> Float[Array, "*batch features"]:
        """The same as one array."""
        stoch = self.stoch.reshape(*self.stoch.shape[:-2], -1)
        return stoch if self.deter is None else jnp.concatenate([self.deter, stoch], -1)


Inputs = Array | Features
Dot = Callable[[Any, Float[Array, "inputs outputs"]], Float[Array, "*batch outputs"]]


def one_hot_form(asked: str, backend: str | None = None) -> OneHotForm:
    """Return how one-hot variables are multiplied: as asked, or by the backend (default: the present one)."""
    if asked == "auto":
        return "lookup" if (backend or jax.default_backend()) == "cpu" else "matmul"
    return "lookup" if asked == "lookup" else "matmul"


def at(features: Features, place: slice) -> Features:
    """Return a part of features, along their first axis."""
    return jax.tree.map(lambda x: x[place], features)


def joined(x: Inputs) -> Array:
    """Return a layer's inputs as one array."""
    return x.joined if isinstance(x, Features) else x


def dot(x: Inputs, kernel: Float[Array, "inputs outputs"]) -> Float[Array, "*batch outputs"]:
    """Return x @ kernel in the kernel's type."""
    if not isinstance(x, Features) or x.form == "matmul":
        return joined(x).astype(kernel.dtype) @ kernel
    if x.deter is None:
        return lookup(x.stoch, kernel)
    of_deter, of_stoch = jnp.split(kernel, [x.deter.shape[-1]])
    return dot(x.deter, of_deter) + lookup(x.stoch, of_stoch)


@jax.custom_vjp
def lookup(
    hots: Float[Array, "*batch stoch classes"], kernel: Float[Array, "inputs outputs"]
) -> Float[Array, "*batch outputs"]:
    """Return the product of flattened one-hot variables with a kernel, with a product's gradients."""
    stoch, classes = hots.shape[-2:]
    rows = (hots * jnp.arange(classes, dtype=hots.dtype)).sum(-1).astype(jnp.int32) + classes * jnp.arange(stoch)

    def add(total: Array, row: Array) -> tuple[Array, None]:
        # Clipped, what is no number finds a row too; the losses and norms of such an update are not finite either.
        return total + kernel.at[row].get(mode="clip").astype(jnp.float32), None

    # In a loop, because XLA may take the sum apart otherwise and write every addend to memory.
    total = jnp.zeros((*rows.shape[:-1], kernel.shape[-1]), jnp.float32)
    return jax.lax.scan(add, total, jnp.moveaxis(rows, -1, 0), unroll=AT_ONCE)[0].astype(kernel.dtype)


def _lookup_forward(hots: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return lookup(hots, kernel), (hots, kernel)


def _lookup_backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    hots, kernel = saved
    _, pull = jax.vjp(lambda hots, kernel: dot(hots.reshape(*hots.shape[:-2], -1), kernel), hots, kernel)
    return pull(cotangent)


lookup.defvjp(_lookup_forward, _lookup_backward)


@jax.custom_vjp
def fixed_kernel_product(x: Array, kernel: Array, y: Array) -> Array:
    """Return y, which is known to be x @ kernel, with the gradient for x alone."""
    return y


def _known_product_forward(x: Inputs, kernel: Array, y: Array) -> tuple[Array, tuple[Inputs, Array]]:
    return y, (x, kernel)


def _fixed_kernel_backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, None, None]:
    x, kernel = saved
    return (cotangent @ kernel.T).astype(x.dtype), None, None


fixed_kernel_product.defvjp(_known_product_forward, _fixed_kernel_backward)


@jax.custom_vjp
def known_product(x: Inputs, kernel: Array, y: Array) -> Array:
    """Return y, which is known to be x @ kernel, with the product's gradients for x and the kernel."""
    return y


def _known_product_backward(saved: tuple[Inputs, Array], cotangent: Array) -> tuple[Inputs, Array, None]:
    return *jax.vjp(dot, *saved)[1](cotangent), None


known_product.defvjp(_known_product_forward, _known_product_backward)


def recording(products: list[Array], dot: Dot = dot) -> Dot:
    """Return a dot that adds each of its products, without gradient, to the list."""

    def kept(x: Inputs, kernel: Array) -> Array:
        made = dot(x, kernel)
        products.append(jax.lax.stop_gradient(made))
        return made

    return kept


def recorded(products: Sequence[Array]) -> Dot:
    """Return a dot whose products, one after the other, are known; without any it computes them."""
    if not products:
        return dot
    known = iter(products)
    return lambda x, kernel: known_product(x, kernel, next(known))
