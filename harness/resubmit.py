"""`python -m harness.resubmit grid=NAME`: continue runs that ended undone, from their checkpoints."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agent.contract.exit_codes import DONE, FAILED
from agent.contract.lease import Lease
from agent.contract.ownership import refuse_foreign_files
from agent.contract.reasons import Reason
from agent.contract.records import write_record
from agent.contract.run_folder import saved_steps
from agent.contract.words import ConfigError
from harness.backend.order import Order, parse_jobs, recover, submit_order
from harness.backend.registry import backend_of
from harness.command import Command, Flag, counted, run
from harness.console.table import ends, tell_unknown
from harness.console.watch import watch_pools
from harness.state import hours
from harness.state.diagnose import Diagnosis
from harness.state.mend import mend
from harness.state.run_state import RunState, chosen_states, filter_states
from harness.state.survey import overview
from harness.state.vocabulary import Retry, State
from harness.study import frozen_code, packing, profiles
from harness.study.folder import Launch, Study, check_held, follow_up, study_of
from harness.study.grid import parse_pack, parse_pack_mode
from harness.study.plan import read_configs, select
from harness.study.profiles import Profile, widen
from harness.study.run import Run

FLAGS = {
    "state": Flag("only runs in these states or with these reasons of their end, as in failed,timeout,oom", "LIST"),
    "fix": Flag("change what the reason calls for, and show what is changed"),
    "new-code": Flag("run from the code as it is now instead of the frozen code they began with"),
    "dry-run": Flag("show what would be submitted"),
    "detach": Flag("cluster=local: return at once; the pool goes on by itself"),
}
MORE_MEMORY = 1.5
SPARE_TIME = 1.3
ROUND_MIN = 30


@dataclass
class Group:
    """Runs that are submitted together: the same profile, code and pack size."""

    profile: Profile
    code: Path
    tree: dict[str, Any]
    grid: str
    pack: int | str
    mode: str
    jobs_at_once: int | None
    states: list[RunState] = field(default_factory=list[RunState])


def choose(states: Sequence[RunState], command: Command) -> tuple[list[RunState], list[RunState]]:
    """Return the runs to submit, and those left because they would end the same way again."""
    words = chosen_states(command)
    ended = [s for s in states if s.diagnosis is not None or s.state is State.PLANNED]
    if words:
        ended = filter_states(ended, words)
    take: list[RunState] = []
    left: list[RunState] = []
    for state in ended:
        diagnosis = state.diagnosis
        if diagnosis is None:
            take.append(state)
        elif diagnosis.retry is Retry.STOP:
            stopped = "fix" in command.flags or not words
            (left if stopped and "new-code" not in command.flags else take).append(state)
        elif diagnosis.meaning.again and not words and "fix" not in command.flags:
            left.append(state)
        else:
            take.append(state)
    return take, left


def groups(study: Study, states: Sequence[RunState], command: Command) -> list[Group]:
    """Return the runs by what they were submitted with, the command line's cluster=, pack= and jobs= over it."""
    found: dict[str, Group] = {}
    fresh = _new_code(study, command)
    last = study.launches()[-1] if study.launches() else None
    for state in states:
        launch = state.where.launch if state.where else last
        if launch is None:
            raise ConfigError(f"{study.path}: nothing was launched yet; python -m harness.launch grid={study.name}")
        profile = _profile(launch.data.profile.model_dump(), command)
        backend_of(profile).check(profile, study.path.parent, look="dry-run" in command.flags)
        code, tree = fresh or _frozen(study, launch)
        packs = launch.data.packs
        pack: int | str = max(len(p.runs) for p in packs)
        mode = next((p.mode for p in packs if len(p.runs) > 1), "vmap")
        if "pack" in command.settings:
            pack = parse_pack(command.settings["pack"])
        if "pack.mode" in command.settings:
            mode = parse_pack_mode(command.settings["pack.mode"])
        jobs = parse_jobs(command, profile)
        if jobs is not None and "jobs" not in command.settings:
            jobs = launch.data.jobs_at_once or jobs
        key = json.dumps([profile.model_dump(mode="json"), str(code), pack, mode, jobs], sort_keys=True)
        group = Group(profile, code, tree, launch.data.grid, pack, mode, jobs)
        found.setdefault(key, group).states.append(state)
    return list(found.values())


