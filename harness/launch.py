"""`python -m harness.launch grid=NAME`: plan a study, freeze its code, submit what is missing."""

from __future__ import annotations

import functools
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agent.contract.config import ConfigError
from agent.contract.lease import Lease
from agent.contract.ownership import refuse_foreign_cache
from agent.contract.run_folder import plan_path
from harness.backend import pool, submit
from harness.command import Command, Flag, counted, run
from harness.console.watch import watch_pools
from harness.job import allocation
from harness.state import hours
from harness.state.diagnose import Retry
from harness.state.survey import SILENT, Overview, RunState, State, overview
from harness.study import frozen_code, packing, profiles
from harness.study.credentials import check_places
from harness.study.environments import check_environments
from harness.study.folder import Launch, Study, check_held, new_launch, runs_folder, study_of
from harness.study.grid import Grid, Run, configure, expand, ignored, shaping
from harness.study.grid_file import load_grid
from harness.study.packing import Pack
from harness.study.plan import check_same, check_writable, write_configs, write_plan
from harness.study.profiles import Profile
from harness.study.records import PackPart, ProfileRecord

FLAGS = {
    "dry-run": Flag("show the plan, the jobs and their cost; submit and write nothing"),
    "detach": Flag("cluster=local: return at once; the pool goes on by itself"),
}


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
    wanted = grid.pack if "pack" in command.settings or profile.pack is None else profile.pack
    mode = grid.pack_mode or profile.pack_mode or "vmap"
    memory = memory_gb(profile)
    note = choice.note
    if wanted == "auto" and memory is None:
        note = "\n".join(
            filter(None, [note, "pack=auto: one run per job, as no GPU's memory is known (cluster.gpu_mem_gb=)"])
        )
    packs = packing.plan_packs(runs, wanted, mode, memory)
    return Order(study, runs, packs, profile, parse_jobs(command, profile), note)


def memory_gb(profile: Profile) -> float | None:
    """Return the memory of the GPU that a job gets in GiB, None without one or where it is not known."""
    if profile.kind == "local" and profile.gpus and profile.gpu_mem_gb is None:
        gpu = allocation.find_gpu()
        return gpu.memory_gb if gpu else None
    return packing.gpu_memory_gb(profile) if profile.gpus else None


def to_launch(states: Sequence[RunState]) -> set[str]:
    """Return the planned runs that a relaunch continues: ended ones whose cause is not their own."""
    return {
        s.run.name
        for s in states
        if s.state is State.PLANNED or (s.diagnosis is not None and s.diagnosis.retry is Retry.AS_IS)
    }


def submit_order(order: Order, grid_source: str, code: Path, tree: dict[str, Any], lease: Lease) -> Launch:
    """Write the launch and hand its jobs over; the study must be locked, and be still so when they are."""
    by_name = {run.name: run for run in order.runs}
    write_configs(order.study, order.runs)
    packs: list[PackPart] = []
    for pack in order.packs:
        config = by_name[pack.runs[0]].config
        part = PackPart(
            runs=list(pack.runs),
            mode="process" if pack.mode == "process" else "vmap",
            processes=pack.processes,
            prealloc=config.jax.prealloc,
            mem_fraction=config.jax.mem_fraction,
            compilation_cache=config.jax.compilation_cache,
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


def describe(order: Order, rates: Any) -> list[str]:
    """Return the plan as lines of text: runs, jobs, their resources and cost."""
    runs, profile = order.runs, order.profile
    tasks, methods = {r.task for r in runs}, list(dict.fromkeys(r.method for r in runs))
    seeds = sorted({r.seed for r in runs})
    frames = packing.total_frames(runs)
    axes = f"{len(tasks)} tasks, methods {', '.join(methods)}, seeds {_ranges(seeds)}"
    lines = [f"study {order.study.path}", f"runs: {len(runs)} ({axes}), {frames:,} frames"]
    sizes = Counter((len(pack.runs), pack.mode) for pack in order.packs)
    shapes = ", ".join(
        f"{count} of {counted(size, 'run')}{' (' + mode + ')' if size > 1 else ''}"
        for (size, mode), count in sorted(sizes.items(), reverse=True)
    )
    lines.append(f"jobs: {len(order.packs)} on cluster={profile.name}: {shapes}")
    if profile.kind == "local":
        slots = pool.make_slots(order.jobs_at_once or 1, int(profile.gpus))
        gpus = counted(int(profile.gpus), "GPU") if profile.gpus else "no GPU"
        lines.append(f"at once: {len(slots)}, each on {counted(len(slots[0].cores), 'core')}; {gpus}")
    else:
        options = submit.parameters(profile, f"hb-{order.study.name}-…", len(order.packs))
        lines.append("sbatch: " + " ".join(f"--{k}" if v is True else f"--{k}={v}" for k, v in options.items()))
    if memory := memory_gb(profile):
        worst = max(order.packs, key=lambda pack: pack.processes)
        fraction = allocation.memory_fraction(worst.processes, memory)
        lines.append(f"memory: each process gets {fraction:.1%} of a {memory:g} GiB GPU, {worst.processes} on it")
    lines.append(hours.text(hours.estimate(runs, rates, order.largest), profile, len(order.packs)))
    return lines


def _ranges(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]}..{seeds[-1]}"
    return ",".join(map(str, seeds))


