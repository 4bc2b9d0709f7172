"""Grid files: YAML → a checked grid."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.contract.config import CONFIGS, flatten, known_methods, read_yaml
from agent.contract.known_tasks import validate_task
from agent.contract.methods import PAIR
from agent.contract.words import ConfigError, match_name, nearest, parse_seeds, refuse_repeats, typed_path
from harness.study import frozen_code
from harness.study.grid import Grid, Part, parse_pack, parse_pack_mode, parse_presets
from harness.study.keys import OUR_KEYS, Keys, OtherKeys, axis_values, read_schema
from harness.study.other_agent import OtherAgent, check_task, parse_command, parse_methods
from harness.study.profiles import Profile

GRIDS = CONFIGS / "grids"
PART_KEYS = ("tasks", "preset", "agent", "per_task")
GRID_KEYS = (*PART_KEYS, "description", "parts", "methods", "seeds", "cluster", "pack", "pack.mode", "resources")
OTHER_KEYS = ("train", "schema")  # of a grid that another agent trains
OURS_ALONE = ("preset", "pack.mode")


def grid_path(name: str) -> Path:
    """Return the file of a grid, by name in configs/grids or by path."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return typed_path("grid", name)
    path = GRIDS / f"{name}.yaml"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not path.is_file():
        raise ConfigError(f"grid={name}: {nearest(name, [p.stem for p in GRIDS.glob('*.yaml')], 'grid')}")
    return path


def load_grid(name: str) -> Grid:
    """Return the grid in a file, every task, preset, method and key checked."""
    path = grid_path(name)
    data = read_yaml(path)
    try:
        return _grid(path, data)
    except ConfigError as error:
        raise ConfigError(f"{_shown(path)}: {error}") from error


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(CONFIGS.parent))
    except ValueError:
        return str(path)


def _grid(path: Path, data: dict[str, Any]) -> Grid:
    _check_keys(data, (*GRID_KEYS, *OTHER_KEYS))
    other = _other(path, data)
    keys = other.keys if other else OUR_KEYS
    if "parts" in data and any(key in data for key in PART_KEYS):
        raise ConfigError("give either 'parts' or tasks and preset at the top, not both")
    blocks = _typed("parts", data["parts"], list) if "parts" in data else [data]
    axes: dict[str, tuple[Any, ...]] = {}
    parts = tuple(_part(_typed("parts", block, dict), axes, keys, top="parts" not in data) for block in blocks)
    methods = list(other.labels) if other else _our_methods(data)
    seeds = data.get("seeds", 1)
    seeds = [*_as_list(seeds), ""] if isinstance(seeds, list) else [seeds]  # a list of one is that seed, not a count
    grid = Grid(
        name=path.stem,
        source=_shown(path),
        parts=parts,
        methods=tuple(methods),
        seeds=tuple(parse_seeds(",".join(map(str, seeds)), count=True)),
        axes=axes,
        cluster=data.get("cluster"),
        pack=parse_pack(data.get("pack", 1)),
        pack_mode=parse_pack_mode(data["pack.mode"]) if "pack.mode" in data else None,
        resources=_resources(_typed("resources", data.get("resources") or {}, dict)),
        other=other,
    )
    refuse_repeats("methods", grid.methods)
    refuse_repeats("tasks", grid.tasks)
    return grid


def _our_methods(data: dict[str, Any]) -> list[str]:
    known = list(known_methods())
    return [match_name(str(name), known, "method") for name in _as_list(data.get("methods", list(PAIR)))]


def _other(path: Path, data: dict[str, Any]) -> OtherAgent | None:
    """Return what the grid says of another agent, None where it trains ours."""
    if "train" not in data:
        if "schema" in data:
            raise ConfigError("schema: is for a grid with 'train'; our own agent's is agent/contract/schema.py")
        return None
    blocks = _as_list(data.get("parts", []))
    for key in OURS_ALONE:
        if key in data or any(isinstance(block, dict) and key in block for block in blocks):
            raise ConfigError(f"{key}: is for our own agent; leave it out where 'train' names another")
    train, files = parse_command(data["train"], path.resolve().parent, frozen_code.ROOT)
    schema = data.get("schema")
    keys = OtherKeys() if schema is None else read_schema(path.parent / str(schema))
    return OtherAgent(train, keys, parse_methods(data.get("methods")), files)


def _resources(block: dict[str, Any]) -> dict[str, Any]:
    """Return changes to the cluster's profile as dotted keys, each known to it."""
    for key in block:
        if key not in Profile.model_fields:
            raise ConfigError(f"resources: {nearest(key, Profile.model_fields, 'key')}")
    return flatten(block)


def _part(block: dict[str, Any], axes: dict[str, tuple[Any, ...]], keys: Keys, *, top: bool) -> Part:
    if not top:
        _check_keys(block, PART_KEYS)
    if not block.get("tasks"):
        raise ConfigError("no tasks; name them as in `tasks: [catch]`")
    check = validate_task if keys is OUR_KEYS else check_task
    tasks = tuple(check(str(task)) for task in _as_list(block["tasks"]))
    agent: dict[str, Any] = {}
    for key, value in flatten(_typed("agent", block.get("agent") or {}, dict)).items():
        if isinstance(value, list) and keys.holds_list(key) is False:
            axes[key] = axis_values(key, [keys.typed(key, item) for item in typing.cast("list[Any]", value)])
        else:
            agent[key] = keys.typed(key, value)
    per_task: dict[str, dict[str, Any]] = {}
    for task, settings in _typed("per_task", block.get("per_task") or {}, dict).items():
        if task not in tasks:
            raise ConfigError(f"per_task: {nearest(task, tasks, 'task')}")
        flat = flatten(_typed(f"per_task.{task}", settings, dict))
        per_task[task] = {key: keys.typed(key, value) for key, value in flat.items()}
    return Part(tasks, parse_presets(_as_list(block.get("preset", []))), agent, per_task)


def _check_keys(data: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for key in data:
        if key not in allowed:
            raise ConfigError(nearest(key, allowed, "key"))


def _typed(key: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        expected = {dict: "a mapping", list: "a list"}[kind]
        raise ConfigError(f"{key}: {expected} is expected, got {value!r}")
    return value


def _as_list(value: Any) -> list[Any]:
    return typing.cast("list[Any]", value) if isinstance(value, list) else [value]
