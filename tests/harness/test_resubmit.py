"""What a resubmission changes, by reason."""

from pathlib import Path
from typing import Any

import pytest

from agent.contract.reasons import Reason
from agent.contract.records import AttemptRecord, Status
from agent.contract.run_folder import RunKey
from harness.command import Command, parse
from harness.resubmit import Group, choose, fix
from harness.state.diagnose import Diagnosis
from harness.state.run_state import RunState
from harness.state.vocabulary import State
from harness.study.folder import Planned
from harness.study.grid import configure, expand
from harness.study.grid_file import load_grid
from harness.study.profiles import Profile
from harness.study.run import Run


def ended(reason: Reason, run: Run, *, nodes: str = "", **attempt: Any) -> RunState:
    status = Status(state="running", env_steps=1000, total_env_steps=run.steps or 0, heartbeat=3600.0)
    planned = Planned(RunKey(run.task, run.method, run.seed), run.config_hash)
    record = AttemptRecord(**{"attempt": 1, "launch": "1", "started": 0.0, **attempt})
    return RunState(planned, State.ENDED, status, None, record, Diagnosis(reason, "words", nodes))


@pytest.fixture
def runs() -> list[Run]:
    return expand(configure(load_grid("catch"), parse(["agent.run.steps=6000"], {})))


def fixed(run: Run, state: RunState, profile: Profile, pack: int = 5) -> tuple[list[Group], list[str], int]:
    group = Group(profile, Path("/code"), {}, "catch", pack, "vmap", None, [state])
    groups, made, helpless = fix(group, {run.name: run})
    return groups, [change.words for change in made], len(helpless)


def test_gpu_memory_halves_the_pack_until_it_is_one(runs: list[Run]) -> None:
    (group,), words, _ = fixed(runs[0], ended(Reason.GPU_OOM, runs[0], pack=5), Profile())
    assert group.pack == 2
    assert words == ["pack 5 → 2"]
    groups, words, helpless = fixed(runs[0], ended(Reason.GPU_OOM, runs[0], pack=1), Profile())
    assert (groups, words, helpless) == ([], [], 1)


def test_host_memory_grows_by_half(runs: list[Run]) -> None:
    (group,), words, _ = fixed(runs[0], ended(Reason.HOST_OOM, runs[0]), Profile(mem_gb=32.0))
    assert group.profile.mem_gb == 48.0
    assert words == ["mem_gb 32 → 48"]


def test_walltime_follows_the_measured_speed(runs: list[Run]) -> None:
    run = runs[0]  # 1000 steps in an hour, 5000 left: 5 h, a third more, and a quarter of an hour
    (group,), words, _ = fixed(run, ended(Reason.TIMEOUT, run), Profile(walltime_min=60))
    assert group.profile.walltime_min == 420
    assert words == ["walltime_min 60 → 420"]


def test_a_failed_node_is_excluded(runs: list[Run]) -> None:
    (group,), words, _ = fixed(runs[0], ended(Reason.NODE_FAILURE, runs[0], nodes="n7"), Profile(exclude=("n1",)))
    assert group.profile.exclude == ("n1", "n7")
    assert words == ["exclude n1 → n1,n7"]


def test_what_would_end_the_same_way_is_left_unless_named(runs: list[Run]) -> None:
    states = [
        ended(reason, runs[0])
        for reason in (Reason.CODE_ERROR, Reason.CHECKPOINT, Reason.HOST_OOM, Reason.PREEMPTED, Reason.KILLED)
    ]
    reasons = [[str(s.diagnosis.reason) for s in part if s.diagnosis] for part in choose(states, Command())]
    assert reasons == [["preempted", "killed"], ["code_error", "checkpoint", "host_oom"]]
    with_fix, left = choose(states, Command(flags={"fix": ""}))
    assert (len(with_fix), len(left)) == (3, 2)
    named, left = choose(states, Command(flags={"state": "failed"}))
    assert ([str(s.diagnosis.reason) for s in named if s.diagnosis], left) == (["code_error", "killed"], [])
