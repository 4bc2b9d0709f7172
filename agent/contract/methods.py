"""The methods of loss weighting by name: one file each in `agent/weighting/`, described here without running it.

A method's file computes with JAX, which login nodes need not have. What grids, tables and figures must know of it
stands in it as plain literals, which are read from its text.
"""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

FOLDER = Path(__file__).resolve().parents[1] / "weighting"
PLAIN, HARMONY = "dreamerv3", "harmony_dreamerv3"
PAIR = (PLAIN, HARMONY)  # what the paper compares, and what a grid trains that names no methods
SHARED = ("__init__", "base")  # files of the folder that are no methods


class MethodFileError(ValueError):
    """A method's file lacks what it must say; the message is one line that names it."""


@dataclass(frozen=True)
class Method:
    """What a method's file says of itself.

    `name` stands in grids and folders, `label` in tables and figures. `scalars` are the names of what it learns, 0 at
    the start; `ignores` the configuration's keys that change nothing under it.
    """

    name: str
    label: str
    scalars: tuple[str, ...]
    ignores: tuple[str, ...]
    module: str


@functools.cache
def methods() -> dict[str, Method]:
    """Return every method by name, in the order of their names.

    Raises: MethodFileError when a file lacks a literal, or two have one name.
    """
    found: dict[str, Method] = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem in SHARED:
            continue
        method = describe(path)
        if method.name in found:
            raise MethodFileError(f"{path}: NAME {method.name!r} is taken by {found[method.name].module}.py")
        found[method.name] = method
    return dict(sorted(found.items()))


def describe(path: Path) -> Method:
    """Return what the method's file says of itself, or raise MethodFileError."""
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, ValueError, SyntaxError) as error:
        raise MethodFileError(f"{path}: not a Python file ({error})") from error
    literals: dict[str, Any] = {}
    for node in body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                literals[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue  # computed, so not one of ours
    name, label = literals.get("NAME"), literals.get("LABEL")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise MethodFileError(f"{path}: NAME is {name!r}; a text of a-z, 0-9 and _ is expected, written as a literal")
    if not isinstance(label, str) or not label.strip():
        raise MethodFileError(f"{path}: LABEL is {label!r}; a text is expected, written as a literal")
    return Method(name, label, _names(path, literals, "SCALARS"), _names(path, literals, "IGNORES"), path.stem)


def _names(path: Path, literals: dict[str, Any], key: str) -> tuple[str, ...]:
    value = literals.get(key, ())
    items = cast("tuple[object, ...]", value) if isinstance(value, tuple) else None
    texts = tuple(item for item in items or () if isinstance(item, str))
    if items is None or len(texts) != len(items):
        raise MethodFileError(f'{path}: {key} is {value!r}; a tuple of texts is expected, as in {key} = ("reward",)')
    return texts


def scalar_names() -> tuple[str, ...]:
    """Return the learned scalars of all methods together: every run holds all of them, whatever its pack."""
    return tuple(dict.fromkeys(name for method in methods().values() for name in method.scalars))
