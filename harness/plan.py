"""The plan of a study and the configurations in its run folders: written by launch, selected from by every command."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.config import Config, ConfigError, differences, dump_yaml, from_dict, read_yaml
from agent.files import write_bytes, write_json
from agent.methods import HARMONY
from agent.ownership import make_private
from agent.record import plan_path, read_plan
from harness.command import Command, comma_list, match_name, parse_seeds
from harness.grid import Run, is_scalar, spell, typed_value
from harness.hours import Estimate
from harness.study import Planned, Study

FORMAT = 1


def select(command: Command, planned: Sequence[Planned]) -> list[Planned]:
    """Return the planned runs that a command line's tasks=, methods=, seeds= and agent.KEY= select."""
    tasks = list(dict.fromkeys(run.key.task for run in planned))
    methods = list(dict.fromkeys(run.key.method for run in planned))
    chosen = list(planned)
    if "tasks" in command.settings:
        wanted = {match_name(text, tasks, "task") for text in comma_list("tasks", command.settings["tasks"])}
        chosen = [run for run in chosen if run.key.task in wanted]
    if "methods" in command.settings:
        bases = list(dict.fromkeys(method.partition("@")[0] for method in methods))
        kept: set[str] = set()
        for text in comma_list("methods", command.settings["methods"]):
            if text in methods:
                kept.add(text)
            else:
                base = match_name(text, bases, "method")
                kept |= {method for method in methods if method.partition("@")[0] == base}
        chosen = [run for run in chosen if run.key.method in kept]
    if "seeds" in command.settings:
        seeds = parse_seeds(command.settings["seeds"])
        missing = [seed for seed in seeds if seed not in {run.key.seed for run in planned}]
        if missing:
            known = ", ".join(str(seed) for seed in sorted({run.key.seed for run in planned}))
            raise ConfigError(f"seeds={command.settings['seeds']}: seed {missing[0]} is not in this study ({known})")
        chosen = [run for run in chosen if run.key.seed in seeds]
    for key, text in command.agent.items():
        chosen = _select_variants(key, text, chosen, methods)
    return chosen


def _select_variants(key: str, text: str, chosen: list[Planned], methods: Sequence[str]) -> list[Planned]:
    """Keep the runs whose method names one of the values; a key that is no axis of the study selects nothing away."""
    values = comma_list(f"agent.{key}", text) if is_scalar(key) else [text]
    wanted = {f"{key}={spell(typed_value(key, value))}" for value in values}
    axes = {part for method in methods for part in method.partition("@")[2].split(",") if part.startswith(f"{key}=")}
    if not axes:
        return chosen
    for name in wanted - axes:
        raise ConfigError(f"agent.{name} is not in this study ({', '.join(sorted(axes))})")
    return [run for run in chosen if wanted & set(run.key.method.partition("@")[2].split(","))]


def check_writable(runs: Path) -> None:
    """Raise ConfigError, having written nothing, when the runs folder cannot be written."""
    folder = runs
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise ConfigError(f"runs={runs}: {folder} is a file, a folder is expected")
    if not os.access(folder, os.W_OK | os.X_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise ConfigError(f"runs={runs}: {folder} cannot be written; name another folder with runs=DIR")


def check_same(study: Study, runs: Iterable[Run]) -> None:
    """Raise ConfigError with the differing keys when a run's folder or plan holds another configuration."""
    plan = read_plan(study.path)
    hashes = {run.name: run.config_hash for run in study.planned()} if plan is not None else {}
    for run in runs:
        if hashes.get(run.name) == run.config_hash:
            continue
        folder = study.run(run.name)
        old = from_dict(read_yaml(folder.config)) if folder.config.is_file() else None
        keys = differences(old, run.config) if old is not None else []
        if keys or run.name in hashes:
            raise ConfigError(
                f"{folder.path}: holds another configuration ({'; '.join(keys) or 'its config.yaml is gone'}); "
                f"launch it beside this one with study={study.name}-2, or undo the change"
            )


def write_plan(
    study: Study,
    source: str,
    runs: Sequence[Run],
    code: Mapping[str, Any],
    cost: Callable[[Sequence[Run]], Estimate] = lambda runs: Estimate(unknown=len(runs)),
    settings: str = "",
) -> None:
    """Write the plan, or add to it the runs it does not have yet; what it has of runs is never changed.

    Its `settings` are the words that shaped its first runs, which a command that launches what is missing must repeat;
    its `estimate` holds the device-hours that all its runs were expected to take when they were planned.
    """
    plan = read_plan(study.path) or {
        "format": FORMAT,
        "study": study.name,
        "grid": source,
        "settings": settings,
        "created": time.time(),
        "code": dict(code),
        "runs": [],
        "estimate": Estimate().as_json(),
    }
    known = {run.name for run in study.planned()} if plan["runs"] else set[str]()
    fresh = [run for run in runs if run.name not in known]
    if not fresh:
        return
    plan["runs"] += [
        {"task": run.task, "method": run.method, "seed": run.seed, "config_hash": run.config_hash, "kind": run.kind}
        for run in fresh
    ]
    if before := plan.get("estimate"):  # a study planned without one keeps having none
        plan["estimate"] = (Estimate.from_json(before) + cost(fresh)).as_json()
    write_json(plan_path(study.path), plan)


def write_configs(study: Study, runs: Iterable[Run]) -> None:
    """Write config.yaml into the folder of every run."""
    texts: dict[Config, str] = {}
    for run in runs:
        folder = study.run(run.name)
        make_private(folder.path)
        shape = run.config.model_copy(update={"seed": 0, "method": HARMONY})
        if shape not in texts:
            scratch = folder.path / ".config.yaml.tmp"
            dump_yaml(shape, scratch)
            texts[shape] = scratch.read_text(encoding="utf-8")
            scratch.unlink()
        text = re.sub(r"(?m)^seed: .*$", f"seed: {run.seed}", texts[shape])
        text = re.sub(r"(?m)^method: .*$", f"method: {run.config.method}", text)
        write_bytes(folder.config, text.encode(), durable=False)


def read_configs(study: Study, runs: Iterable[Planned]) -> list[Run]:
    """Return planned runs with the configuration in their folders; runs without one are left out."""
    known: dict[str, Config] = {}
    found: list[Run] = []
    for run in runs:
        path = study.run(run.name).config
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        shape = re.sub(r"(?m)^(seed|method): .*$", "", text)
        if shape not in known:
            known[shape] = from_dict(read_yaml(path))
        method = run.key.method.partition("@")[0]
        config = known[shape].model_copy(update={"seed": run.key.seed, "method": method})
        found.append(Run(run.key.task, run.key.method, run.key.seed, config))
    return found