def _frozen(study: Study, launch: Launch) -> tuple[Path, dict[str, Any]]:
    """Return the code that a launch ran from, which moves with its study."""
    tree = launch.data.tree
    code = study.code / str(tree.get("code_tree"))
    if not code.is_dir():
        raise ConfigError(f"{code}: the frozen code is gone; --new-code runs from the code as it is now")
    refuse_foreign_files(code, deep=True)
    if not frozen_code.startable(code):
        raise ConfigError(
            f"{code}: this version cannot start jobs from code that an older one has frozen; "
            "go on with that one's harness, or from the code as it is now with --new-code"
        )
    return code, tree


def _profile(recorded: dict[str, Any], command: Command) -> Profile:
    if "cluster" in command.settings:
        profile = profiles.choose(command.settings["cluster"], command.cluster).profile
    else:
        data = widen({key: value for key, value in recorded.items() if key != "name"})
        profile = profiles.build(recorded["name"], data, command.cluster)
    if profile.gpus == "auto":
        from harness.job.allocation import count_gpus

        return profile.model_copy(update={"gpus": count_gpus()})
    return profile


def _new_code(study: Study, command: Command) -> tuple[Path, dict[str, Any]] | None:
    if "new-code" not in command.flags:
        return None
    tree, files = frozen_code.describe(leave_out=[study.path.parent])
    profiles.refuse_copied_secrets()
    if "dry-run" in command.flags:
        return study.code / tree.code_tree, asdict(tree)
    return frozen_code.freeze(study.code, tree, files), asdict(tree)


@dataclass(frozen=True)
class Fix:
    """A change that a reason calls for, in words."""

    run: str
    reason: Reason
    words: str


def fix(group: Group, by_name: dict[str, Run]) -> tuple[list[Group], list[Fix], list[RunState]]:
    """Return the group split by the changes its reasons call for, the changes, and runs that cannot be helped."""
    found: dict[str, Group] = {}
    made: list[Fix] = []
    helpless: list[RunState] = []
    for state in group.states:
        profile, pack = group.profile, group.pack
        if state.diagnosis is not None and state.diagnosis.retry is Retry.FIX:
            changed = _fix_one(state, state.diagnosis, group, by_name[state.run.name])
            if changed is None:
                helpless.append(state)
                continue
            profile, pack, words = changed
            made.append(Fix(state.run.name, state.diagnosis.reason, words))
        key = json.dumps([profile.model_dump(mode="json"), pack])
        part = Group(profile, group.code, group.tree, group.grid, pack, group.mode, group.jobs_at_once)
        found.setdefault(key, part).states.append(state)
    return list(found.values()), made, helpless


def _fix_one(state: RunState, found: Diagnosis, group: Group, run_: Run) -> tuple[Profile, int | str, str] | None:
    """Return profile, pack and words of the change for one reason, None when there is nothing left to change."""
    profile = group.profile
    if found.reason is Reason.GPU_OOM:
        had = state.attempt.pack if state.attempt else 1 if isinstance(group.pack, str) else group.pack
        if had <= 1:
            return None
        return profile, had // 2, f"pack {had} → {had // 2}"
    if found.reason is Reason.HOST_OOM:
        if profile.mem_gb is None:
            return None
        more = float(math.ceil(profile.mem_gb * MORE_MEMORY))
        return profile.model_copy(update={"mem_gb": more}), group.pack, f"mem_gb {profile.mem_gb:g} → {more:g}"
    if found.reason is Reason.TIMEOUT:
        minutes = walltime_min(state, run_, profile.walltime_min)
        words = f"walltime_min {profile.walltime_min} → {minutes}"
        return profile.model_copy(update={"walltime_min": minutes}), group.pack, words
    nodes = tuple(dict.fromkeys([*profile.exclude, *filter(None, found.nodes.split(","))]))
    words = f"exclude {','.join(profile.exclude) or 'nothing'} → {','.join(nodes) or 'nothing'}"
    return profile.model_copy(update={"exclude": nodes}), group.pack, words


def walltime_min(state: RunState, run_: Run, had: int) -> int:
    """Return minutes that the rest of a run needs at its measured speed with some to spare; without one, twice as many.

    Never less than it had: a checkpoint may lie before the end.
    """
    status = state.status
    started = state.attempt.started if state.attempt else 0.0
    before = state.attempt.env_steps_before if state.attempt else 0
    made = status.env_steps - before if status else 0
    if status is None or made <= 0 or status.heartbeat <= started or run_.steps is None:
        return had * 2
    left = run_.steps - status.env_steps
    minutes = left / made * (status.heartbeat - started) / 60 * SPARE_TIME + ROUND_MIN / 2
    return max(had, math.ceil(minutes / ROUND_MIN) * ROUND_MIN)


