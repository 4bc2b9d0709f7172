"""The suites of environments by name: one file each in `agent/envs/`, described here without running it.

A file of that folder is a suite when it says `SUITE = "Class"`. Its name is the suite's, with which tasks begin, and
the keyword arguments of the class are the suite's settings. Login nodes need none of the packages it imports.
"""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path

from agent.contract.literals import FileError, literals, names, syntax

FOLDER = Path(__file__).resolve().parents[1] / "envs"
TYPED = ("atari", "catch", "crafter", "dmc", "gym", "metaworld")  # their settings have ranges, in `schema.EnvSettings`
IS_SUITE = re.compile(r"^SUITE = ", re.MULTILINE)


@dataclass(frozen=True)
class Suite:
    """What a suite's file says of itself.

    `kind` is the class of its environments. `names` are those of its tasks, without the suite ("" for a suite that is
    one task); none when only its package knows them (`available` in the file checks one then). `package` must be
    installed. `opengl` are the values of `env.SUITE.obs` that need a driver. `workers_from` is the number of cores from
    which worker processes pay, None when they never do. `settings` are the defaults of the class's keyword arguments.
    """

    kind: str
    names: tuple[str, ...]
    package: str | None
    opengl: tuple[str, ...]
    workers_from: int | None
    checks: bool
    settings: dict[str, bool | int | float | str]
    module: str

    def tasks(self) -> tuple[str, ...]:
        """Return the names of its tasks as they are typed."""
        return tuple(f"{self.module}_{name}" if name else self.module for name in self.names)


@functools.cache
def read_suites() -> tuple[dict[str, Suite], list[str]]:
    """Return every suite by name, and one line for each file that lacks what a suite must say."""
    found: dict[str, Suite] = {}
    problems: list[str] = []
    for path in sorted(FOLDER.glob("*.py")):
        try:
            if IS_SUITE.search(path.read_text(encoding="utf-8")):
                found[path.stem] = describe(path)
        except (OSError, ValueError) as error:
            problems.append(str(error))
    return found, problems


def suites() -> dict[str, Suite]:
    """Return every suite that is as it must be, by name."""
    return read_suites()[0]


def describe(path: Path) -> Suite:
    """Return what a suite's file says of itself, or raise FileError."""
    module = syntax(path)
    said = literals(module)
    if not re.fullmatch(r"[a-z][a-z0-9]*", path.stem):
        raise FileError(f"{path}: a suite's file is named by a-z and 0-9, as its tasks begin with it and a '_'")
    kinds = [node for node in module.body if isinstance(node, ast.ClassDef) and node.name == said.get("SUITE")]
    if not kinds:
        raise FileError(f"{path}: SUITE is {said.get('SUITE')!r}; the name of a class in this file is expected")
    package, workers_from = said.get("PACKAGE"), said.get("WORKERS_FROM")
    if not isinstance(package, str | None) or not isinstance(workers_from, int | None):
        raise FileError(f"{path}: PACKAGE is {package!r}, WORKERS_FROM {workers_from!r}; a text and a number are meant")
    checks = any(isinstance(node, ast.FunctionDef) and node.name == "available" for node in module.body)
    settings = {} if path.stem in TYPED else _settings(path, kinds[0])
    tasks, opengl = names(path, said, "TASKS"), names(path, said, "OPENGL")
    return Suite(kinds[0].name, tasks, package, opengl, workers_from, checks, settings, path.stem)


def _settings(path: Path, kind: ast.ClassDef) -> dict[str, bool | int | float | str]:
    made = [node for node in kind.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    found: dict[str, bool | int | float | str] = {}
    for init in made:
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
            try:
                value = None if default is None else ast.literal_eval(default)
            except ValueError:
                value = None
            if not isinstance(value, bool | int | float | str):
                raise FileError(
                    f"{path}: {kind.name}'s setting {argument.arg} needs a default that is a number, a text, True or "
                    "False, written as a literal"
                )
            found[argument.arg] = value
    return found
