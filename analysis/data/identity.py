"""What a run's config.yaml says it computes: its task, its seed, and everything else as one flat mapping."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from agent.contract import run_folder
from agent.contract.methods import HARMONY, PLAIN

MAX_BYTES = 2**20


@dataclass(frozen=True)
class Identity:
    """What a configuration is of; `config_id` is a digest of its text without the seed."""

    config_id: str
    task: str
    seed: int


def read_identity(run: run_folder.RunDir, configs: dict[str, Any], damage: list[str]) -> Identity | None:
    """Return what a run's configuration is of, None when it cannot be told; equal texts are parsed once.

    `configs` gains the flattened configuration under its id, `damage` a sentence for what is wrong.
    """
    text = _read(run, damage)
    if text is None:
        return None
    seed = re.search(r"^seed: ([0-9]{1,10})\s*$", text, re.MULTILINE)
    without = text if seed is None else text[: seed.start()] + text[seed.end() :]
    digest = hashlib.sha256(without.encode()).hexdigest()[:16]
    flat = configs.get(digest)
    if flat is None:
        flat = _parse(run.config, text, damage)
        if flat is None:
            return None
        flat.pop("seed", None)
        configs[digest] = flat
    if seed is None:
        damage.append(f"{run.config}: no line 'seed: K'; the run is left out")
        return None
    return Identity(digest, str(flat.get("task")), int(seed[1]))


def _read(run: run_folder.RunDir, damage: list[str]) -> str | None:
    try:
        with open(run.config, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            damage.append(f"{run.config}: longer than {MAX_BYTES} bytes; the run is left out")
            return None
        return data.decode()
    except FileNotFoundError:
        if run.scores.exists():
            damage.append(f"{run.path}: no config.yaml: what it computed is unknown; the run is left out")
    except (OSError, UnicodeDecodeError) as error:
        damage.append(f"{run.config}: cannot be read ({type(error).__name__}); the run is left out")
    return None


def _parse(path: Path, text: str, damage: list[str]) -> dict[str, Any] | None:
    """Return the flattened configuration as plain JSON values: dates, sets and the like become their text."""
    try:
        data: Any = YAML(typ="safe", pure=True).load(text)  # pyright: ignore[reportUnknownMemberType] # untyped
        if not isinstance(data, dict):
            damage.append(f"{path}: a mapping is expected, got {type(data).__name__}; the run is left out")
            return None
        flat = json.loads(json.dumps(_flatten(cast("dict[Any, Any]", data), ""), default=repr))
        if isinstance(switch := flat.get("harmony"), bool) and "method" not in flat:  # as older code wrote it
            flat["method"] = HARMONY if flat.pop("harmony") and switch else PLAIN
        return flat
    except (YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        damage.append(f"{path}: not YAML ({reason}); the run is left out")
        return None


def _flatten(node: dict[Any, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            flat |= _flatten(cast("dict[Any, Any]", value), f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
