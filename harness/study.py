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
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from agent.config import ConfigError, nearest
from agent.files import RecordError, read_json, write_json
from agent.lease import Lease
from agent.ownership import make_private, refuse_foreign, refuse_foreign_files, refuse_foreign_run, refuse_swappable
from agent.record import RunDir, RunKey, plan_path, read_plan, safe_name
from harness.command import Command, SubmissionError
from harness.grid_file import grid_path

HIDDEN = ".harness"
LAUNCHES = "launches"
LAUNCH_ID = re.compile(r"\d{4,}-\d{8}-\d{6}-[0-9a-f]{6}")
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
        return {int(number): str(job) for number, job in self._submitted.get("jobs", {}).items()}

    @property
    def arrays(self) -> list[dict[str, Any]]:
        """What was handed to sbatch: names, times and job numbers, also where it is in doubt whether Slurm took it."""
        return list(self._submitted.get("arrays", []))

    @cached_property
    def _submitted(self) -> dict[str, Any]:
        return read_json(self.folder / "jobs.json") or {}

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
        folder = self.hidden / LAUNCHES
        found: list[Launch] = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            data = read_json(path / "launch.json")
            if data is not None:
                found.append(Launch(path, data))
        return found

    def refuse_foreign(self, runs: Iterable[str] = ()) -> None:
        """Raise ForeignError when others may have put there what the harness, or a job of these runs, would load."""
        refuse_swappable(self.path.parent)
        refuse_foreign(plan_path(self.path), self.path.parent, whole=self.path)
        for folder in (self.hidden, self.code, self.hidden / LAUNCHES):
            refuse_foreign(folder, whole=self.path)
            refuse_foreign_files(folder, whole=self.path)
        for launch in self.launches():
            refuse_foreign_files(launch.folder, whole=self.path)
        for name in runs:
            refuse_foreign_run(self.path / name)

    @contextlib.contextmanager
    def lock(self, wait_s: float = LOCK_WAIT_S) -> Generator[Lease]:
        """Hold the study: of two commands that submit at the same moment the second waits and sees the first's jobs.

        A command that stood still for minutes may have lost it: `check_held` says so before anything is submitted.
        """
        try:
            make_private(self.path)
            self.refuse_foreign()
            make_private(self.hidden)
        except OSError as error:
            reason = f"cannot be written ({error.strerror}); name another one with runs=DIR"
            raise ConfigError(f"{self.path.parent}: {reason}") from error
        deadline = time.monotonic() + wait_s
        while True:
            try:
                lease = Lease.claim(RunDir(self.hidden))
                break
            except RecordError as error:
                if time.monotonic() > deadline:
                    raise ConfigError(f"{error}; wait for the other command to finish and try again") from error
                time.sleep(0.1)
        with lease.kept():
            yield lease


def check_held(lease: Lease) -> None:
    """Raise SubmissionError when another command has taken the study over while this one stood still."""
    try:
        lease.beat()
    except RecordError as error:
        reason = "this command stood still, and another one has taken over the study"
        raise SubmissionError(f"{lease.run.path.parent}: {reason}; look at its status before you go on") from error


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


def new_launch(study: Study, data: dict[str, Any]) -> Launch:
    """Write a launch, private to the user, with a pack file for each of its jobs; nothing is submitted yet."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    number = len(study.launches())
    folder = study.hidden / LAUNCHES / f"{number:04d}-{stamp}-{secrets.token_hex(3)}"
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700)
    for name in ("packs", "cancel", "submitit"):
        (folder / name).mkdir(mode=0o700)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", study.name)[:60]  # squeue takes a comma for a list of names
    launch = Launch(folder, {**data, "id": folder.name, "name": f"hb-{name}-{folder.name}", "created": time.time()})
    for index, pack in enumerate(launch.data["packs"]):
        common = {key: launch.data[key] for key in ("code", "profile")}
        write_json(
            launch.pack_file(index), {**common, **pack, "number": index, "job_name": launch.data["name"]}, durable=False
        )
    write_json(folder / "launch.json", launch.data)
    return launch
