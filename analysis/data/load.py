"""Read a study's run folders: every run once, whatever is damaged listed by path and reason.

What a run folder says is boiled down to a small summary, and summaries are cached by the size and time of the files
they come from (in the user's cache folder; deleting it costs time only). A second call re-reads only changed runs.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from agent.contract import files, run_folder
from agent.contract.ownership import cache_home, opened
from agent.contract.records import Plan
from agent.contract.words import ConfigError, nearest, one_name
from analysis.data.scores import RunScores
from analysis.data.stray import stray_runs
from analysis.data.summary import summarise_all
from analysis.data.training import Series, unpack

CACHE_FORMAT = 10


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be, where, and what was done about it."""

    path: str
    reason: str
    run: run_folder.RunKey | None = None


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """One run folder: its scores, its state, and what computed it. `state` is one of STATES."""

    key: run_folder.RunKey
    folder: Path
    state: str
    scores: RunScores
    summary: dict[str, Any]

    @property
    def config_id(self) -> str:
        """Return a digest of the configuration without the seed, "" when there is none."""
        return str(self.summary["config_id"])

    @property
    def series_names(self) -> list[str]:
        """Return the names of the series that `training` gives."""
        return list(self.summary["training"].get("series", ()))

    def training(self, names: Sequence[str] | None = None) -> dict[str, Series]:
        """Return the loss and harmony series of the run (or those named), averaged in bins: frames and values."""
        return unpack(self.summary["training"], names)


STATES = ("done", "running", "silent", "stopped", "failed", "planned", "missing", "damaged")


@dataclass
class LoadedStudy:
    """All runs of a study, the plan's runs without a folder among them, and every problem met on the way."""

    name: str
    folder: Path
    plan: Plan | None
    runs: list[LoadedRun]
    problems: list[Problem]
    configs: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])


def load_study(folder: Path) -> LoadedStudy:
    """Return what a study's folder holds.

    Raises: ConfigError when there is no such folder or nothing in it.
    """
    if not folder.is_dir():
        others = [entry.name for entry in folder.parent.iterdir() if entry.is_dir()] if folder.parent.is_dir() else []
        raise ConfigError(f"{folder}: no such study; {nearest(folder.name, others, 'study')}")
    problems: list[Problem] = []
    plan = _plan(folder, problems)
    everything = run_folder.find_runs(folder)
    paths = [path for path in everything if _is_named_safely(path, problems)]
    stray = stray_runs(folder, everything)
    problems += [Problem(str(p), "holds a run but is not TASK/METHOD/seed-K; the run is left out") for p in stray]
    if not paths and plan is None:
        hint = f"; {stray[0]} looks like a run in another place" if stray else ""
        raise ConfigError(f"{folder}: holds no runs (TASK/METHOD/seed-K is expected) and no plan.json{hint}")
    summaries, configs = _summaries(folder, paths)
    planned = {run_folder.RunKey(row.task, row.method, row.seed): row.config_hash for row in plan.runs} if plan else {}
    keys = [run_folder.RunKey.of(path) for path in paths]
    runs = [
        _loaded(key, path, summaries[path], planned.get(key, ""), problems)
        for key, path in zip(keys, paths, strict=True)
    ]
    runs += _without_folder(plan, folder, {run.key for run in runs})
    return LoadedStudy(folder.name, folder, plan, runs, problems, configs)


