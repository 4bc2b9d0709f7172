"""The table of a study, and what it says to do next."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.contract.reasons import Reason
from agent.contract.records import AttemptRecord, Status
from agent.contract.run_folder import RunKey
from harness.backend.base import JobRef
from harness.console.table import cell, cost, duration, ends, next_command, rich_table, summary, time_left
from harness.state.diagnose import Diagnosis
from harness.state.hours import Spent
from harness.state.run_state import Overview, RunState
from harness.state.vocabulary import State
from harness.study.folder import Launch, Planned
from harness.study.records import LaunchRecord, PackPart, ProfileRecord

TRACE = "Traceback (most recent call last):\n" + "".join(f"  line {k}\n" for k in range(40)) + "ValueError: no\n"


def run(seed: int, state: State, *, steps: int = 0, speed: float = 0.0, found: Diagnosis | None = None) -> RunState:
    status = Status(env_steps=steps, total_env_steps=1000, env_steps_per_s=speed, heartbeat=10.0, started=5.0)
    return RunState(Planned(RunKey("catch", "dreamerv3", seed), "hash"), state, status, diagnosis=found)


DONE = run(0, State.DONE)
RUNNING = run(1, State.RUNNING, steps=500, speed=2.0)
QUEUED = run(2, State.QUEUED)
OOM = run(3, State.ENDED, found=Diagnosis(Reason.GPU_OOM, "RESOURCE_EXHAUSTED"))
BROKEN = run(4, State.ENDED, found=Diagnosis(Reason.CODE_ERROR, "ValueError: no", "", TRACE, "mark"))
ALSO_BROKEN = run(5, State.ENDED, found=Diagnosis(Reason.CODE_ERROR, "ValueError: no", "", TRACE, "mark"))
STOPPED = run(6, State.ENDED, found=Diagnosis(Reason.STOPPED, "asked to stop"))


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (5, "5 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h"), (86400 * 3, "3.0 d")]
)
def test_times_are_short(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_cell_counts_states_and_shows_how_far_running_runs_are() -> None:
    text = cell([DONE, RUNNING, QUEUED, OOM])
    assert [part in text for part in ("1 done", "1 running 50%", "1 queued", "1 gpu_oom")] == [True] * 4
    assert text.index("done") < text.index("running") < text.index("queued") < text.index("gpu_oom")


def worked(seed: int, state: State, steps: int, seconds: float, *, task: str = "catch", before: int = 0) -> RunState:
    status = Status(
        env_steps=steps, total_env_steps=1000, started=5.0, heartbeat=5.0 + seconds, attempt=1 + bool(before)
    )
    attempt = AttemptRecord(attempt=2, launch="1", started=5.0, env_steps_before=before) if before else None
    return RunState(Planned(RunKey(task, "dreamerv3", seed), "hash"), state, status, attempt=attempt)


def test_the_time_left_is_at_the_pace_of_all_that_ran() -> None:
    assert time_left([]) is None
    assert time_left([DONE, QUEUED]) is None  # nothing runs
    assert time_left([worked(0, State.RUNNING, 10, 29.0)]) is None  # little is known
    done, young = worked(0, State.DONE, 1000, 100.0), worked(1, State.RUNNING, 0, 20.0)
    assert time_left([done, young, QUEUED]) == pytest.approx((1000 + 1000) * 0.12)
    assert time_left([done, young, young, QUEUED]) == pytest.approx((1000 + 1000 + 1000) * 0.14 / 2)
    resumed = worked(2, State.RUNNING, 900, 50.0, before=800)
    assert time_left([resumed]) == pytest.approx(100 * 0.5)
    behind = worked(2, State.RUNNING, 700, 50.0, before=800)
    assert time_left([behind]) is None
    assert time_left([behind, done]) == pytest.approx(300 * 0.15)
    slow = worked(3, State.RUNNING, 100, 100.0, task="atari_pong")
    assert time_left([done, worked(1, State.RUNNING, 500, 50.0), slow]) == pytest.approx((500 * 0.1 + 900 * 1.0) / 2)
    fresh = worked(4, State.RUNNING, 0, 10.0, task="atari_boxing")
    assert time_left([done, fresh]) == pytest.approx(1000 * 0.11)
    again = (done.status or Status()).model_copy(update={"attempt": 2})
    elsewhere = replace(done, status=again)  # its earlier attempts are not read
    assert time_left([elsewhere, slow]) == pytest.approx(900 * 1.0)


def test_a_local_pool_keeps_its_places_while_one_run_takes_another_ones() -> None:
    pack = PackPart(runs=["a"], mode="vmap")
    data = LaunchRecord(
        id="1", name="hb-1", created=0.0, code="/", profile=ProfileRecord(kind="local"), packs=[pack], jobs_at_once=2
    )
    launch = Launch(Path("launches/1"), data)
    between = replace(worked(0, State.RUNNING, 500, 50.0), where=JobRef(launch, 0, None))
    waiting = replace(QUEUED, where=JobRef(launch, 1, None))
    assert time_left([between, waiting, waiting]) == pytest.approx((500 + 2000) * 0.1 / 2)
    assert time_left([between]) == pytest.approx(500 * 0.1)


def test_the_summary_counts_all_steps_and_the_time_left() -> None:
    states = [worked(0, State.DONE, 1000, 500.0), worked(1, State.RUNNING, 500, 250.0), QUEUED]
    line = "3 runs: 1 done, 1 running, 1 queued (50% of all steps, about 12 min at the present pace)"
    assert summary(states) == line
    assert summary([]) == "no runs"


def test_identical_failures_are_shown_once_with_head_and_end_of_their_traceback() -> None:
    lines = ends([OOM, BROKEN, ALSO_BROKEN])
    assert lines[0] == "code_error: ValueError: no – catch/dreamerv3/seed-4, catch/dreamerv3/seed-5"
    assert lines[1].strip() == "Traceback (most recent call last):"
    text = "\n".join(lines)
    assert text.count("ValueError: no") == 2
    assert "…" in text
    assert lines[-1] == "gpu_oom: RESOURCE_EXHAUSTED – catch/dreamerv3/seed-3"


@pytest.mark.parametrize(
    ("states", "command"),
    [
        ([DONE, RUNNING, OOM], "python -m harness.status grid=g --watch"),
        ([DONE, OOM, BROKEN], "python -m harness.resubmit grid=g --fix"),
        ([DONE, BROKEN], "python -m harness.logs grid=g tasks=catch methods=dreamerv3 seeds=4..4"),
        ([DONE, STOPPED], "python -m harness.resubmit grid=g"),
        ([DONE, run(7, State.PLANNED)], "python -m harness.launch grid=g"),
        ([DONE], "python -m analysis.report grid=g"),
    ],
)
def test_the_next_command_is_the_useful_one(states: list[RunState], command: str) -> None:
    assert next_command(states, "grid=g") == command


def test_the_table_has_a_row_per_task_and_a_column_per_method() -> None:
    table = rich_table(Overview([DONE, RUNNING]))
    assert [column.header for column in table.columns] == ["task", "dreamerv3", "steps/s", "left"]
    assert table.row_count == 1


def test_hours_are_told_with_their_waste() -> None:
    total = Spent(3.0)
    assert cost(total, True) == "GPU-hours spent: 3.00"
    total.wasted |= {"preempted": 0.25, "gpu_oom": 0.5}
    assert cost(total, False) == "hours spent: 3.00; of these lost: 0.75 (gpu_oom 0.50, preempted 0.25)"


def test_more_methods_than_fit_side_by_side_have_a_row_each() -> None:
    def variant(number: int) -> RunState:
        return RunState(Planned(RunKey("catch", f"dreamerv3@actent={number}", 0), "hash"), State.DONE)

    few, many = (rich_table(Overview([variant(k) for k in range(count)])) for count in (4, 5))
    assert [column.header for column in few.columns][1:5] == [f"dreamerv3@actent={k}" for k in range(4)]
    assert few.row_count == 1
    assert [column.header for column in many.columns] == ["task", "method", "runs", "steps/s", "left"]
    assert list(many.columns[1].cells) == [f"dreamerv3@actent={k}" for k in range(5)]
