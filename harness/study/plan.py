"""The plan of a study and the configurations in its run folders: written by launch, selected from by every command."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.contract.config import FIELD_TYPES, dump_yaml
from agent.contract.files import RecordError, read_plain, set_aside, write_bytes
from agent.contract.ownership import make_private
from agent.contract.records import Plan, PlannedRun, write_record
from agent.contract.run_folder import RunDir, plan_path, read_plan
from agent.contract.words import ConfigError, comma_list, match_name, parse_seeds
from harness.command import Command
from harness.study.estimate import Estimate
from harness.study.folder import Planned, Study
from harness.study.grid import is_axis
from harness.study.keys import OUR_KEYS, OtherKeys, spell
from harness.study.other_agent import OtherConfig
from harness.study.run import AnyConfig, Run, differences, hash_config, read_config, shared_settings

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
            text = command.settings["seeds"]
            count = (
                f"; a count is for launch alone, here write seeds=0..{seeds[0] - 1}"
                if text.isdigit() and text != "0"
                else ""
            )
            raise ConfigError(f"seeds={text}: seed {missing[0]} is not in this study ({known}){count}")
        chosen = [run for run in chosen if run.key.seed in seeds]
    for key, text in command.agent.items():
        chosen = _select_variants(key, text, chosen, methods)
    return chosen


def _select_variants(key: str, text: str, chosen: list[Planned], methods: Sequence[str]) -> list[Planned]:
    """Keep the runs whose method names one of the values; a key that is no axis of the study selects nothing away."""
    axes = {part for method in methods for part in method.partition("@")[2].split(",") if part.startswith(f"{key}=")}
    keys = OtherKeys() if axes and key not in FIELD_TYPES else OUR_KEYS
    values = comma_list(f"agent.{key}", text) if is_axis(keys, key, text) else [text]
    wanted = {f"{key}={spell(keys.read(key, value))}" for value in values}
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
    hashes = {run.name: run.config_hash for run in study.planned()} if os.path.lexists(plan_path(study.path)) else {}
    for run in runs:
        if hashes.get(run.name) == run.config_hash:
            continue
        folder = study.run(run.name)
        old = read_config(folder) if folder.config.is_file() else None
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
    labels: Mapping[str, str] | None = None,
) -> None:
    """Write the plan, or add to it the runs it does not have yet; what it has of runs is never changed.

    Its `settings` are the words that shaped its first runs, which a command that launches what is missing must repeat;
    its `estimate` holds the device-hours that all its runs were expected to take when they were planned; its `labels`
    are what readers call the methods of other agents.
    """
    plan = read_plan(study.path) or Plan(
        format=FORMAT, study=study.name, grid=source, settings=settings, created=time.time(), code=dict(code), runs=[],
        estimate=Estimate().as_record(),
    )  # fmt: skip
    known = {run.name for run in study.planned()} if plan.runs else set[str]()
    fresh = [run for run in runs if run.name not in known]
    if not fresh:
        return
    plan.runs += [
        PlannedRun(task=run.task, method=run.method, seed=run.seed, config_hash=run.config_hash, kind=run.kind)
        for run in fresh
    ]
    plan.labels |= labels or {}
    if plan.estimate is not None:  # a study planned without one keeps having none
        plan.estimate = (Estimate.of(plan.estimate) + cost(fresh)).as_record()
    write_record(plan_path(study.path), plan)


def write_configs(study: Study, runs: Iterable[Run]) -> None:
    """Write config.yaml into the folder of every run; one that is of another configuration is kept aside."""
    texts: dict[str, str] = {}
    for run in runs:
        folder = study.run(run.name)
        make_private(folder.path)
        shape = shared_settings(run.config)
        if shape not in texts:
            scratch = folder.path / ".config.yaml.tmp"
            dump_yaml(run.config.as_mapping() if isinstance(run.config, OtherConfig) else run.config, scratch)
            texts[shape] = scratch.read_text(encoding="utf-8")
            scratch.unlink()
        text = re.sub(r"(?m)^seed: .*$", f"seed: {run.seed}", texts[shape])
        text = re.sub(r"(?m)^method: .*$", f"method: {run.config.method}", text).encode()
        if _is_other(folder, text, run.config_hash):
            print(f"{folder.config}: is not the plan's; kept as {set_aside(folder.config).name}", file=sys.stderr)
        write_bytes(folder.config, text, durable=False)


def _is_other(folder: RunDir, text: bytes, config_hash_: str) -> bool:
    """Return whether a run's folder has a configuration that computes something else than this text, or says none."""
    try:
        if (old := read_plain(folder.config)) is None or old == text:
            return False
        return hash_config(read_config(folder)) != config_hash_
    except (RecordError, ConfigError):
        return True


def read_configs(study: Study, runs: Iterable[Planned]) -> tuple[list[Run], dict[str, str]]:
    """Return planned runs with their configuration, and for each run that has none, by its name, why.

    One that is missing, damaged or not the one that was planned is made from another run's, where the two differ in
    task, method and seed only; the plan's hash proves it.
    """
    known: dict[bytes, AnyConfig] = {}
    found: list[Run] = []
    odd: dict[str, str] = {}
    for run in runs:
        try:
            config, reason = _read_config(study, run, known), "has no config.yaml"
        except RecordError as error:
            config, reason = None, str(error)
        config = config or _restored(study, run, known)
        if config is None:
            odd[run.name] = reason
        else:
            found.append(config)
    return found, odd


def _read_config(study: Study, run: Planned, known: dict[bytes, AnyConfig]) -> Run | None:
    """Return a run with the configuration in its folder, None without one; alike ones are parsed once."""
    path = study.run(run.name).config
    text = read_plain(path)
    if text is None:
        return None
    shape = re.sub(rb"(?m)^(seed|method): .*$", b"", text)
    try:
        config = known[shape] if shape in known else read_config(study.run(run.name))
    except ConfigError as error:
        raise RecordError(str(error)) from error
    found = _with_key(config, run)
    if found.config_hash != run.config_hash:
        raise RecordError(f"{path}: is not the configuration that was planned ({run.config_hash})")
    known[shape] = config
    return found


def _restored(study: Study, run: Planned, known: dict[bytes, AnyConfig]) -> Run | None:
    """Return a run with another one's configuration, made its own, None where that is not what was planned."""
    for other in study.planned():
        with contextlib.suppress(RecordError):
            _read_config(study, other, known)
    made = (_with_key(config, run) for config in known.values())
    return next((found for found in made if found.config_hash == run.config_hash), None)


def _with_key(config: AnyConfig, run: Planned) -> Run:
    key = run.key
    update = {"task": key.task, "seed": key.seed, "method": key.method.partition("@")[0]}
    return Run(key.task, key.method, key.seed, config.model_copy(update=update))