def _summaries(folder: Path, paths: Sequence[Path]) -> tuple[dict[Path, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return each run's summary, read anew where its files changed, and the configurations by their id."""
    cache_path = _cache_path(folder)
    cache = _read_cache(cache_path)
    old: dict[str, dict[str, Any]] = cache.get("runs", {})
    configs: dict[str, dict[str, Any]] = dict(cache.get("configs", {}))
    stamps = {path: signature(path) for path in paths}
    names = {path: str(path.relative_to(folder)) for path in paths}
    changed = [path for path in paths if old.get(names[path], {}).get("signature") != stamps[path]]
    read = summarise_all(changed, configs)
    found = {path: read[path] if path in read else old[names[path]]["summary"] for path in paths}
    entries = {names[path]: {"signature": stamps[path], "summary": found[path]} for path in paths}
    used = {summary["config_id"] for summary in found.values()}
    configs = {key: config for key, config in configs.items() if key in used}
    if entries != old:
        _write_cache(cache_path, {"runs": entries, "configs": configs})
    return found, configs


def _is_named_safely(path: Path, problems: list[Problem]) -> bool:
    """Return whether a folder's names are spelt as a run's; one whose are not is listed."""
    try:
        spelt = run_folder.RunKey.of(path).folder(path.parents[2]).name
        reason = "" if path.name == spelt else f"is spelt {spelt}"
    except files.RecordError as error:
        reason = str(error)
    if reason:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        problems.append(Problem(shown, f"{reason}; the run is left out"))
    return not reason


def _plan(folder: Path, problems: list[Problem]) -> Plan | None:
    try:
        return run_folder.read_plan(folder)
    except files.RecordError as error:
        path, _, reason = str(error).partition(": ")
        problems.append(Problem(path, f"{reason}; what was planned is unknown"))
        return None


def _loaded(
    key: run_folder.RunKey, path: Path, summary: dict[str, Any], planned: str, problems: list[Problem]
) -> LoadedRun:
    problems += [Problem(f"{path}{where}", reason, key) for where, reason in summary["problems"]]
    state = summary["state"]
    if state == "done" and planned and summary["config_hash"] != planned:
        reason = f"is of configuration {summary['config_hash']}, but {planned} was planned; the run is left out"
        problems.append(Problem(str(run_folder.RunDir(path).result), reason, key))
        state = "damaged"
    if state == "running" and time.time() - summary["heartbeat"] > run_folder.STALE_AFTER_S:
        state = "silent"
    curve = RunScores(
        key.method,
        one_name(key.task),
        key.seed,
        np.array(summary["frames"], np.int64),
        np.array(summary["scores"], np.float64),
        complete=state == "done",
        unit=summary["unit"],
        folder=path,
    )
    return LoadedRun(key, path, state, curve, summary)


def _without_folder(plan: Plan | None, folder: Path, found: set[run_folder.RunKey]) -> list[LoadedRun]:
    """Return the plan's runs that have no folder, in the state `missing`."""
    missing: list[LoadedRun] = []
    for row in plan.runs if plan else ():
        key = run_folder.RunKey(row.task, row.method, row.seed)
        path = key.folder(folder)
        if key not in found:
            found.add(key)
            nothing = np.array([], np.int64), np.array([], np.float64)
            empty = RunScores(key.method, one_name(key.task), key.seed, *nothing, complete=False, folder=path)
            missing.append(LoadedRun(key, path, "missing", empty, EMPTY))
    return missing


EMPTY: dict[str, Any] = {
    "problems": [],
    "frames": [],
    "scores": [],
    "state": "missing",
    "unit": "return",
    "config_id": "",
    "config_hash": "",
    "code": "",
    "device": "",
    "device_seconds": 0.0,
    "wasted_seconds": {},
    "packages": "",
    "attempt_trees": [],
    "training": {},
    "env_steps": 0,
    "total_env_steps": 0,
    "reason": "",
}

WATCHED = frozenset({"config.yaml", "provenance.json", "status.json", "scores.jsonl", "metrics.jsonl", "result.json"})


def signature(folder: Path) -> str:
    """Return sizes and times of the files a summary depends on, as one short text."""
    parts: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in WATCHED:
                    parts.append(_stamp(entry.name, entry.stat()))
                elif entry.name == "attempts":
                    parts += _attempt_stamps(entry.path)
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return hashlib.sha256("|".join(sorted(parts)).encode()).hexdigest()[:24]


def _attempt_stamps(folder: str) -> list[str]:
    stamps: list[str] = []
    try:
        names = os.listdir(folder)
    except NotADirectoryError:
        return ["not a folder"]
    for name in names:
        try:
            stamps.append(_stamp(name, os.stat(f"{folder}/{name}/attempt.json")))
        except (FileNotFoundError, NotADirectoryError):
            stamps.append(name)
    return stamps


def _stamp(name: str, info: os.stat_result) -> str:
    return f"{name}:{info.st_size}:{info.st_mtime_ns}:{info.st_ino}"


def _cache_path(folder: Path) -> Path:
    return (
        cache_home()
        / "harmony-bench"
        / f"report-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}.json"
    )


def _read_cache(path: Path) -> dict[str, Any]:
    try:
        with opened(path.parent.parent, path.parent.name):  # the user's alone, or not believed
            data = json.loads(path.read_bytes())
    except (OSError, ValueError):  # no cache is as good as any
        return {}
    content = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    return content if content.get("format") == CACHE_FORMAT else {}


def _write_cache(path: Path, content: dict[str, Any]) -> None:
    try:
        text = json.dumps({"format": CACHE_FORMAT, **content}, separators=(",", ":"))
        with opened(path.parent.parent, path.parent.name):
            files.write_bytes(path, text.encode(), durable=False)
    except OSError:  # a full or read-only home costs time, not results
        return
