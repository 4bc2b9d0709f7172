"""Saved states of environments: trees of named numpy arrays and plain JSON values, checked before they are used.

A state is read from a file that others may have written. So it is data: loading one runs nothing that it says, and
every environment names what it expects, by a schema: a tree of the same form whose leaves are an `ArraySpec`, a `range`
of whole numbers, a type (`bool`, `float`, `str`, `dict`), a tuple of alternatives, or the one value that is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from agent.contract.files import RecordError
from agent.envs.base import State
from agent.spec import ArraySpec

Schema = Mapping[str, Any]

ANY = -1
"""Any length, in the shape of a schema's `ArraySpec`."""

# numpy's default generator, and the one of RandomState; numpy itself takes a position behind the key's end.
PCG64: Schema = {
    "bit_generator": "PCG64",
    "state": {"state": range(2**128), "inc": range(2**128)},
    "has_uint32": range(2),
    "uinteger": range(2**32),
}
MT19937: Schema = {
    "bit_generator": "MT19937",
    "state": {"key": ArraySpec((624,), "uint32"), "pos": range(625)},
    "has_gauss": range(2),
    "gauss": float,
}


class StateError(RecordError):
    """A saved state does not fit the environment; the message names the environment, the entry and both sides."""


def split(state: State) -> tuple[dict[str, np.ndarray], State]:
    """Return a state's arrays by path (`0/random/key`) and what is left of it, which JSON can hold; `join`'s inverse.

    Raises TypeError for a value that is neither.
    """
    arrays: dict[str, np.ndarray] = {}
    return arrays, _split(state, "", arrays)


def _split(state: State, path: str, arrays: dict[str, np.ndarray]) -> State:
    plain: State = {}
    for key, value in state.items():
        name = path + key.replace("~", "~0").replace("/", "~1")
        if isinstance(value, dict):
            plain[key] = _split(cast("State", value), f"{name}/", arrays)
        elif isinstance(value, np.ndarray | np.generic):
            arrays[name] = np.array(value)
        elif isinstance(value, bool | int | float | str | list | None):
            plain[key] = value
        else:
            raise TypeError(f"environment state {name}: {type(value).__name__} is neither an array nor a plain value")
    return plain


def join(arrays: Mapping[str, np.ndarray], plain: Any) -> State:
    """Return the state that `split` took apart; StateError where the two parts do not fit together."""
    if not isinstance(plain, dict):
        raise StateError(f"saved environment state: {_shown(plain)} where an object is expected")
    state = _copied(cast("State", plain))
    for path, array in arrays.items():
        *parents, leaf = (key.replace("~1", "/").replace("~0", "~") for key in path.split("/"))
        place = state
        for key in parents:
            place = place.get(key)
            if not isinstance(place, dict):
                raise StateError(f"saved environment state: array {path} has no place in it")
        if leaf in place:
            raise StateError(f"saved environment state: {path} is an array and {_shown(place[leaf])} at once")
        place[leaf] = array
    return state


def _copied(state: State) -> State:
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in state.items()}


def check(state: Any, schema: Schema, name: str, at: str = "") -> State:
    """Return `state`, which lies `at` a place in a larger one, where it is as `schema` says.

    Raises StateError that begins with `name`, an environment's, where it is not.
    """
    _check(state, schema, name, at)
    return state


def _check(value: Any, schema: Any, name: str, path: str) -> None:
    what = f"{name}: the saved state{path and f' at {path}'}"
    if isinstance(schema, Mapping):
        if not isinstance(value, dict):
            raise StateError(f"{what} is {_shown(value)}, an object is expected")
        for word, keys in (("lacks", [*schema.keys() - value.keys()]), ("has", [*value.keys() - schema.keys()])):
            if keys:
                end = "" if word == "lacks" else ", which is unknown"
                raise StateError(f"{what} {word} {', '.join(sorted(map(repr, keys)))}{end}")
        for key, part in schema.items():
            _check(value[key], part, name, f"{path}/{key}" if path else key)
    elif not _fits(value, schema):
        raise StateError(f"{what} is {_shown(value)}, {_expected(schema)} is expected")


def _fits(value: Any, schema: Any) -> bool:
    if isinstance(schema, tuple):
        return any(_fits(value, one) for one in cast("tuple[Any, ...]", schema))
    if isinstance(schema, ArraySpec):
        return (
            isinstance(value, np.ndarray | np.generic)
            and value.dtype == schema.dtype
            and value.ndim == len(schema.shape)
            and all(want in (ANY, have) for want, have in zip(schema.shape, value.shape, strict=True))
        )
    if isinstance(schema, range):
        return type(value) is int and value in schema
    if isinstance(schema, type):
        return type(value) is schema
    return type(value) is type(schema) and value == schema


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype}{list(value.shape)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _expected(schema: Any) -> str:
    if isinstance(schema, tuple):
        return " or ".join(_expected(one) for one in cast("tuple[Any, ...]", schema))
    if isinstance(schema, ArraySpec):
        return f"{schema.dtype}{[size if size != ANY else 'any' for size in schema.shape]}".replace("'", "")
    if isinstance(schema, range):
        return f"a whole number from {schema.start} to {schema.stop - 1}"
    names = {bool: "true or false", float: "a real number", str: "a text", dict: "an object", int: "a whole number"}
    return names.get(schema, repr(schema)) if isinstance(schema, type) else repr(schema)
