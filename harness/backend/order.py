"""What is to be submitted, and its way to the cluster: profile, packs, jobs at once, launch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.contract.lease import Lease
from agent.contract.words import ConfigError
from harness.backend.registry import backend_of
from harness.command import Command
from harness.job import allocation
from harness.study import packing, profiles
from harness.study.credentials import check_places
from harness.study.folder import Launch, Study, new_launch
from harness.study.grid import Grid
from harness.study.packing import Pack
from harness.study.plan import write_configs
from harness.study.profiles import Profile
from harness.study.records import PackPart, ProfileRecord
from harness.study.run import Run


@dataclass(frozen=True)
class Order:
    """What is to be submitted: runs in packs, where, and from which code."""

    study: Study
    runs: list[Run]
    packs: list[Pack]
    profile: Profile
    jobs_at_once: int | None
    note: str = ""

    @property
    def largest(self) -> int:
        """The number of runs in its largest pack."""
        return max((len(pack.runs) for pack in self.packs), default=1)


def profile_for(grid: Grid, command: Command) -> profiles.Choice:
    """Return the cluster profile: the file, the grid's resources over it, the command line over both."""
    name = command.settings.get("cluster") or grid.cluster
    choice = profiles.choose(name, {**grid.resources, **command.cluster})
    profile = choice.profile
    if profile.gpus == "auto":
        profile = profile.model_copy(update={"gpus": allocation.count_gpus()})
    return replace(choice, profile=profile)


def parse_jobs(command: Command, profile: Profile) -> int | None:
    """Return how many jobs of a launch its own pool runs at once, None where the cluster has the queue."""
    text, default = command.settings.get("jobs"), backend_of(profile).default_jobs(profile)
    if text is None:
        return default
    if default is None:
        raise ConfigError("jobs= is for cluster=local; on Slurm use cluster.array_throttle=")
    if not text.isdigit() or not 1 <= int(text) <= 1024:
        raise ConfigError(f"jobs={text}: a number of packs from 1 is expected")
    return int(text)


def plan_order(study: Study, grid: Grid, command: Command, runs: list[Run]) -> Order:
    """Return what submitting these runs means."""
    choice = profile_for(grid, command)
    profile = choice.profile
    check_places(profile.env, study.path.parent)
    backend_of(profile).check(profile, study.path.parent, look="dry-run" in command.flags)
    profiles.check_python(profile)
    wanted = grid.pack if "pack" in command.settings or profile.pack is None else profile.pack
    mode = grid.pack_mode or profile.pack_mode or "vmap"
    memory = backend_of(profile).gpu_memory_gb(profile)
    note = choice.note
    if wanted == "auto" and (memory is None or grid.other):
        why = "no GPU's memory is known (cluster.gpu_mem_gb=)" if memory is None else "nobody knows what a run takes"
        note = "\n".join(filter(None, [note, f"pack=auto: one run per job, as {why}"]))
    packs = packing.plan_packs(runs, wanted, mode, memory)
    return Order(study, runs, packs, profile, parse_jobs(command, profile), note)


def submit_order(order: Order, grid_source: str, code: Path, tree: dict[str, Any], lease: Lease) -> Launch:
    """Write the launch and hand its jobs over; the study must be locked, and be still so when they are."""
    by_name = {run.name: run for run in order.runs}
    write_configs(order.study, order.runs)
    packs: list[PackPart] = []
    for pack in order.packs:
        part = PackPart(
            runs=list(pack.runs),
            mode="process" if pack.mode == "process" else "vmap",
            processes=pack.processes,
            **by_name[pack.runs[0]].for_worker,
        )
        packs.append(part)
    data = {
        "grid": grid_source,
        "code": str(code),
        "tree": tree,
        "profile": ProfileRecord(**order.profile.model_dump(mode="json")),
        "jobs_at_once": order.jobs_at_once,
        "packs": packs,
    }
    launch = new_launch(order.study, data)
    backend_of(order.profile).submit(launch, order.profile, lease)
    return launch


def recover(study: Study) -> None:
    """Look for jobs of a launch that ended between submitting and writing down what was submitted."""
    for made in study.launches():
        backend_of(made).recover(made)