def resubmit(command: Command) -> int:
    """Continue the selected runs that ended undone."""
    study = study_of(command)
    chosen = [run.name for run in select(command, study.planned())]
    selectors = follow_up(command, study)
    if "dry-run" in command.flags:
        return _plan_and_submit(command, study, chosen, None)[0]
    with study.lock() as lease:
        recover(study)
        code, made = _plan_and_submit(command, study, chosen, lease)
    pools = [launch for launch in made if launch.pooled]
    if not pools or "detach" in command.flags:
        print(f"next: python -m harness.status {selectors}" + (" --watch" if made else ""))
        return code
    return watch_pools(study, pools, selectors) or code


def _plan_and_submit(
    command: Command, study: Study, names: Sequence[str], lease: Lease | None
) -> tuple[int, list[Launch]]:
    selectors = follow_up(command, study)
    view = overview(study, [run for run in study.planned() if run.name in set(names)])
    unknown = tell_unknown(view)
    take, left = choose(view.runs, command)
    if lease is not None:
        study.refuse_foreign(state.run.name for state in take)
    configured, odd = read_configs(study, [state.run for state in take])
    by_name = {r.name: r for r in configured}
    take = [state for state in take if state.run.name in by_name]
    planned, fixes = groups(study, take, command) if take else [], list[Fix]()
    if "fix" in command.flags:
        parts: list[Group] = []
        for group in planned:
            split, made, helpless = fix(group, by_name)
            parts, fixes, left = parts + split, fixes + made, left + helpless
        planned = parts
    for words, count in _counted(fixes):
        print(f"fix: {words} ({counted(count, 'run')})")
    for line in ends(left):
        print(f"left: {line}")
    for reason, count in Counter(odd.values()).items():
        print(f"left: {counted(count, 'run')}: {reason}; python -m harness.launch {selectors} writes it")
    launches = [_submit(study, group, by_name, lease) for group in planned]
    if not planned and not unknown:
        print("nothing to resubmit" + (": everything left needs its cause removed, then --new-code" if left else ""))
    return (FAILED if left or unknown or odd else DONE), [launch for launch in launches if launch is not None]


def _counted(fixes: Sequence[Fix]) -> list[tuple[str, int]]:
    texts = [f"{f.reason}: {f.words}" for f in fixes]
    return [(text, texts.count(text)) for text in dict.fromkeys(texts)]


def _submit(study: Study, group: Group, by_name: dict[str, Run], lease: Lease | None) -> Launch | None:
    runs = [by_name[state.run.name] for state in group.states]
    packs = packing.plan_packs(runs, group.pack, group.mode, backend_of(group.profile).gpu_memory_gb(group.profile))
    order = Order(study, runs, packs, group.profile, group.jobs_at_once)
    verb = "would be" if lease is None else "are" if len(runs) > 1 else "is"
    where = f"cluster={group.profile.name}, code {group.tree['code_tree']}"
    print(f"{counted(len(runs), 'run')} in {counted(len(packs), 'job')} {verb} resubmitted ({where})")
    for state in group.states[:5]:
        print(f"  {state.run.name}: was {state.label}; {_from_where(study, state)}")
    if lease is not None:
        check_held(lease)
    for state in group.states:
        mend(study.run(state.run.name), state.run.config_hash, really=lease is not None)
    if lease is None:
        return None
    for state in group.states:
        close_attempt(study, state)
    made = submit_order(order, group.grid, group.code, group.tree, lease)
    print(f"handed to {backend_of(made).handed_to(made)}")
    return made


def _from_where(study: Study, state: RunState) -> str:
    steps = saved_steps(study.run(state.run.name))
    return f"continues from step {steps}" if steps else "begins anew"


def close_attempt(study: Study, state: RunState) -> None:
    """Record the end of an attempt that nobody saw, before the next one overwrites what is known of it."""
    record = state.attempt
    if record is None or record.ended is not None or state.diagnosis is None:
        return
    folder = study.run(state.run.name).attempts / str(record.attempt)
    seconds, lost = hours.unclosed(study.run(state.run.name), record)
    end = {
        "ended": record.started + seconds,
        "exit_code": None,
        "reason": str(state.diagnosis.reason),
        "message": state.diagnosis.message,
        "device_seconds": seconds / record.pack,
        "gpu_seconds": seconds * record.gpus / record.pack,
        "lost_s": lost,
    }
    write_record(folder / "attempt.json", record.model_copy(update=end), durable=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 1 when runs were left."""
    summary = "Continue runs that ended undone, from their checkpoints."
    return run("harness.resubmit", summary, FLAGS, resubmit, argv)


if __name__ == "__main__":
    sys.exit(main())
