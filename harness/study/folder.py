"""A study's folder as the harness keeps it: the plan, the launches made from it, and the frozen code.

Below the study, beside the run folders and hidden from the reports::

    .harness/lease.json          the one command that is submitting at this moment
    .harness/answer.json         when Slurm last answered
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
import os
import re
import secrets
import time
from collections.abc import Collection, Generator, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from agent.contract.files import RecordError
from agent.contract.lease import Lease
from agent.contract.ownership import (
    make_private,
    refuse_foreign,
    refuse_foreign_files,
    refuse_foreign_run,
    refuse_swappable,
)
from agent.contract.records import Plan, read_record, write_record
from agent.contract.run_folder import RunDir, RunKey, plan_path, read_plan, safe_name
from agent.contract.words import ConfigError, nearest, typed_path
from harness.command import Command, SubmissionError
from harness.study.grid_file import grid_path
from harness.study.records import ArrayRecord, CancelRecord, JobsRecord, LaunchRecord, PackRecord
from harness.study.run import hash_config, read_config

HIDDEN = ".harness"
LAUNCHES = "launches"
LAUNCH_ID = re.compile(r"\d{4,}-\d{8}-\d{6}-[0-9a-f]{6}")
LOCK_WAIT_S = 120.0
LOST_WORDS = (
    "which jobs it has is not known, so its runs are not submitted again: see that none of them is left "
    "(squeue --me, or the pool's process), then remove"
)


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
    data: LaunchRecord

    @property
    def id(self) -> str:
        """Its folder's name; later launches sort later."""
        return self.folder.name

    @property
    def packs(self) -> list[list[str]]:
        """The names of each job's runs."""
        return [pack.runs for pack in self.data.packs]

    @property
    def pooled(self) -> bool:
        """Whether a pool of its own runs its jobs, so many at once, rather than a cluster's queue."""
        return self.data.jobs_at_once is not None

    @property
    def handed_over(self) -> set[int]:
        """The numbers of its jobs that somebody was given; a pool has all of them, as its launch is written."""
        return set(range(len(self.packs))) if self.pooled else {n for array in self.arrays for n in array.numbers}

    @property
    def jobs(self) -> dict[int, str]:
        """The cluster's ids of its jobs, by their number; empty while they are being submitted."""
        return self.submitted.jobs

    @property
    def arrays(self) -> list[ArrayRecord]:
        """What was handed to sbatch: names, times and job numbers, also where it is in doubt whether Slurm took it."""
        return self.submitted.arrays

    @cached_property
    def submitted(self) -> JobsRecord:
        """What jobs.json says; RecordError when it is damaged."""
        return read_record(self.folder / "jobs.json", JobsRecord) or JobsRecord(jobs={}, arrays=[])

    def pack_file(self, number: int) -> Path:
        """The file that tells the worker of a job what to do."""
        return self.folder / "packs" / f"{number:04d}.json"

    def cancel_file(self, number: int) -> Path:
        """The file whose presence asks a job to stop some of its runs."""
        return self.folder / "cancel" / f"{number:04d}.json"

    def cancelled(self, number: int) -> set[str]:
        """The runs of a job that were asked to stop; RecordError when the request is damaged."""
        return cancelled_in(self.cancel_file(number))


def begun_file(launch: Path, number: int) -> Path:
    """The file that a job's worker leaves once it watches its runs: what follows is no fault of the job's start."""
    return launch / "begun" / f"{number:04d}"


def cancelled_in(path: Path) -> set[str]:
    """Return the runs that a request asks to stop, none without one; RecordError when it is damaged."""
    request = read_record(path, CancelRecord)
    return set(request.runs) if request else set()


