"""Grid files: which runs a study consists of."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent.contract.config import known_methods, make_config, presets
from agent.contract.known_tasks import validate_task
from agent.contract.words import ConfigError, comma_list, match_name, nearest, parse_seeds, refuse_repeats
from harness.command import Command
from harness.study.keys import OUR_KEYS, Keys, axis_values, spell
from harness.study.other_agent import OtherAgent, OtherConfig, nested
from harness.study.run import AnyConfig, Run


@dataclass(frozen=True)
class Part:
    """Tasks that share presets and overrides; `per_task` settings come on top for single tasks."""

    tasks: tuple[str, ...]
    presets: tuple[str, ...]
    agent: dict[str, Any] = field(default_factory=dict[str, Any])
    per_task: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])


@dataclass(frozen=True)
class Grid:
    """A study's runs: parts × methods × seeds × axes, the resources its jobs ask for, and who trains if not we."""

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
    other: OtherAgent | None = None

    @property
    def keys(self) -> Keys:
        """The keys that may be set of the agent: ours, or of what the grid's command trains."""
        return self.other.keys if self.other else OUR_KEYS

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
    if grid.other and (ours := [key for key in ("preset", "pack.mode") if key in settings]):
        raise ConfigError(f"{ours[0]}=: is for our own agent; {grid.source} trains by a command of its own")
    if "preset" in settings:
        names = parse_presets(comma_list("preset", settings["preset"]))
        grid = replace(grid, parts=tuple(replace(part, presets=names) for part in grid.parts))
    if "pack" in settings:
        grid = replace(grid, pack=parse_pack(settings["pack"]))
    if "pack.mode" in settings:
        grid = replace(grid, pack_mode=parse_pack_mode(settings["pack.mode"]))
    return _override(grid, command.agent)


def shaping(command: Command, keys: Keys = OUR_KEYS) -> str:
    """Return the words of a command line that say what its runs are: all but selectors and axes, which name them."""
    pairs = [("preset", command.settings["preset"])] if "preset" in command.settings else []
    pairs += [(f"agent.{key}", text) for key, text in command.agent.items() if not is_axis(keys, key, text)]
    return " ".join(f"{key}={shlex.quote(value)}" for key, value in pairs)


def is_axis(keys: Keys, key: str, text: str) -> bool:
    """Return whether the text given for a key is a list of values, each of which trains runs of its own."""
    return "," in text and not keys.holds_list(key)


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
        if is_axis(grid.keys, key, text):
            axes[key] = axis_values(key, [grid.keys.read(key, item) for item in comma_list(f"agent.{key}", text)])
        else:
            single[key] = grid.keys.read(key, text)
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
    cells: list[tuple[str, str, AnyConfig]] = []
    for part in grid.parts:
        for task in part.tasks:
            configs: dict[str, AnyConfig] = {}
            for method in grid.methods:
                for variant in _variants(grid, method):
                    spelled = _method_name("", variant)
                    if spelled not in configs:
                        configs[spelled] = _task_config(grid.other, part, task, variant)
                    cells.append((task, method + spelled, _with(configs[spelled], method=method)))
    return [Run(task, method, seed, _with(config, seed=seed)) for seed in grid.seeds for task, method, config in cells]


def _variants(grid: Grid, method: str) -> list[dict[str, Any]]:
    """Return the settings that the axes give a method, those that it ignores left out."""
    ignores = () if grid.other else known_methods()[method].ignores
    axes = {key: values for key, values in grid.axes.items() if key not in ignores}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def ignored(grid: Grid) -> list[str]:
    """Return a sentence for each method whose loss does not depend on something that the grid sets for it."""
    said: list[str] = []
    for name in () if grid.other else grid.methods:
        ignores = known_methods()[name].ignores
        if axes := [key for key in grid.axes if key in ignores]:
            said.append(f"{name} ignores {', '.join(axes)}: it is trained once, not once for each value")
        fixed = {key for part in grid.parts for settings in (part.agent, *part.per_task.values()) for key in settings}
        if idle := sorted(fixed.intersection(ignores)):
            said.append(f"{name} ignores {', '.join(idle)}: its losses are weighted as if it were not set")
    return said


def _with(config: AnyConfig, **values: Any) -> AnyConfig:
    return config.model_copy(update=values)


def _task_config(other: OtherAgent | None, part: Part, task: str, variant: Mapping[str, Any]) -> AnyConfig:
    overrides = {**part.agent, **part.per_task.get(task, {}), **variant}
    if other is not None:
        return OtherConfig(task=task, method="", seed=0, train=other.train, settings=nested(overrides))
    try:
        return make_config(part.presets, overrides | {"task": task})
    except ConfigError as error:
        message = str(error)
        raise ConfigError(f"agent.{message}" if message.split(":")[0] in overrides else message) from error


def _method_name(method: str, variant: Mapping[str, Any]) -> str:
    if not variant:
        return method
    return f"{method}@" + ",".join(f"{key}={spell(value)}" for key, value in variant.items())
