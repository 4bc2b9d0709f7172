"""A study's folder as the harness keeps it: the plan, the launches made from it, and the frozen code.

Below the study, beside the run folders and hidden from the reports::

    .harness/lease.json          the one command that is submitting at this moment
    .harness/code/TREE/          frozen copies of the code
    .harness/launches/ID/        one per launch or resubmission
        launch.json              its jobs' runs and profile, written before anything is submitted
        packs/K.json             what job K works on, for the worker
        jobs.json                the cluster's ids of its jobs, as far as they are known
        pool.json                cluster=local: what the pool is doing
        cancel/K.json            a request to stop runs of job K
        submitit/                submitit's pickles and logs
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from agent.config import METHODS, Config, ConfigError, differences, dump_yaml, from_dict, nearest, read_yaml
from agent.record import (
    Lease,
    RecordError,
    RunDir,
    RunKey,
    plan_path,
    read_json,
    read_plan,
    safe_name,
    write_bytes,
    write_json,
)
from harness.command import Command, comma_list, match_name, parse_seeds
from harness.grid import Run, grid_path

FORMAT = 1
HIDDEN = ".harness"
LOCK_WAIT_S = 120.0


@dataclass(frozen=True)
class Planned:
    """A run as the plan names it."""

    key: RunKey
    config_hash: str

    @property
    def name(self) -> str:
        """Its folder inside the study: `TASK/METHOD/seed-K`."""
        return f"{self.key.task}/{self.key.method}/seed-{self.key.seed}"


@dataclass(frozen=True, eq=False)
class Launch:
    """One launch or resubmission: which jobs it made, of which runs."""

    folder: Path
    data: dict[str, Any]

    @property
    def id(self) -> str:
        """Its folder's name; later launches sort later."""
        return self.folder.name

    @property
    def packs(self) -> list[list[str]]:
        """The names of each job's runs."""
        return [list(pack["runs"]) for pack in self.data["packs"]]

    @property
    def local(self) -> bool:
        """Whether its jobs run in a pool on one machine."""
        return self.data["profile"]["kind"] == "local"

    @cached_property
    def jobs(self) -> dict[int, str]:
        """The cluster's ids of its jobs, by their number; empty while they are being submitted."""
        data = read_json(self.folder / "jobs.json") or {}
        return {int(number): str(job) for number, job in data.get("jobs", {}).items()}

    def pack_file(self, number: int) -> Path:
        """The file that tells the worker of a job what to do."""
        return self.folder / "packs" / f"{number:04d}.json"

    def cancel_file(self, number: int) -> Path:
        """The file whose presence asks a job to stop some of its runs."""
        return self.folder / "cancel" / f"{number:04d}.json"

    def cancelled(self, number: int) -> set[str]:
        """The runs of a job that were asked to stop."""
        return set((read_json(self.cancel_file(number)) or {}).get("runs", []))


@dataclass(frozen=True)
class Study:
    """A study's folder, and the grid it was asked for by, as typed."""

    path: Path
    grid: str = ""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def hidden(self) -> Path:
        """The harness's own folder inside it."""
        return self.path / HIDDEN

    @property
    def code(self) -> Path:
        """Where frozen copies of the code are kept."""
        return self.hidden / "code"

    def run(self, name: str) -> RunDir:
        """The folder of the run `TASK/METHOD/seed-K`."""
        return RunDir(self.path / name)

    def plan(self) -> dict[str, Any]:
        """Return the plan; ConfigError with the command that makes one when there is none."""
        plan = read_plan(self.path)
        if plan is None:
            raise ConfigError(_no_study(self.path, self.grid or self.name))
        return plan

    def planned(self) -> list[Planned]:
        """Return the plan's runs in the order they were planned."""
        found: list[Planned] = []
        for row in cast("list[dict[str, Any]]", self.plan()["runs"]):
            key = RunKey(str(row["task"]), str(row["method"]), int(row["seed"]))
            key.folder(self.path)
            found.append(Planned(key, str(row["config_hash"])))
        return found

    def launches(self) -> list[Launch]:
        """Return the launches made so far, oldest first."""
        folder = self.hidden / "launches"
        found: list[Launch] = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            data = read_json(path / "launch.json")
            if data is not None:
                found.append(Launch(path, data))
        return found

    @contextlib.contextmanager
    def lock(self, wait_s: float = LOCK_WAIT_S) -> Generator[None]:
        """Hold the study: of two commands that submit at the same moment the second waits and sees the first's jobs."""
        self.hidden.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                lease = Lease.claim(RunDir(self.hidden))
                break
            except RecordError as error:
                if time.monotonic() > deadline:
                    raise ConfigError(f"{error}; wait for the other command to finish and try again") from error
                time.sleep(0.1)
        try:
            yield
        finally:
            lease.release()


