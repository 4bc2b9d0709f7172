"""A scan whose gradient is cheap: nothing in the backward pass is sequential but the state's own cotangent.

A plain scan's gradient adds up parameter gradients step by step, from residuals stored step by step. Here the backward
pass recomputes all steps at once (their inputs are known), walks back only for the cotangents of the states, and takes
the parameters' gradient of all steps in one batched call. The numbers are those of the plain scan up to the order of
sums (`test_recurrence`).

The inputs of a step back come as one array, which it cuts apart. On a GPU that takes one kernel per iteration. If each
were cut out of an array of its own where it is used, no kernel that sums over an axis could be fused with what it sums,
and a step back would need three or four launches more. (The way forth gains nothing by it.)
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from agent.nn.products import Dot, Inputs, dot, fixed_kernel_product, joined

State = TypeVar("State")

# step(params, state before, inputs, dot) → (state after, extra output); the state alone goes on to the next step. Every
# matrix product in it must go through `dot`, and all of it must work for any leading axes.
Step = Callable[[Any, Any, Any, Dot], tuple[Any, Any]]


# Steps in one iteration of a scan on a GPU, at most. More of them save few launches and take long to compile.
MAX_UNROLL = 5


def unroll_factor(asked: int, steps: int, backend: str | None = None) -> int:
    """Return how many steps of a scan share an iteration: as asked, or if 0, by the backend (default: the present one).

    A CPU has no launches to save; elsewhere it is the largest divisor of `steps` up to `MAX_UNROLL`.
    """
    if asked:
        return asked
    if (backend or jax.default_backend()) == "cpu":
        return 1
    return max(factor for factor in range(1, MAX_UNROLL + 1) if steps % factor == 0)


def scan(step: Step, params: Any, start: Any, inputs: Any, *, unroll: int = 1) -> tuple[Any, Any]:
    """Return all states and extra outputs [time, ...] of the recurrence; inputs have a leading time axis."""

    @jax.custom_vjp
    def run(params: Any, start: Any, inputs: Any) -> tuple[Any, Any]:
        return plain_scan(step, params, start, inputs, unroll=unroll)

    def forward(params: Any, start: Any, inputs: Any) -> tuple[tuple[Any, Any], Any]:
        outputs = run(params, start, inputs)
        return outputs, (params, start, inputs, outputs[0])

    def backward(saved: Any, cotangents: tuple[Any, Any]) -> tuple[Any, Any, Any]:
        params, start, inputs, states = saved
        before = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), start, states)
        pullback, products = _all_at_once(step, params, before, inputs)

        joint, apart = _joint((before, inputs, products, cotangents))

        def back(later: Any, at: Any) -> tuple[Any, Any]:
            before, inputs, products, (of_state, of_extra) = apart(at)
            total = jax.tree.map(jnp.add, of_state, later)
            known = iter(products)
            _, pull = jax.vjp(
                lambda s: step(params, s, inputs, lambda x, k: fixed_kernel_product(joined(x), k, next(known))), before
            )
            return pull((total, of_extra))[0], total

        zero = jax.tree.map(jnp.zeros_like, start)
        of_start, totals = jax.lax.scan(back, zero, joint, reverse=True, unroll=unroll)
        of_params, of_inputs = pullback((totals, cotangents[1]))
        return of_params, of_start, of_inputs

    run.defvjp(forward, backward)
    return run(params, start, inputs)


def _all_at_once(step: Step, params: Any, before: Any, inputs: Any) -> tuple[Callable[[Any], Any], list[Array]]:
    """Return the pullback of all steps to parameters and inputs, and every matrix product [time, ...] on the way."""

    def steps(params: Any, inputs: Any) -> tuple[Any, list[Array]]:
        products: list[Array] = []

        def record(x: Inputs, kernel: Array) -> Array:
            products.append(dot(x, kernel))
            return products[-1]

        return step(params, before, inputs, record), products

    _, pullback, products = jax.vjp(steps, params, inputs, has_aux=True)
    return pullback, products


def plain_scan(step: Step, params: Any, start: Any, inputs: Any, *, unroll: int = 1) -> tuple[Any, Any]:
    """Return the same as `scan`, differentiated step by step."""

    def body(state: Any, inputs: Any) -> tuple[Any, Any]:
        state, extra = step(params, state, inputs, dot)
        return state, (state, extra)

    return jax.lax.scan(body, start, inputs, unroll=unroll)[1]


def _joint(inputs: Any) -> tuple[Float[Array, "time size"], Callable[[Float[Array, " size"]], Any]]:
    """Return a tree of arrays [time, ...] as one array, and what makes one step's tree of its row.

    All share the widest type on the way: a tree of floats and booleans comes back as it was.
    """
    _, unravel = ravel_pytree(jax.tree.map(lambda x: x[0], inputs))
    # Without the barrier the compiler moves the cut behind what is computed from it.
    return jax.vmap(lambda step: ravel_pytree(step)[0])(inputs), lambda row: unravel(jax.lax.optimization_barrier(row))
