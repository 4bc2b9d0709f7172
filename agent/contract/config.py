"""Presets, overrides and identity of a run's configuration. Imports neither JAX nor an environment."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from agent.contract.known_tasks import suite_of, validate_task
from agent.contract.literals import FileError
from agent.contract.methods import HARMONY, PLAIN, Method, methods
from agent.contract.schema import Config
from agent.contract.suites import suites
from agent.contract.words import ConfigError, nearest

__all__ = ["Config", "ConfigError"]

NESTED = re.compile(r"(?:[\[{][\s\w:,-]{0,9}){50}")
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PRESETS = CONFIGS / "presets.yaml"

# Settings that may differ between two parts of one run without changing what it computes (beyond float reassociation).
NOT_IDENTITY = (
    "jax.platform",
    "jax.prealloc",
    "jax.mem_fraction",
    "jax.compilation_cache",
    "jax.conv",
    "jax.one_hot",
    "jax.scan",
    "jax.observe_unroll",
    "jax.imagine_unroll",
    "jax.debug_nans",
    "env.processes",
    "env.hang_s",
    "run.eval_overlap",
    "run.log_every",
    "run.checkpoint_every_s",
    "replay.store",
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML 1.2 file; ConfigError names file, line and cause when it is unreadable."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    if NESTED.search(text):
        raise ConfigError(f"{path}: malformed YAML (brackets are nested deeper than anything that is read here)")
    try:
        data: Any = _yaml().load(text)
    except MarkedYAMLError as error:
        at: Any = error
        line = f", line {at.problem_mark.line + 1}" if at.problem_mark else ""
        raise ConfigError(f"{path}{line}: malformed YAML ({at.problem})") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: malformed YAML ({str(error).splitlines()[0]})") from error
    if data is None:
        return {}
    if not _is_mapping(data):
        raise ConfigError(f"{path}: a mapping of names is expected, got {type(data).__name__}")
    return data


def _yaml() -> Any:
    return YAML(typ="safe", pure=True)


def _is_mapping(data: object) -> typing.TypeGuard[dict[str, Any]]:
    return isinstance(data, dict) and all(isinstance(key, str) for key in typing.cast("dict[Any, Any]", data))


def flatten(config: Config | Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration as one level of dotted keys, in the schema's order."""
    nested = config.model_dump() if isinstance(config, Config) else config
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{sub}": leaf for sub, leaf in flatten(typing.cast("Mapping[str, Any]", value)).items()}
        else:
            flat[key] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested mapping that dotted keys name."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, leaf = key.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return nested


def _field_types(model: type[BaseModel] = Config, prefix: str = "") -> dict[str, Any]:
    types_: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            types_ |= _field_types(annotation, f"{prefix}{name}.")
        else:
            types_[prefix + name] = annotation
    return types_


OLD_SWITCH = "harmony"  # the published spelling of the method: True or False
FIELD_TYPES: dict[str, Any] = _field_types() | {OLD_SWITCH: bool}


def _by_method(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the published `harmony: True|False` as the method that it names."""
    settings = dict(flat)
    switch = settings.pop(OLD_SWITCH, None)
    if switch is None:
        return settings
    if not isinstance(switch, bool):
        raise ConfigError(f"{OLD_SWITCH}: {switch!r} is not True or False")
    named = HARMONY if switch else PLAIN
    if settings.setdefault("method", named) != named:
        raise ConfigError(f"{OLD_SWITCH}: {switch} means method {named!r}, but method is {settings['method']!r}")
    return settings


def parse_value(key: str, value: Any) -> Any:
    """Return the value in the type that the key has in the schema.

    Text is read strictly (`True`/`False` in either case for booleans, `1e3` for an integer only when whole, commas
    for lists); numbers and lists from YAML are widened (int → float, list → tuple) and otherwise kept.

    Raises: ConfigError for an unknown key or a text that is not of the type.
    """
    if key not in FIELD_TYPES:
        raise ConfigError(nearest_key(key))
    kind = FIELD_TYPES[key]
    origin = typing.get_origin(kind)
    try:
        if origin is tuple:
            items: Any = [part for part in value.split(",") if part] if isinstance(value, str) else value
            return tuple(typing.cast("Iterable[Any]", items)) if isinstance(items, (list, tuple)) else value
        if kind is bool and isinstance(value, str):
            return {"true": True, "false": False}[value.lower()]
        if kind is int and isinstance(value, str):
            return _whole(value)
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
        if kind is float and not isinstance(value, bool) and isinstance(value, (str, int)):
            return float(value)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{key}: {value!r} is not {_describe(kind)}") from error
    return value


def _whole(text: str) -> int:
    """Read `1000`, `1_000` or `1e3`."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise ValueError(text) from None
        return int(number)


def _describe(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return "one of " + ", ".join(str(x) for x in typing.get_args(kind))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(part) for part in typing.get_args(kind))
    if origin is tuple:
        return "a list of " + ", ".join(str(x) for x in typing.get_args(typing.get_args(kind)[0]))
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}
    return names.get(kind, str(kind))


def nearest_key(key: str, extra: Iterable[str] = ()) -> str:
    """Return an error message about an unknown configuration key, naming the nearest ones (or `extra` names)."""
    sections = {".".join(name.split(".")[:depth]) for name in FIELD_TYPES for depth in range(1, name.count(".") + 1)}
    if key in sections:
        example = next(name for name in FIELD_TYPES if name.startswith(key + "."))
        return f"{key!r} is a section; name one of its keys, as in {example!r}"
    close = difflib.get_close_matches(key, [*FIELD_TYPES, *extra], n=3, cutoff=0.6)
    if not close:
        leaf = key.rsplit(".", 1)[-1]
        close = [name for name in FIELD_TYPES if name.rsplit(".", 1)[-1] == leaf][:3]
    hint = f"; did you mean {' or '.join(repr(x) for x in close)}?" if close else f" ({len(FIELD_TYPES)} keys)"
    return f"unknown key {key!r}{hint}"