@dataclass(frozen=True)
class Lost:
    """A launch with damaged files, so that its jobs are not known; `runs` is None where its runs are not either."""

    id: str
    reason: str
    runs: frozenset[str] | None = None

    def has(self, name: str, after: str) -> bool:
        """Return whether it may have taken over a run from the launch `after` ("" for none)."""
        return self.id > after and (self.runs is None or name in self.runs)


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

    def plan(self) -> Plan:
        """Return the plan; ConfigError when it is damaged, with the command that makes one when there is none."""
        try:
            plan = read_plan(self.path)
        except RecordError as error:
            raise ConfigError(str(error)) from error
        if plan is None:
            raise ConfigError(_no_study(self.path, self.grid or self.name))
        return plan

    def planned(self) -> list[Planned]:
        """Return the plan's runs in the order they were planned."""
        return [Planned(RunKey(row.task, row.method, row.seed), row.config_hash) for row in self.plan().runs]

    def unplanned(self, names: Collection[str]) -> Generator[tuple[str, ConfigError]]:
        """Yield the runs whose config.yaml is not the one that was planned, with what is wrong with it.

        A plan that is not there or cannot be read speaks against no run.
        """
        with contextlib.suppress(ConfigError):
            for run in self.planned():
                if run.name in names:
                    try:
                        self._check_config(run)
                    except ConfigError as error:
                        yield run.name, error

    def _check_config(self, run: Planned) -> None:
        folder = self.run(run.name)
        if hash_config(read_config(folder)) != run.config_hash:
            raise ConfigError(f"{folder.config}: is not the configuration that was planned ({run.config_hash})")

    def launches(self) -> list[Launch]:
        """Return the launches made so far whose files are sound, oldest first."""
        return [found for found in self._launches() if isinstance(found, Launch)]

    def lost_launches(self) -> list[Lost]:
        """Return the launches whose files are damaged."""
        return [found for found in self._launches() if isinstance(found, Lost)]

    def _launches(self) -> Generator[Launch | Lost]:
        folder = self.hidden / LAUNCHES
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            runs = None
            try:
                data = read_record(path / "launch.json", LaunchRecord)
                if data is None:
                    if any((path / name).exists() for name in ("jobs.json", "pool.json")):
                        raise RecordError(f"{path / 'launch.json'} is gone")
                    continue  # its command ended before it was written, and nothing was submitted
                launch = Launch(path, data)
                runs = frozenset(name for names in launch.packs for name in names)
                _ = launch.submitted
                yield launch
            except RecordError as error:
                yield Lost(path.name, f"{error}; {LOST_WORDS} {path}", runs)

    def refuse_foreign(self, runs: Iterable[str] = ()) -> None:
        """Raise ForeignError when others may have put there what the harness, or a job of these runs, would load."""
        refuse_swappable(self.path.parent)
        refuse_foreign(plan_path(self.path), self.path.parent, whole=self.path)
        for folder in (self.hidden, self.code, self.hidden / LAUNCHES):
            refuse_foreign(folder, whole=self.path)
            refuse_foreign_files(folder, whole=self.path)
        for launch in (self.hidden / LAUNCHES).glob("*"):  # damaged ones too: a link is no damage
            refuse_foreign_files(launch, whole=self.path)
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
        lease.check()
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
    return typed_path("runs", command.settings.get("runs", "runs")).absolute()


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
    if "grid" in command.settings and not os.path.lexists(plan_path(study.path)):
        grid_path(command.settings["grid"])  # a mistyped grid is better told as such
    return study


def new_launch(study: Study, data: dict[str, Any]) -> Launch:
    """Write a launch, private to the user, with a pack file for each of its jobs; nothing is submitted yet."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    launches = study.hidden / LAUNCHES
    names = os.listdir(launches) if launches.is_dir() else []
    number = max((int(name.split("-")[0]) + 1 for name in names if LAUNCH_ID.fullmatch(name)), default=0)
    folder = launches / f"{number:04d}-{stamp}-{secrets.token_hex(3)}"
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700)
    for name in ("packs", "cancel", "submitit"):
        (folder / name).mkdir(mode=0o700)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", study.name)[:60]  # squeue takes a comma for a list of names
    data = {**data, "id": folder.name, "name": f"hb-{name}-{folder.name}", "created": time.time()}
    launch = Launch(folder, LaunchRecord(**data))
    for index, pack in enumerate(launch.data.packs):
        whole = PackRecord(
            **pack.model_dump(),
            number=index,
            job_name=launch.data.name,
            code=launch.data.code,
            profile=launch.data.profile,
        )
        write_record(launch.pack_file(index), whole, durable=False)
    write_record(folder / "launch.json", launch.data)
    return launch


def follow_up(command: Command, study: Study) -> str:
    """Return the selectors that name this study in the next command."""
    words = command.selectors("grid", "study", "runs")
    return words or f"study={study.name}"
