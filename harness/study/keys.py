"""The settings that a grid may give an agent: which keys there are, what their values may be, which make an axis."""

from __future__ import annotations

import io
import json
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from agent.contract.config import FIELD_TYPES, flatten, nearest_key, parse_value, read_yaml
from agent.contract.words import ConfigError, nearest, refuse_repeats

SET_BY_GRID = {"seed": "seeds", "task": "tasks", "method": "methods", "harmony": "methods", "train": "train"}
KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", list: "a list"}


class Keys(Protocol):
    """The keys of an agent; errors begin with `agent.KEY`."""

    def typed(self, key: str, value: Any) -> Any:
        """Return a value of a grid file in the type that its key has."""
        ...

    def read(self, key: str, text: str) -> Any:
        """Return the value that a text on a command line means."""
        ...

    def holds_list(self, key: str) -> bool | None:
        """Return whether the key's own value is a list, so that a list is no axis; None where nothing says so."""
        ...


class OurKeys:
    """Those of our own agent, as its schema has them; task, seed and method are the grid's own axes."""

    def typed(self, key: str, value: Any) -> Any:
        _refuse_set_by_grid(key)
        self._known(key)
        try:
            return parse_value(key, value)
        except ConfigError as error:
            raise ConfigError(f"agent.{error}") from error

    def read(self, key: str, text: str) -> Any:
        return self.typed(key, text)

    def holds_list(self, key: str) -> bool:
        _refuse_set_by_grid(key)
        return typing.get_origin(FIELD_TYPES[self._known(key)]) is tuple

    def _known(self, key: str) -> str:
        if key not in FIELD_TYPES:
            raise ConfigError(f"agent.{key}: {nearest_key(key)}")
        return key


OUR_KEYS = OurKeys()


@dataclass(frozen=True)
class OtherKeys:
    """Those of another agent: any, or with a `schema` (a default for each key) those in it, each of its default's type.

    A default of null takes anything. Defaults are not filled in: the command knows its own.
    """

    schema: Mapping[str, Any] | None = None
    source: str = ""

    def typed(self, key: str, value: Any) -> Any:
        _refuse_set_by_grid(key, but="harmony")
        default = self._default(key)
        kind = typing.cast("type[Any]", type(default))
        if kind is float and type(value) is int:
            value = float(value)
        if (default is not None and not isinstance(value, kind)) or (kind is int and isinstance(value, bool)):
            expected = KINDS.get(kind, "of its default's type")
            raise ConfigError(f"agent.{key}: {value!r} is not {expected}, as {self.source} has it")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"agent.{key}: {value!r}; numbers, texts, booleans, null and lists are allowed"
            ) from error
        return value

    def read(self, key: str, text: str) -> Any:
        _refuse_set_by_grid(key, but="harmony")
        default = self._default(key)
        if isinstance(default, list):
            return self.typed(key, [read_scalar(item) for item in text.split(",") if item])
        return self.typed(key, text if isinstance(default, str) else read_scalar(text))

    def holds_list(self, key: str) -> bool | None:
        _refuse_set_by_grid(key, but="harmony")
        return None if (default := self._default(key)) is None else isinstance(default, list)

    def _default(self, key: str) -> Any:
        if self.schema is None:
            return None
        if key not in self.schema:
            raise ConfigError(f"agent.{key}: {nearest(key, self.schema, f'key of {self.source}')}")
        return self.schema[key]


def _refuse_set_by_grid(key: str, but: str = "") -> None:
    if key in SET_BY_GRID and key != but:
        raise ConfigError(f"agent.{key}: the grid sets it; use {SET_BY_GRID[key]}=")


def read_schema(path: Path) -> OtherKeys:
    """Return the keys in a schema file: a YAML of every key and its default, nested or dotted."""
    return OtherKeys(flatten(read_yaml(path)), path.name)


def read_scalar(text: str) -> Any:
    """Return what a text means as a YAML value: a number, True or False, null; anything else is the text itself."""
    try:
        value: Any = YAML(typ="safe", pure=True).load(io.StringIO(text))  # pyright: ignore[reportUnknownMemberType] # untyped
    except (YAMLError, ValueError):
        return text
    return value if isinstance(value, (bool, int, float)) or (value is None and text in ("null", "~")) else text


def axis_values(key: str, parsed: Sequence[Any]) -> tuple[Any, ...]:
    """Return an axis of the grid: values in the key's type, none twice, each able to name a folder."""
    refuse_repeats(f"agent.{key}", parsed)
    if not parsed:
        raise ConfigError(f"agent.{key}: the list is empty")
    for value in parsed:
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", spell(value)):
            raise ConfigError(f"agent.{key}: {value!r} cannot name a folder; an axis takes letters, digits, . + - _")
    return tuple(parsed)


def spell(value: Any) -> str:
    """Return an axis value as it appears in a folder name: `0.001`, `true`, `bfloat16`."""
    return value if isinstance(value, str) else json.dumps(value)