def presets() -> dict[str, dict[str, Any]]:
    """Return the presets by name, each as nested settings with an optional `tasks` block of per-task settings."""
    return {name: dict(body) for name, body in _read_presets(PRESETS).items()}


@functools.cache
def _read_presets(path: Path) -> dict[str, dict[str, Any]]:
    return {name: body or {} for name, body in read_yaml(path).items()}


def preset_settings(names: Iterable[str], task: str) -> dict[str, Any]:
    """Return the dotted settings of the named presets, later ones over earlier ones, for one task."""
    known = presets()
    flat: dict[str, Any] = {}
    for name in names:
        if name not in known:
            raise ConfigError(nearest(name, known, "preset"))
        body = dict(known[name])
        per_task: Mapping[str, Any] = body.pop("tasks", None) or {}
        for source in (body, per_task.get(task, {})):
            for key, value in flatten(source).items():
                flat[key] = parse_value(key, value)
    return _by_method(flat)


def make_config(names: Iterable[str] = (), overrides: Mapping[str, Any] | None = None) -> Config:
    """Return the full configuration: defaults, then presets in order, then overrides (dotted keys).

    Raises: ConfigError naming the key, the value and what is allowed.
    """
    given = _by_method({key: parse_value(key, value) for key, value in (overrides or {}).items()})
    task = validate_task(str(given.get("task", Config().task)))
    flat = flatten(Config()) | preset_settings(names, task) | given | {"task": task}
    return from_dict(unflatten(flat))


def from_dict(data: Mapping[str, Any]) -> Config:
    """Return the configuration in a nested mapping (as in `config.yaml`), checked against the schema."""
    flat = _by_method({key: parse_value(key, value) for key, value in flatten(data).items()})
    try:
        config = Config.model_validate(unflatten(flat))
    except ValidationError as error:
        raise ConfigError(_first_error(error)) from error
    _check_consistency(config)
    return config


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
    return f"{key}: {first['input']!r} is refused: {first['msg'][0].lower()}{first['msg'][1:]}"


def _check_consistency(config: Config) -> None:
    validate_task(config.task)
    if config.method not in known_methods():
        raise ConfigError(nearest(config.method, known_methods(), "method"))
    if config.actor.minstd > config.actor.maxstd:
        raise ConfigError(f"actor.minstd: {config.actor.minstd} exceeds actor.maxstd {config.actor.maxstd}")
    if config.retnorm.perclo >= config.retnorm.perchi:
        raise ConfigError(f"retnorm.perclo: {config.retnorm.perclo} must be below perchi {config.retnorm.perchi}")
    if config.encoder.minres != config.decoder.minres:
        raise ConfigError(f"decoder.minres: {config.decoder.minres} must equal encoder.minres {config.encoder.minres}")
    suite, least = suite_of(config.task), config.encoder.minres
    size = getattr(getattr(config.env, suite, None), "size", 2 * least)
    if size % least or size < 2 * least or (size // least).bit_count() != 1:
        reason = (
            f"images are halved down to {least}×{least} pixels; {8 * least}, {16 * least} or another power is expected"
        )
        raise ConfigError(f"env.{suite}.size: {size} is refused: {reason}")


def known_methods() -> dict[str, Method]:
    """Return the methods by name; ConfigError when the file of one is not as it must be."""
    try:
        return methods()
    except FileError as error:
        raise ConfigError(str(error)) from error


def frames_per_step(config: Config) -> int:
    """Return raw environment frames per environment step (the suite's action repeat)."""
    settings = getattr(config.env, suite_of(config.task), None)
    return int(getattr(settings, "repeat", 1))


def identity(config: Config) -> dict[str, Any]:
    """Return the dotted settings that decide a run's numbers: all but `NOT_IDENTITY` and other suites' settings."""
    others = tuple(f"env.{suite}." for suite in suites() if suite != suite_of(config.task))
    flat = flatten(config)
    return {k: v for k, v in flat.items() if k not in NOT_IDENTITY and not k.startswith(others)}


def config_hash(config: Config) -> str:
    """Return 16 hex digits that are equal exactly when two configurations compute the same numbers."""
    return hash_settings(identity(config))


def hash_settings(settings: Mapping[str, Any]) -> str:
    """Return 16 hex digits that are equal exactly when two mappings of settings are."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: Config, new: Config, of: Callable[[Config], dict[str, Any]] = identity) -> list[str]:
    """Return "key: old → new" for every setting that differs: of the identity, or of what `of` returns."""
    return differing(of(old), of(new))


def differing(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    """Return "key: left → right" for every setting that differs."""
    keys = [*left, *(key for key in right if key not in left)]
    return [f"{k}: {left.get(k)!r} → {right.get(k)!r}" for k in keys if left.get(k) != right.get(k)]


def dump_yaml(config: Config | Mapping[str, Any], path: Path) -> None:
    """Write a configuration, or any nested settings, as YAML (floats at full precision), for `read_yaml`."""
    import io

    stream = io.StringIO()
    yaml = _yaml()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(json.loads(config.model_dump_json()) if isinstance(config, Config) else dict(config), stream)
    path.write_text(stream.getvalue(), encoding="utf-8")