def follow_up(command: Command, study: Study) -> str:
    """Return the selectors that name this study in the next command."""
    words = command.selectors("grid", "study", "runs")
    return words or f"study={study.name}"


def launch(command: Command) -> int:
    """Launch a study."""
    if "grid" not in command.settings:
        raise ConfigError("name a grid, as in: python -m harness.launch grid=demo")
    grid = configure(load_grid(command.settings["grid"]), command)
    runs = expand(grid)
    check_writable(runs_folder(command))
    for cache in {each.config.jax.compilation_cache for each in runs} - {"auto", "off"}:
        refuse_foreign_cache(Path(cache))  # what is compiled there, jobs run
    for sentence in ignored(grid):
        print(f"note: {sentence}", file=sys.stderr)
    study = study_of(command)
    order = plan_order(study, grid, command, runs)
    check_environments(runs, here=order.profile.kind == "local")
    check_same(study, runs)
    if "dry-run" in command.flags:
        return _dry_run(command, order, grid)
    rates = hours.measured(runs_folder(command), order.profile.gpu_type)
    frozen_code.list_files(frozen_code.ROOT, [runs_folder(command)])  # refuses before anything is written
    with study.lock() as lease:
        study.refuse_foreign(run.name for run in runs)
        check_same(study, runs)
        code_tree, files = frozen_code.describe(leave_out=[runs_folder(command)])  # now, not before a wait for the lock
        tree = asdict(code_tree)
        if not os.path.lexists(plan_path(study.path)):  # it names the code that its first runs get
            frozen_code.freeze(study.code, code_tree, files)
        cost = functools.partial(hours.estimate, rates=rates, pack=order.largest)
        write_plan(study, grid.source, runs, tree, cost, shaping(command))
        recover(study)
        missing, view = _missing(study, runs)
        order = plan_order(study, grid, command, missing)
        if not missing:
            made = None
        else:
            code = frozen_code.freeze(study.code, code_tree, files)
            made = submit_order(order, grid.source, code, tree, lease)
    return _report(command, order, made, view)


def _missing(study: Study, runs: Sequence[Run]) -> tuple[list[Run], Overview]:
    """Return the runs to submit, and the state of all that were asked for."""
    names = {run.name for run in runs}
    view = overview(study, [p for p in study.planned() if p.name in names])
    wanted = to_launch(view.runs)
    return [run for run in runs if run.name in wanted], view


def tell_unknown(view: Overview) -> int:
    """Say what cannot be known, and return of how many runs: they may be missing or not."""
    if view.warning:
        print(view.warning, file=sys.stderr)
    unknown = [state for state in view.runs if state.state is State.UNKNOWN]
    for note, count in Counter(state.note for state in unknown).items():
        if note == SILENT:
            print(f"{counted(count, 'run')} unknown until Slurm answers; then run the same command again")
        else:
            print(f"{counted(count, 'run')} unknown: {note}")
    return len(unknown)


