"""Another agent than ours, as a grid names it: the command that trains a run, its settings, its methods.

What the command must do stands in harness/TRAINING.md.
"""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.contract.config import flatten, known_methods, unflatten
from agent.contract.files import RecordError
from agent.contract.known_tasks import suite_of, validate_task
from agent.contract.run_folder import safe_name
from agent.contract.suites import suites
from agent.contract.words import ConfigError
from harness.study.keys import Keys

PYTHON = "python"  # as the first word: the interpreter that the harness runs with
RESERVED = ("task", "method", "seed", "train")
STEPS = ("run.steps", "steps")
LONGEST_LABEL = 60
METHOD = re.compile(r"[a-z][a-z0-9_]*")


class OtherConfig(BaseModel):
    """The configuration of a run that a command trains: the command is part of it, its settings are nobody's schema."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    task: str
    method: str
    seed: int
    train: tuple[str, ...]
    settings: dict[str, Any]

    def as_mapping(self) -> dict[str, Any]:
        """Return what config.yaml holds."""
        return {"task": self.task, "method": self.method, "seed": self.seed, "train": list(self.train), **self.settings}

    def flat(self) -> dict[str, Any]:
        """Return the whole of it as dotted keys."""
        return flatten(self.as_mapping())

    @property
    def steps(self) -> int | None:
        """Environment steps of the run, where its settings name them as ours do (`run.steps`) or as `steps`."""
        flat = self.flat()
        found = next((flat[key] for key in STEPS if key in flat), None)
        return int(found) if isinstance(found, (int, float)) and found > 0 and found == int(found) else None


def parse_config(data: Mapping[str, Any]) -> OtherConfig:
    """Return the configuration that a config.yaml with a `train` holds; ConfigError names what is wrong."""
    head = {key: data[key] for key in RESERVED if key in data}
    settings = {key: value for key, value in data.items() if key not in RESERVED}
    try:
        return OtherConfig.model_validate({**head, "settings": settings})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"{'.'.join(map(str, first['loc']))}: {first['msg'][0].lower()}{first['msg'][1:]}") from error


@dataclass(frozen=True)
class OtherAgent:
    """What a grid says of another agent; `files` are those of the command that are frozen with the code."""

    train: tuple[str, ...]
    keys: Keys
    labels: dict[str, str] = field(default_factory=dict[str, str])
    files: tuple[str, ...] = ()

    @property
    def outside(self) -> list[str]:
        """The files of the command that lie outside the code."""
        return [word for word in self.train if os.path.isabs(word) and os.path.isfile(word)]


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as config.yaml has them; ConfigError where one is a value and a section at once."""
    for key in flat:
        above = {key.rsplit(".", depth)[0] for depth in range(1, key.count(".") + 1)}
        if both := sorted(above & flat.keys()):
            raise ConfigError(f"agent.{key}: {both[0]!r} has a value of its own, {flat[both[0]]!r}")
    return unflatten(flat)


def parse_command(value: Any, folder: Path, root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words of a command, and those of its files that lie in the code.

    A word that names a file beside the grid, or in the code at `root`, becomes its path from there, where jobs find the
    frozen copy of it; a file beside a grid that lies elsewhere is named by its whole path.
    """
    items = typing.cast("list[object]", value) if isinstance(value, list) else []
    if not items or not all(isinstance(item, str) and item for item in items):
        raise ConfigError(f"train: {value!r}; a list of words is expected, as in train: [python, play.py]")
    words, files = list[str](), list[str]()
    for word in map(str, items):
        beside, inside = Path(os.path.abspath(folder / word)), root / word
        found = next((path for path in (beside, inside) if path.is_file()), None)
        if found is None or os.path.isabs(word):
            words.append(word)
        elif found.is_relative_to(root):
            files.append(str(found.relative_to(root)))
            words.append(f"./{files[-1]}")
        else:
            words.append(str(found))
    program = 1 if words[0] == PYTHON and len(words) > 1 else 0
    word = words[program]
    named = "/" in word or (program == 1 and not word.startswith("-"))
    if named and not (Path(word) if os.path.isabs(word) else root / word).is_file():
        raise ConfigError(f"train: there is no file {word!r}, neither beside the grid in {folder} nor in {root}")
    return tuple(words), tuple(files)


def parse_methods(value: Any) -> dict[str, str]:
    """Return the label of each method that a command trains; a list names them by themselves."""
    if isinstance(value, Mapping):
        named = {str(name): str(label or name) for name, label in typing.cast("Mapping[Any, Any]", value).items()}
    else:
        items = typing.cast("Sequence[Any]", value) if isinstance(value, list) else [value]
        named = {str(name): str(name) for name in items if name is not None}
    if not named:
        raise ConfigError("methods: name what the command trains, as in methods: {random_play: Random play}")
    ours = known_methods()
    for name, label in named.items():
        if not METHOD.fullmatch(name):
            raise ConfigError(f"methods: {name!r}; letters a-z, digits and _ are expected, beginning with a letter")
        if not label.isprintable() or len(label) > LONGEST_LABEL:
            raise ConfigError(f"methods: {name} is labelled {label!r}; one line of {LONGEST_LABEL} characters at most")
        if name in ours or label.casefold() in {method.label.casefold() for method in ours.values()}:
            raise ConfigError(
                f"methods: {name} ({label}) is our own agent's; give what the command trains another name"
            )
    return named


def check_task(task: str) -> str:
    """Return the name of a task: of our suites as ours are called, of any other as it may name a folder."""
    if suite_of(task) in suites():
        return validate_task(task)
    try:
        return safe_name(task, "task")
    except RecordError as error:
        raise ConfigError(str(error)) from error
