"""Grid files: which runs a study consists of."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shlex
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from agent.contract.config import (
    FIELD_TYPES,
    Config,
    config_hash,
    identity,
    known_methods,
    make_config,
    nearest_key,
    parse_value,
    presets,
    validate_task,
)
from agent.contract.words import ConfigError, comma_list, match_name, nearest, parse_seeds, refuse_repeats
from harness.command import Command

SET_BY_GRID = {"seed": "seeds", "task": "tasks", "method": "methods", "harmony": "methods"}


@dataclass(frozen=True)
class Run:
    """One run of a study: its identity (task, method, seed) and its full configuration."""

    task: str
    method: str
    seed: int
    config: Config

    @property
    def name(self) -> str:
        """Its folder inside the study: `TASK/METHOD/seed-K`."""
        return f"{self.task}/{self.method}/seed-{self.seed}"

    @cached_property
    def config_hash(self) -> str:
        """The hash of everything that changes its results."""
        return config_hash(self.config)

    @cached_property
    def kind(self) -> str:
        """A name shared by runs that take the same time per step: all settings but task, seed, method and length."""
        settings = identity(self.config)
        kept = {k: v for k, v in settings.items() if k not in ("task", "seed", "method", "run.steps")}
        text = repr((self.task.split("_", 1)[0], sorted(kept.items())))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Part:
    """Tasks that share presets and overrides; `per_task` settings come on top for single tasks."""

    tasks: tuple[str, ...]
    presets: tuple[str, ...]
    agent: dict[str, Any] = field(default_factory=dict[str, Any])
    per_task: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])


@dataclass(frozen=True)
class Grid:
    """A study's runs: parts × methods × seeds × axes, and the resources its jobs ask for."""

    name: str
    source: str
    parts: tuple[Part, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    axes: dict[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])
    cluster: str | None = None
    pack: int | str = 1
    pack_mode: str | None = None
    resources: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks, in the file's order."""
        return tuple(task for part in self.parts for task in part.tasks)


def parse_presets(names: Sequence[Any]) -> tuple[str, ...]:
    """Return the presets' names, each checked."""
    for name in names:
        if name not in presets():
            raise ConfigError(nearest(str(name), presets(), "preset"))
    return tuple(names)


def parse_pack(value: Any) -> int | str:
    """Return `auto` or the number of runs per job."""
    text = str(value)
    if text == "auto":
        return text
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) < 1:
        raise ConfigError(f"pack={text}: a number of runs from 1, or auto, is expected")
    return int(text)


def parse_pack_mode(value: Any) -> str:
    """Return `vmap` or `process`."""
    if value not in ("vmap", "process"):
        raise ConfigError(f"pack.mode={value}: {nearest(str(value), ['vmap', 'process'], 'mode')}")
    return str(value)


def _free_key(key: str) -> str:
    """Return a key of the agent that a grid may set; task, seed and method are the grid's own axes."""
    if key in SET_BY_GRID:
        raise ConfigError(f"agent.{key}: the grid sets it; use {SET_BY_GRID[key]}=")
    if key not in FIELD_TYPES:
        raise ConfigError(f"agent.{key}: {nearest_key(key)}")
    return key


def typed_value(key: str, value: Any) -> Any:
    """Return a setting of the agent in the type its key has; errors begin with `agent.KEY`."""
    _free_key(key)
    try:
        return parse_value(key, value)
    except ConfigError as error:
        raise ConfigError(f"agent.{error}") from error


def is_scalar(key: str) -> bool:
    """Return whether a comma list of this key's values is an axis, as the key itself holds a single value."""
    return typing.get_origin(FIELD_TYPES.get(_free_key(key))) is not tuple


def axis_values(key: str, values: Sequence[Any]) -> tuple[Any, ...]:
    """Return an axis of the grid: values in the key's type, none twice, each able to name a folder."""
    parsed = [typed_value(key, value) for value in values]
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


def configure(grid: Grid, command: Command) -> Grid:
    """Return the grid with a command line's settings applied: selection, presets, overrides, axes, packs."""
    settings = command.settings
    if "tasks" in settings:
        grid = _select_tasks(grid, settings["tasks"])
    if "methods" in settings:
        methods = [match_name(text, grid.methods, "method") for text in comma_list("methods", settings["methods"])]
        refuse_repeats("methods", methods)
        grid = replace(grid, methods=tuple(methods))
    if "seeds" in settings:
        grid = replace(grid, seeds=tuple(parse_seeds(settings["seeds"], count=True)))
    if "preset" in settings:
        names = parse_presets(comma_list("preset", settings["preset"]))
        grid = replace(grid, parts=tuple(replace(part, presets=names) for part in grid.parts))
    if "pack" in settings:
        grid = replace(grid, pack=parse_pack(settings["pack"]))
    if "pack.mode" in settings:
        grid = replace(grid, pack_mode=parse_pack_mode(settings["pack.mode"]))
    return _override(grid, command.agent)


