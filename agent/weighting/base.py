"""How the methods of a program weight the world model's losses: each run takes its own method's total.

A method is a file of this folder that holds NAME, LABEL, SCALARS, IGNORES (`agent/contract/methods.py` says what they
are) and two functions: `total(losses, scalars, scales)`, the loss per [batch, time], and `metrics(scalars)`, what it
logs.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from agent.contract.literals import FileError
from agent.contract.methods import PAIR, methods, scalar_names

Losses = Mapping[str, Float[Array, "batch time"]]
Scalars = Mapping[str, Float[Array, ""]]
Metrics = dict[str, Float[Array, ""]]


# A method's loss, from unscaled losses by name, learned scalars and the configuration's fixed scale of each loss.
Total = Callable[[Losses, Scalars, Mapping[str, float]], Float[Array, "batch time"]]
# What a method logs of its scalars; `harmony/LOSS_weight` is drawn by the report.
Report = Callable[[Scalars], Metrics]
# The term that is added for a learned scalar s.
Regulariser = Callable[[Float[Array, ""]], Float[Array, ""]]


@dataclass(frozen=True)
class Weighting:
    """A method as a program computes it."""

    name: str
    total: Total
    metrics: Report


@functools.cache
def load(name: str) -> Weighting:
    """Return the method of a name; FileError when its file lacks a function."""
    module = importlib.import_module(f"{__package__}.{methods()[name].module}")
    missing = [what for what in ("total", "metrics") if not callable(getattr(module, what, None))]
    if missing:
        raise FileError(f"{module.__file__}: defines no function {' and no '.join(missing)}")
    return Weighting(name, module.total, module.metrics)


def together(names: Iterable[str]) -> tuple[Weighting, ...]:
    """Return the methods that one program computes for runs of these: the paper's pair, which shares it, and they."""
    return tuple(load(name) for name in sorted({*PAIR, *names}))


def number_of(name: str, weightings: Sequence[Weighting]) -> int:
    """Return a method's place in a program, which a run's state holds."""
    return [weighting.name for weighting in weightings].index(name)


def total_loss(
    losses: Losses,
    scalars: Scalars,
    method: Int[Array, ""],
    weightings: Sequence[Weighting],
    scales: Mapping[str, float],
) -> Float[Array, "batch time"]:
    """Return the world model's loss as the run's own method weights it."""
    return _own([weighting.total(losses, scalars, scales) for weighting in weightings], method)


def metrics(scalars: Scalars, method: Int[Array, ""], weightings: Sequence[Weighting]) -> Metrics:
    """Return what the methods log; a name that several log has the run's own value. `foreign` names the rest."""
    logged = [weighting.metrics(scalars) for weighting in weightings]
    names = dict.fromkeys(name for values in logged for name in values)
    return {name: _own([values.get(name) for values in logged], method) for name in names}


def foreign(weightings: Sequence[Weighting]) -> dict[str, frozenset[str]]:
    """Return for every method the metrics of the program that are other methods' alone."""
    scalars = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in scalar_names()}
    own = {weighting.name: frozenset(jax.eval_shape(weighting.metrics, scalars)) for weighting in weightings}
    everything = frozenset[str]().union(*own.values())
    return {name: everything - names for name, names in own.items()}


def _own(values: Sequence[Array | None], method: Int[Array, ""]) -> Array:
    """Return the value of the run's own method; of a method that has none, any."""
    known = [(number, value) for number, value in enumerate(values) if value is not None]
    chosen = known[0][1]
    for number, value in known[1:]:
        chosen = jnp.where(method == number, value, chosen)
    return chosen


def learned_weights(scalars: Scalars, names: Iterable[str]) -> Metrics:
    """Return s, the loss weight exp(-s) and sigma exp(s/2) of each, as `harmony/NAME_WHAT`."""
    out: Metrics = {}
    for name in names:
        s = scalars[name]
        out |= {f"harmony/{name}_s": s, f"harmony/{name}_weight": jnp.exp(-s)}
        out[f"harmony/{name}_sigma"] = jnp.exp(s / 2)
    return out


def weighted(
    loss: Float[Array, "*batch"], s: Float[Array, ""], regulariser: Regulariser | None = None
) -> Float[Array, "*batch"]:
    """Return loss·exp(-s), and the regulariser of s on top if there is one."""
    value = loss * jnp.exp(-s)
    return value if regulariser is None else value + regulariser(s)


def learned_total(
    losses: Losses, scalars: Scalars, scales: Mapping[str, float], regulariser: Regulariser
) -> Float[Array, "batch time"]:
    """Return the sum in which reward, image and dyn carry weights exp(-s), each with its regulariser of s.

    rep shares the weight of dyn, without a second regulariser. The fixed scales of dyn and rep enter by their ratio, on
    dyn's regulariser too (5/6 at the defaults; the published PyTorch twin uses 1, `test_golden_agent` fixes our
    choice); other terms enter as they are.
    """
    share = scales["dyn"] / (scales["dyn"] + scales["rep"])
    terms = dict(losses)
    for name in ("reward", "image"):
        if name in losses:
            terms[name] = weighted(losses[name], scalars[name], regulariser)
    terms["dyn"] = share * weighted(losses["dyn"], scalars["dyn"], regulariser)
    terms["rep"] = (1 - share) * weighted(losses["rep"], scalars["dyn"])
    return jnp.asarray(sum(terms.values()))
