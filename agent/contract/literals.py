"""What a Python file says of itself in literals at its top level, read from its text without running it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, cast


class FileError(ValueError):
    """A file lacks what it must say of itself; the message is one line that names it."""


def syntax(path: Path) -> ast.Module:
    """Return a file's syntax; FileError when it is no Python."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise FileError(f"{path}: not a Python file ({error})") from error


def literals(module: ast.Module) -> dict[str, Any]:
    """Return the values of all names that are assigned a literal; what is computed is left out."""
    found: dict[str, Any] = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def names(path: Path, said: dict[str, Any], key: str) -> tuple[str, ...]:
    """Return the names under a key: a tuple of texts, or one text with spaces between them; FileError otherwise."""
    value = said.get(key, ())
    if isinstance(value, str):
        return tuple(value.split())
    items = cast("tuple[object, ...]", value) if isinstance(value, tuple) else None
    texts = tuple(item for item in items or () if isinstance(item, str))
    if items is None or len(texts) != len(items):
        raise FileError(f'{path}: {key} is {value!r}; a tuple of texts is expected, as in {key} = ("reward",)')
    return texts