def _no_study(path: Path, grid: str) -> str:
    others = [folder.name for folder in path.parent.iterdir()] if path.parent.is_dir() else []
    studies = [name for name in others if plan_path(path.parent / name).is_file()]
    hint = f"{nearest(path.name, studies, 'study')}" if studies else f"there is no study in {path.parent}"
    return f"{path}: {hint}; start one with python -m harness.launch grid={grid}"


def runs_folder(command: Command) -> Path:
    """Return the absolute folder of all studies."""
    return Path(command.settings.get("runs", "runs")).expanduser().absolute()


def study_of(command: Command) -> Study:
    """Return the study that a command line names by study= or grid=."""
    name = command.settings.get("study")
    if name is None:
        grid = command.settings.get("grid")
        if grid is None:
            raise ConfigError("name a grid, as in grid=demo, or a study, as in study=demo")
        name = Path(grid).stem if "/" in grid or grid.endswith((".yaml", ".yml")) else grid
    try:
        safe_name(name, "study")
    except RecordError as error:
        raise ConfigError(str(error)) from error
    study = Study(runs_folder(command) / name, command.settings.get("grid", ""))
    if "grid" in command.settings and read_plan(study.path) is None:
        grid_path(command.settings["grid"])  # a mistyped grid is better told as such
    return study


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
    return chosen


def check_writable(runs: Path) -> None:
    """Raise ConfigError, having written nothing, when the runs folder cannot be written."""
    import os

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


def write_plan(study: Study, source: str, runs: Sequence[Run], code: Mapping[str, Any]) -> None:
    """Write the plan, or add to it the runs it does not have yet; what it has is never changed."""
    plan = read_plan(study.path) or {
        "format": FORMAT,
        "study": study.name,
        "grid": source,
        "created": time.time(),
        "code": dict(code),
        "runs": [],
    }
    known = {run.name for run in study.planned()} if plan["runs"] else set[str]()
    fresh = [run for run in runs if run.name not in known]
    if not fresh:
        return
    plan["runs"] += [
        {"task": run.task, "method": run.method, "seed": run.seed, "config_hash": run.config_hash, "kind": run.kind}
        for run in fresh
    ]
    write_json(plan_path(study.path), plan)


def write_configs(study: Study, runs: Iterable[Run]) -> None:
    """Write config.yaml into the folder of every run."""
    texts: dict[Config, str] = {}
    for run in runs:
        folder = study.run(run.name)
        folder.path.mkdir(parents=True, exist_ok=True)
        shape = run.config.model_copy(update={"seed": 0, "harmony": True})
        if shape not in texts:
            scratch = folder.path / ".config.yaml.tmp"
            dump_yaml(shape, scratch)
            texts[shape] = scratch.read_text(encoding="utf-8")
            scratch.unlink()
        text = re.sub(r"(?m)^seed: .*$", f"seed: {run.seed}", texts[shape])
        text = re.sub(r"(?m)^harmony: .*$", f"harmony: {str(run.config.harmony).lower()}", text)
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
        shape = re.sub(r"(?m)^(seed|harmony): .*$", "", text)
        if shape not in known:
            known[shape] = from_dict(read_yaml(path))
        harmony = METHODS[run.key.method.partition("@")[0]]
        config = known[shape].model_copy(update={"seed": run.key.seed, "harmony": harmony})
        found.append(Run(run.key.task, run.key.method, run.key.seed, config))
    return found


def new_launch(study: Study, data: dict[str, Any]) -> Launch:
    """Write a launch, private to the user, with a pack file for each of its jobs; nothing is submitted yet."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    number = len(study.launches())
    folder = study.hidden / "launches" / f"{number:04d}-{stamp}-{secrets.token_hex(3)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    for name in ("packs", "cancel", "submitit"):
        (folder / name).mkdir(mode=0o700)
    launch = Launch(
        folder, {**data, "id": folder.name, "name": f"hb-{study.name}-{folder.name}", "created": time.time()}
    )
    for index, pack in enumerate(launch.data["packs"]):
        common = {key: launch.data[key] for key in ("code", "profile")}
        write_json(
            launch.pack_file(index), {**common, **pack, "number": index, "job_name": launch.data["name"]}, durable=False
        )
    write_json(folder / "launch.json", launch.data)
    return launch
