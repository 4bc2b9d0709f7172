"""What is to be submitted, and its way to the cluster: profile, packs, jobs at once, launch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.contract.lease import Lease
from agent.contract.words import ConfigError
from harness.backend import pool, submit
from harness.command import Command
from harness.job import allocation
from harness.study import packing, profiles
from harness.study.credentials import check_places
from harness.study.folder import Launch, Study, check_held, new_launch
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
    choice = profiles.choose(name, {**grid.resources, **command.cluster}, look="dry-run" in command.flags)
    profile = choice.profile
    if profile.gpus == "auto":
        profile = profile.model_copy(update={"gpus": allocation.count_gpus()})
    return replace(choice, profile=profile)


def parse_jobs(command: Command, profile: Profile) -> int | None:
    """Return how many packs the local pool runs at once, None on Slurm."""
    text = command.settings.get("jobs")
    if profile.kind != "local":
        if text is not None:
            raise ConfigError("jobs= is for cluster=local; on Slurm use cluster.array_throttle=")
        return None
    if text is None:
        return profile.jobs or pool.default_jobs(int(profile.gpus))
    if not text.isdigit() or not 1 <= int(text) <= 1024:
        raise ConfigError(f"jobs={text}: a number of packs from 1 is expected")
    return int(text)


def plan_order(study: Study, grid: Grid, command: Command, runs: list[Run]) -> Order:
    """Return what submitting these runs means."""
    choice = profile_for(grid, command)
    profile = choice.profile
    check_places(profile.env, study.path.parent)
    if profile.kind == "slurm":
        submit.check_path(study.path.parent)
        profiles.check_python(profile)
    wanted = grid.pack if "pack" in command.settings or profile.pack is None else profile.pack
    mode = grid.pack_mode or profile.pack_mode or "vmap"
    memory = memory_gb(profile)
    note = choice.note
    if wanted == "auto" and (memory is None or grid.other):
        why = "no GPU's memory is known (cluster.gpu_mem_gb=)" if memory is None else "nobody knows what a run takes"
        note = "\n".join(filter(None, [note, f"pack=auto: one run per job, as {why}"]))
    packs = packing.plan_packs(runs, wanted, mode, memory)
    return Order(study, runs, packs, profile, parse_jobs(command, profile), note)


def memory_gb(profile: Profile) -> float | None:
    """Return the memory of the GPU that a job gets in GiB, None without one or where it is not known."""
    if profile.kind == "local" and profile.gpus and profile.gpu_mem_gb is None:
        gpu = allocation.find_gpu()
        return gpu.memory_gb if gpu else None
    return packing.gpu_memory_gb(profile) if profile.gpus else None


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
    if launch.local:
        check_held(lease)
        pool.start(launch)
    else:
        submit.submit(launch, order.profile, lease)
    return launch


def recover(study: Study) -> None:
    """Look for jobs of a launch that ended between submitting and writing down what was submitted."""
    for made in study.launches():
        if not made.local and len(made.jobs) < len(made.packs) and (made.folder / "jobs.json").is_file():
            submit.find_lost(made)


def first_id(made: Launch) -> str:
    """Return the ids of a launch's arrays."""
    ids = list(dict.fromkeys(job.partition("_")[0] for job in Launch(made.folder, made.data).jobs.values()))
    return ", ".join(ids)
