"""The methods of loss weighting by name: one file each in `agent/weighting/`, described here without running it.

A method's file computes with JAX, which login nodes need not have. What grids, tables and figures must know of it
stands in it as plain literals, which are read from its text.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from agent.contract.literals import FileError, literals, names, syntax

FOLDER = Path(__file__).resolve().parents[1] / "weighting"
PLAIN, HARMONY = "dreamerv3", "harmony_dreamerv3"
PAIR = (PLAIN, HARMONY)  # what the paper compares, and what a grid trains that names no methods
SHARED = ("__init__", "base")  # files of the folder that are no methods


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

    Raises: FileError when a file lacks a literal, or two have one name.
    """
    found: dict[str, Method] = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem in SHARED:
            continue
        method = describe(path)
        if method.name in found:
            raise FileError(f"{path}: NAME {method.name!r} is taken by {found[method.name].module}.py")
        found[method.name] = method
    return dict(sorted(found.items()))


def describe(path: Path) -> Method:
    """Return what the method's file says of itself, or raise FileError."""
    said = literals(syntax(path))
    name, label = said.get("NAME"), said.get("LABEL")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise FileError(f"{path}: NAME is {name!r}; a text of a-z, 0-9 and _ is expected, written as a literal")
    if not isinstance(label, str) or not label.strip():
        raise FileError(f"{path}: LABEL is {label!r}; a text is expected, written as a literal")
    return Method(name, label, names(path, said, "SCALARS"), names(path, said, "IGNORES"), path.stem)


def scalar_names() -> tuple[str, ...]:
    """Return the learned scalars of all methods together: every run holds all of them, whatever its pack."""
    return tuple(dict.fromkeys(name for method in methods().values() for name in method.scalars))
