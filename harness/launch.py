"""`python -m harness.launch grid=NAME`: plan a study, freeze its code, submit what is missing."""

from __future__ import annotations

import functools
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.contract.config import Config
from agent.contract.exit_codes import DONE, FAILED
from agent.contract.ownership import refuse_foreign_cache
from agent.contract.run_folder import plan_path
from agent.contract.words import ConfigError
from harness.backend.order import Order, plan_order, recover, submit_order
from harness.backend.registry import backend_of
from harness.command import Command, Flag, counted, run
from harness.console.table import tell_unknown
from harness.console.watch import watch_pools
from harness.state import hours
from harness.state.run_state import Overview, to_launch
from harness.state.survey import overview
from harness.state.vocabulary import Retry
from harness.study import frozen_code, packing, profiles
from harness.study.environments import check_environments
from harness.study.folder import Launch, Study, follow_up, runs_folder, study_of
from harness.study.grid import Grid, configure, expand, ignored, shaping
from harness.study.grid_file import load_grid
from harness.study.other_agent import OtherAgent
from harness.study.packing import Pack
from harness.study.plan import check_same, check_writable, write_plan
from harness.study.run import Run

FLAGS = {
    "dry-run": Flag("show the plan, the jobs and their cost; submit and write nothing"),
    "no-env-check": Flag("do not try the environments out here; the jobs find out"),
    "detach": Flag("cluster=local: return at once; the pool goes on by itself"),
}


def describe(order: Order, rates: Any) -> list[str]:
    """Return the plan as lines of text: runs, jobs, their resources and cost."""
    runs, profile = order.runs, order.profile
    tasks, methods = {r.task for r in runs}, list(dict.fromkeys(r.method for r in runs))
    seeds = sorted({r.seed for r in runs})
    frames = [run.frames or 0 for run in runs]
    axes = f"{len(tasks)} tasks, methods {', '.join(methods)}, seeds {_ranges(seeds)}"
    lines = [
        f"study {order.study.path}",
        f"runs: {len(runs)} ({axes})" + (f", {sum(frames):,} frames" if all(frames) else ""),
    ]
    sizes = Counter((len(pack.runs), pack.mode) for pack in order.packs)
    shapes = ", ".join(
        f"{count} of {counted(size, 'run')}{' (' + mode + ')' if size > 1 else ''}"
        for (size, mode), count in sorted(sizes.items(), reverse=True)
    )
    lines.append(f"jobs: {len(order.packs)} on cluster={profile.name}: {shapes}")
    backend = backend_of(profile)
    lines.append(backend.describe(profile, f"hb-{order.study.name}-…", len(order.packs), order.jobs_at_once))
    if memory := backend.gpu_memory_gb(profile):
        worst = max(order.packs, key=lambda pack: pack.processes)
        fraction = packing.memory_fraction(worst.processes, memory)
        lines.append(f"memory: each process gets {fraction:.1%} of a {memory:g} GiB GPU, {worst.processes} on it")
    lines.append(hours.text(hours.estimate(runs, rates, order.largest), profile, len(order.packs)))
    return lines


def _ranges(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]}..{seeds[-1]}"
    return ",".join(map(str, seeds))


def launch(command: Command) -> int:
    """Launch a study."""
    if "grid" not in command.settings:
        raise ConfigError("name a grid, as in: python -m harness.launch grid=demo")
    grid = configure(load_grid(command.settings["grid"]), command)
    runs = expand(grid)
    check_writable(runs_folder(command))
    ours = [each.config for each in runs if isinstance(each.config, Config)]
    for cache in {config.jax.compilation_cache for config in ours} - {"auto", "off"}:
        refuse_foreign_cache(Path(cache))  # what is compiled there, jobs run
    if grid.other is not None:
        _check_command(grid.other, runs_folder(command))
    for sentence in ignored(grid):
        print(f"note: {sentence}", file=sys.stderr)
    study = study_of(command)
    order = plan_order(study, grid, command, runs)
    if "no-env-check" not in command.flags:
        check_environments(runs, here=backend_of(order.profile).here)
    check_same(study, runs)
    if "dry-run" in command.flags:
        return _dry_run(command, order, grid)
    rates = hours.measured(runs_folder(command), order.profile.gpu_type)
    frozen_code.list_files(frozen_code.ROOT, [runs_folder(command)])  # refuses before anything is written
    profiles.refuse_copied_secrets()
    with study.lock() as lease:
        study.refuse_foreign(run.name for run in runs)
        check_same(study, runs)
        code_tree, files = frozen_code.describe(leave_out=[runs_folder(command)])  # now, not before a wait for the lock
        tree = asdict(code_tree)
        if not os.path.lexists(plan_path(study.path)):  # it names the code that its first runs get
            frozen_code.freeze(study.code, code_tree, files)
        labels = grid.other.labels if grid.other else None
        cost = functools.partial(hours.estimate, rates=rates, pack=order.largest)
        write_plan(study, grid.source, runs, tree, cost, shaping(command, grid.keys), labels)
        recover(study)
        missing, view = _missing(study, runs)
        order = plan_order(study, grid, command, missing)
        if not missing:
            made = None
        else:
            code = frozen_code.freeze(study.code, code_tree, files)
            made = submit_order(order, grid.source, code, tree, lease)
    return _report(command, order, made, view)


def _check_command(other: OtherAgent, runs: Path) -> None:
    """Raise ConfigError when jobs could not run another agent's command; say what is not frozen."""
    frozen = set(frozen_code.list_files(frozen_code.ROOT, [runs]))
    for name in other.files:
        if name not in frozen:
            raise ConfigError(
                f"train: {frozen_code.ROOT / name} would not be frozen with the code; see that git does not ignore it"
            )
    for path in other.outside:  # what a grid's author names, jobs run, as they do what is on PATH
        print(
            f"note: {path} is not frozen, as it lies outside {frozen_code.ROOT}: jobs run it as it is", file=sys.stderr
        )


def _missing(study: Study, runs: Sequence[Run]) -> tuple[list[Run], Overview]:
    """Return the runs to submit, and the state of all that were asked for."""
    names = {run.name for run in runs}
    view = overview(study, [p for p in study.planned() if p.name in names])
    wanted = to_launch(view.runs)
    return [run for run in runs if run.name in wanted], view


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
    return DONE


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
        return FAILED if unknown else DONE
    began, now = order.study.plan().code.get("code_tree"), made.data.tree["code_tree"]
    if began != now:
        print(f"the code has changed since this study began (tree {began} → {now}): these runs use it as it is now")
    amount = f"{counted(len(order.runs), 'run')} in {counted(len(order.packs), 'job')}"
    print(f"{amount} handed to {backend_of(made).handed_to(made)}; code {made.data.tree['code_tree']}")
    if made.pooled and "detach" not in command.flags:
        return watch_pools(order.study, [made], selectors)
    print(f"next: python -m harness.status {selectors} --watch")
    return FAILED if unknown else DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    summary = "Plan the grid's runs, freeze the code, and submit what is missing."
    return run("harness.launch", summary, FLAGS, launch, argv)


if __name__ == "__main__":
    sys.exit(main())
