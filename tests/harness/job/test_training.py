"""Another agent's command as a process of a job: kept, asked to stop, ended with all that it has started."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.contract.files import RecordError, append_row
from agent.contract.lease import Lease, is_held, lease_holder
from agent.contract.records import Status
from agent.contract.run_folder import RunDir, read_status, write_status
from harness.job import keeper, training
from harness.job.attempts import Attempt
from harness.job.keeper import Keeper
from harness.job.training import Process, start
from harness.study.profiles import Profile
from harness.study.records import PackRecord, ProfileRecord
from tests.harness.local import wait_for

# JAX warns of any fork once another test of this process has started it; a worker, which forks, never imports it.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork\\(\\) was called:RuntimeWarning")
COMMAND = Path(__file__).parents[1] / "other_command.py"
Begin = Callable[..., Process]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Start other_command.py on a run with these settings, as the worker of its job does."""

    def started(**settings: object) -> Process:
        run = RunDir(tmp_path / "catch" / "rival" / "seed-0")
        run.path.mkdir(parents=True, exist_ok=True)
        run.config.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
        profile = ProfileRecord(**Profile(gpus=0).model_dump(mode="json"))
        names = ["python", str(COMMAND)]
        pack = PackRecord(
            runs=["catch/rival/seed-0"], mode="process", train=names, number=0, job_name="", code="/", profile=profile
        )
        kept = Keeper.claim(run, "7", 20)
        attempt = Attempt.begin(run, "0001", pack, None)
        kept.begin(attempt)
        environ = {**os.environ, "HARMONY_BENCH_CONFIG_HASH": "0" * 16}
        cores = sorted(os.sched_getaffinity(0))
        return start([attempt], names, kept, environ=environ, code="/", cores=cores, pass_fds=())

    return started


def finish(process: Process) -> None:
    process.popen.wait(30)
    process.close(time.time())


def run_of(process: Process) -> RunDir:
    return process.attempts[0].run


def test_the_process_itself_is_the_holder_of_its_run(begin: Begin) -> None:
    process = begin(steps=1000, pause=0.05)
    found = lease_holder(run_of(process))
    assert found is not None and found[0] is not None
    assert found[0].pid == process.popen.pid
    with pytest.raises(RecordError, match=f"is being written by job 7, process {process.popen.pid}"):
        Lease.claim(run_of(process))
    process.stop()
    finish(process)
    assert not run_of(process).lease.exists()


def test_its_rows_are_its_progress(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "BEAT_S", 0.0)
    process = begin(steps=1000, pause=0.02)
    wait_for(lambda: run_of(process).scores.exists())
    before = os.stat(run_of(process).lease).st_mtime_ns
    process.keep()
    status = read_status(run_of(process))
    assert status is not None
    assert (status.state, status.attempt, status.total_env_steps, status.job_id) == ("running", 1, 20, "7")
    assert status.env_steps >= 5
    assert os.stat(run_of(process).lease).st_mtime_ns > before
    process.stop()
    finish(process)


def test_a_status_that_the_command_writes_is_left_to_it(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "BEAT_S", 0.0)
    process = begin(steps=40, pause=0.02)
    own = Status(env_steps=3, total_env_steps=9, attempt=1, message="warming up")
    write_status(run_of(process), own)
    process.keep()
    assert read_status(run_of(process)) == own
    finish(process)
    assert read_status(run_of(process)) == own


def test_a_command_that_does_not_hear_is_killed_in_the_end(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    process = begin(steps=1000, pause=0.1, fault="deaf")
    wait_for(lambda: run_of(process).scores.exists())
    process.stop()
    process.keep()
    assert process.popen.poll() is None
    monkeypatch.setattr(training, "KILL_AFTER_S", 0.0)
    process.keep()
    finish(process)
    assert process.attempts[0].record.exit_code == -signal.SIGKILL
    status = read_status(run_of(process))
    assert status is not None and status.state == "failed"


def test_what_it_has_started_ends_with_it(begin: Begin) -> None:
    process = begin(steps=5, fault="child")
    finish(process)
    child = int((run_of(process).path / "child").read_text())
    wait_for(lambda: not Path(f"/proc/{child}").exists() or ") Z" in Path(f"/proc/{child}/stat").read_text())


def test_a_run_that_was_taken_over_is_written_no_more(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    process = begin(steps=1000, pause=0.1)
    run_of(process).lease.unlink()
    other = Lease.claim(run_of(process))
    monkeypatch.setattr(keeper, "BEAT_S", 0.0)
    process.keep()
    assert process.popen.wait(30) == -signal.SIGKILL
    process.close(time.time())
    assert is_held(run_of(process))
    other.check()


def test_rows_behind_a_checkpoint_are_cut_before_the_command_goes_on(begin: Begin) -> None:
    process = begin(steps=20, saves="true", fault="kill")
    finish(process)
    run = run_of(process)
    append_row(run.scores, {"env_steps": 12, "frames": 12, "mean": 0.0})  # behind the checkpoint of step 10
    finish(begin(steps=20, saves="true"))
    assert [json.loads(line)["env_steps"] for line in run.scores.read_text().splitlines()] == [5, 10, 15, 20]
    assert run.result.exists()
