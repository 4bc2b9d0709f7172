"""A third kind of cluster is one class and one row: here jobs that are plain processes, asked about by their number."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from agent.contract.lease import Lease
from agent.contract.variables import JOB_ID, QUEUE_AGAIN, RESTARTS
from harness import cancel, launch, logs, resubmit, status
from harness.backend import registry
from harness.backend.base import Answer, Backend, Exit, Job, JobRef, Phase, Ticket, write_jobs
from harness.study import profiles
from harness.study.folder import Launch, Study
from harness.study.profiles import Profile
from harness.study.records import ArrayRecord
from tests.harness.local import Capture, behave, states, wait_for


class Bare(Backend):
    """Every job is a process of its own, begun at once."""

    title = "Bare"

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def describe(self, profile: Profile, name: str, jobs: int, at_once: int | None) -> str:
        return f"bare: {jobs} processes"

    def submit(self, launch: Launch, profile: Profile, lease: Lease) -> None:
        ids: dict[int, str] = {}
        for number in range(len(launch.packs)):
            job = f"bare-{launch.id}-{number}"
            words = {JOB_ID: job, RESTARTS: "0", QUEUE_AGAIN: f"touch {launch.folder / 'again'}"}
            program = f"from harness.job.worker import run_pack; run_pack({str(launch.pack_file(number))!r})"
            with open(launch.folder / f"{job}.log", "wb") as log:
                self.processes[job] = subprocess.Popen(
                    [sys.executable, "-c", program],
                    cwd=launch.data.code,
                    env={**os.environ, "PYTHONPATH": launch.data.code, **words},
                    stdout=log,
                    stderr=log,
                )
            ids[number] = job
        array = ArrayRecord(name=f"{launch.data.name}-0", submitted=time.time(), numbers=list(ids))
        write_jobs(launch, ids, [array])

    def ask(self, refs: Sequence[JobRef], last: Answer | None) -> Answer:
        return Answer(time.time(), {ref.key: self._job(ref) for ref in refs if ref.job_id})

    def _job(self, ref: JobRef) -> Job:
        ticket = Ticket(ref.job_id or "", f"{ref.launch.data.name}-0", 0.0)
        process = self.processes.get(ticket.job_id)
        if process is None:
            return Job(ticket, Phase.GONE)
        code = process.poll()
        return Job(ticket, Phase.RUNNING) if code is None else Job(ticket, Phase.ENDED, exit=Exit.of(code))

    def cancel(self, job_ids: Sequence[str], *, gently: bool) -> None:
        for job in job_ids:
            self.processes[job].send_signal(signal.SIGTERM)

    def handed_to(self, launch: Launch) -> str:
        return f"Bare, {len(launch.jobs)} processes"

    def log_files(self, launch: Launch, job_id: str) -> list[Path]:
        return [launch.folder / f"{job_id}.log"]


@pytest.fixture
def bare(tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Bare]:
    """The backend, and the profile `bare` of its kind."""
    made = Bare()
    monkeypatch.setitem(registry.BACKENDS, "bare", made)
    monkeypatch.setattr(profiles, "PROFILES", tmp_path / "profiles")
    profiles.PROFILES.mkdir()
    (profiles.PROFILES / "bare.yaml").write_text("kind: bare\ngpus: 0\n")
    yield made
    for process in made.processes.values():
        process.wait(60)


def test_its_jobs_are_launched_asked_about_and_continued(
    bare: Bare, grid: str, tmp_path: Path, capsys: Capture
) -> None:
    runs = tmp_path / "runs"
    words = [f"grid={grid}", f"runs={runs}", "seeds=0", "cluster=bare"]
    assert launch.main([*words, "--dry-run"]) == 0
    assert "bare: 2 processes" in capsys.readouterr().out
    behave(runs, "dreamerv3/seed-0", fail="it is broken")
    assert launch.main(words) == 0
    assert "2 runs in 2 jobs handed to Bare, 2 processes" in capsys.readouterr().out
    wait_for(lambda: set(states(grid, runs, capsys).values()) == {"done", "code_error"})
    assert launch.main([*words, "jobs=2"]) == 2
    behave(runs, "dreamerv3/seed-0")
    assert resubmit.main([f"grid={grid}", f"runs={runs}", "--state", "failed"]) == 0
    wait_for(lambda: set(states(grid, runs, capsys).values()) == {"done"})


def test_its_jobs_are_cancelled_with_their_checkpoints(bare: Bare, grid: str, tmp_path: Path, capsys: Capture) -> None:
    runs = tmp_path / "runs"
    words = [f"grid={grid}", f"runs={runs}", "seeds=0", "methods=dreamerv3"]
    behave(runs, "dreamerv3/seed-0", sleep=0.5)
    assert launch.main([*words, "cluster=bare"]) == 0
    run = Study(runs / "tiny").run("catch/dreamerv3/seed-0")
    wait_for(run.checkpoint.exists)
    assert logs.main(words) == 0
    assert cancel.main(words) == 0
    wait_for(lambda: states(grid, runs, capsys) == {"dreamerv3/0": "cancelled"})
    assert status.main(words) == 1
    (process,) = bare.processes.values()
    assert process.wait(60) == 1


def test_it_queues_its_jobs_again_by_the_command_it_gave_them(
    bare: Bare, grid: str, tmp_path: Path, capsys: Capture
) -> None:
    runs = tmp_path / "runs"
    behave(runs, "dreamerv3/seed-0", sleep=0.5)
    assert launch.main([f"grid={grid}", f"runs={runs}", "seeds=0", "methods=dreamerv3", "cluster=bare"]) == 0
    study = Study(runs / "tiny")
    wait_for(study.run("catch/dreamerv3/seed-0").checkpoint.exists)
    (process,) = bare.processes.values()
    process.send_signal(signal.SIGUSR2)
    wait_for((study.launches()[0].folder / "again").exists)
    process.terminate()
    process.wait(60)
    assert states(grid, runs, capsys) == {"dreamerv3/0": "stopped"}