def recover(study: Study) -> None:
    """Look for jobs of a launch that ended between submitting and writing down what was submitted."""
    for made in study.launches():
        if not made.local and len(made.jobs) < len(made.packs) and (made.folder / "jobs.json").is_file():
            submit.find_lost(made)


def _dry_run(command: Command, order: Order, grid: Grid) -> int:
    study, known, unknown = order.study, {run.name for run in order.runs}, 0
    rates = hours.measured(runs_folder(command), order.profile.gpu_type)
    if study.path.is_dir():
        have_plan = os.path.lexists(plan_path(study.path))
        planned = {p.name for p in study.planned()} if have_plan else set[str]()
        if planned & known:
            view = overview(study, [p for p in study.planned() if p.name in known])
            unknown = tell_unknown(view)
            states = {s.run.name: s for s in view.runs}
            left = [r for r in order.runs if r.name not in states or r.name in to_launch(list(states.values()))]
            print(f"{len(order.runs) - len(left)} of {len(order.runs)} runs are done or under way; missing:")
            order = plan_order(study, grid, command, left)
    if order.note:
        print(order.note)
    if order.runs or not unknown:
        print("\n".join(describe(order, rates)) if order.runs else "nothing is missing")
    for index, pack in enumerate(order.packs[:8]):
        print(f"  job {index}: {_shown(pack, order.runs)}")
    if len(order.packs) > 8:
        print(f"  … and {len(order.packs) - 8} more")
    print(f"\nnothing was submitted or written; to do it: python -m harness.launch {command.words()}")
    return 0


def _shown(pack: Pack, runs: Sequence[Run]) -> str:
    if len(pack.runs) <= 2:
        return ", ".join(pack.runs)
    mine = [run for run in runs if run.name in pack.runs]
    methods = ", ".join(dict.fromkeys(run.method for run in mine))
    return f"{mine[0].task}: {len(mine)} runs, {methods}, seeds {_ranges(sorted({run.seed for run in mine}))}"


def _report(command: Command, order: Order, made: Launch | None, view: Overview) -> int:
    if order.note:
        print(order.note)
    states, unknown = view.runs, tell_unknown(view)
    counts = Counter(s.label for s in states if s.run.name not in {r.name for r in order.runs})
    if counts:
        print("not submitted again: " + ", ".join(f"{n} {label}" for label, n in sorted(counts.items())))
    selectors = follow_up(command, order.study)
    if any(s.diagnosis and s.diagnosis.retry is not Retry.AS_IS for s in states):
        print(f"runs that ended for a reason are left to: python -m harness.resubmit {selectors} --fix")
    if made is None:
        ended = any(s.diagnosis for s in states)
        if not unknown:
            print(f"nothing {'was submitted' if ended else 'is missing'} in {order.study.path}")
        print(f"next: python -m harness.status {selectors}")
        return 1 if unknown else 0
    began, now = order.study.plan().code.get("code_tree"), made.data.tree["code_tree"]
    if began != now:
        print(f"the code has changed since this study began (tree {began} → {now}): these runs use it as it is now")
    where = f"pool of {order.jobs_at_once} at once" if made.local else f"Slurm, job {first_id(made)}"
    amount = f"{counted(len(order.runs), 'run')} in {counted(len(order.packs), 'job')}"
    print(f"{amount} handed to {where}; code {made.data.tree['code_tree']}")
    if made.local and "detach" not in command.flags:
        return watch_pools(order.study, [made], selectors)
    print(f"next: python -m harness.status {selectors} --watch")
    return 1 if unknown else 0


def first_id(made: Launch) -> str:
    """Return the ids of a launch's arrays."""
    ids = list(dict.fromkeys(job.partition("_")[0] for job in Launch(made.folder, made.data).jobs.values()))
    return ", ".join(ids)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    summary = "Plan the grid's runs, freeze the code, and submit what is missing."
    return run("harness.launch", summary, FLAGS, launch, argv)


if __name__ == "__main__":
    sys.exit(main())