def shaping(command: Command) -> str:
    """Return the words of a command line that say what its runs are: all but selectors and axes, which name them."""
    pairs = [("preset", command.settings["preset"])] if "preset" in command.settings else []
    pairs += [(f"agent.{key}", text) for key, text in command.agent.items() if not ("," in text and is_scalar(key))]
    return " ".join(f"{key}={shlex.quote(value)}" for key, value in pairs)


def _select_tasks(grid: Grid, text: str) -> Grid:
    tasks = [_in_grid(grid, name) for name in comma_list("tasks", text)]
    refuse_repeats("tasks", tasks)
    kept = [replace(part, tasks=tuple(task for task in part.tasks if task in tasks)) for part in grid.parts]
    return replace(grid, parts=tuple(part for part in kept if part.tasks))


def _in_grid(grid: Grid, name: str) -> str:
    try:
        return match_name(name, grid.tasks, "task")
    except ConfigError as error:
        if name in grid.tasks or not _exists(name):
            raise
        raise ConfigError(f"task {name!r} is not in {grid.source}; write a grid file that names it") from error


def _exists(task: str) -> bool:
    try:
        return bool(validate_task(task))
    except ConfigError:
        return False


def _override(grid: Grid, overrides: Mapping[str, str]) -> Grid:
    single: dict[str, Any] = {}
    axes = {key: values for key, values in grid.axes.items() if key not in overrides}
    for key, text in overrides.items():
        if "," in text and is_scalar(key):
            axes[key] = axis_values(key, comma_list(f"agent.{key}", text))
        else:
            single[key] = typed_value(key, text)
    parts = tuple(
        replace(
            part,
            agent=part.agent | single,
            per_task={task: _without(settings, single) for task, settings in part.per_task.items()},
        )
        for part in grid.parts
    )
    return replace(grid, parts=parts, axes=axes)


def _without(settings: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in keys}


def expand(grid: Grid) -> list[Run]:
    """List the grid's runs, seed 0 of every task and method before seed 1, so that a half-done study is balanced.

    A method has one variant for values of an axis that it ignores (`ignored` says so): they would train the same run.
    """
    cells: list[tuple[str, str, Config]] = []
    for part in grid.parts:
        for task in part.tasks:
            configs: dict[str, Config] = {}
            for method in grid.methods:
                for variant in _variants(grid, method):
                    spelled = _method_name("", variant)
                    if spelled not in configs:
                        configs[spelled] = _task_config(part, task, variant)
                    cells.append((task, method + spelled, _with(configs[spelled], method=method)))
    return [Run(task, method, seed, _with(config, seed=seed)) for seed in grid.seeds for task, method, config in cells]


def _variants(grid: Grid, method: str) -> list[dict[str, Any]]:
    """Return the settings that the axes give a method, those that it ignores left out."""
    axes = {key: values for key, values in grid.axes.items() if key not in known_methods()[method].ignores}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def ignored(grid: Grid) -> list[str]:
    """Return a sentence for each method whose loss does not depend on something that the grid sets for it."""
    said: list[str] = []
    for name in grid.methods:
        ignores = known_methods()[name].ignores
        if axes := [key for key in grid.axes if key in ignores]:
            said.append(f"{name} ignores {', '.join(axes)}: it is trained once, not once for each value")
        fixed = {key for part in grid.parts for settings in (part.agent, *part.per_task.values()) for key in settings}
        if idle := sorted(fixed.intersection(ignores)):
            said.append(f"{name} ignores {', '.join(idle)}: its losses are weighted as if it were not set")
    return said


def _with(config: Config, **values: Any) -> Config:
    return config.model_copy(update=values)


def _task_config(part: Part, task: str, variant: Mapping[str, Any]) -> Config:
    overrides = {**part.agent, **part.per_task.get(task, {}), **variant}
    try:
        return make_config(part.presets, overrides | {"task": task})
    except ConfigError as error:
        message = str(error)
        raise ConfigError(f"agent.{message}" if message.split(":")[0] in overrides else message) from error


def _method_name(method: str, variant: Mapping[str, Any]) -> str:
    if not variant:
        return method
    return f"{method}@" + ",".join(f"{key}={spell(value)}" for key, value in variant.items())
