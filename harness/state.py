"""One truthful state per run, from the run folders and one question to Slurm."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from agent.files import RecordError, read_json
from agent.lease import lease_holder, process_gone
from agent.reasons import Reason
from agent.record import RunDir, Status, read_status
from harness import pool, slurm
from harness.attempts import STOPPED_CODE, broke, latest
from harness.diagnose import Diagnosis, Evidence, diagnose
from harness.failure_texts import read_tail
from harness.slurm import Job, Phase, Snapshot, Ticket
from harness.study import Launch, Planned, Study

STALE_S = 300.0
STALE_WHEN_ENDED_S = 60.0  # of a lease whose job Slurm calls ended
SUBMITTING_S = 600.0
FULL_BYTES = 64 * 1024
NO_STATUS = Status()


class State(StrEnum):
    """Where a run is. An ended run has a diagnosis that says why it is not done."""

    PLANNED = "planned"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Where:
    """The latest job that a run was given to: launch, number in it, and the cluster's id once there is one.

    A job that was not submitted counts only for a run that no other has had: how a run ended is not forgotten for it.
    """

    launch: Launch
    number: int
    job_id: str | None


@dataclass(frozen=True)
class RunState:
    """A run as it is now."""

    run: Planned
    state: State
    status: Status | None = None
    where: Where | None = None
    attempt: Mapping[str, Any] = field(default_factory=dict[str, Any])
    diagnosis: Diagnosis | None = None
    note: str = ""

    @property
    def label(self) -> str:
        """The word shown for it: its state, or the reason of its end."""
        return str(self.diagnosis.reason if self.diagnosis else self.state)

    @property
    def live(self) -> bool:
        """Whether a job has it, so that it must not be submitted again."""
        return self.state in (State.QUEUED, State.RUNNING, State.UNKNOWN)

    @property
    def steps_per_s(self) -> float:
        """Environment steps per second, evaluations included, of the attempt that runs; 0 while unknown."""
        status, (made, elapsed) = self.status or NO_STATUS, self.worked
        if self.state is not State.RUNNING or elapsed <= 0:
            return 0.0
        return made / elapsed if elapsed > 30 and made > 0 else status.env_steps_per_s

    @property
    def worked(self) -> tuple[int, float]:
        """Environment steps and seconds of its last attempt, whatever it spent them on; 0 where they are not known."""
        status = self.status or NO_STATUS
        known = self.attempt or status.attempt <= 1
        if self.state not in (State.RUNNING, State.DONE) or not known or status.heartbeat <= status.started:
            return 0, 0.0
        made = status.env_steps - int(self.attempt.get("env_steps_before", 0))
        return max(0, made), status.heartbeat - status.started  # less than 0 while it repeats what a crash has lost

    @property
    def eta_s(self) -> float | None:
        """Seconds until it is complete at its present speed, None while that is unknown."""
        speed, status = self.steps_per_s, self.status or NO_STATUS
        return (status.total_env_steps - status.env_steps) / speed if speed > 0 else None


@dataclass(frozen=True)
class Overview:
    """All asked runs, and how fresh Slurm's part of it is."""

    runs: list[RunState]
    snapshot: Snapshot | None = None

    @property
    def warning(self) -> str | None:
        """A sentence when Slurm did not answer: the jobs' last known states are shown."""
        if self.snapshot is None or self.snapshot.error is None:
            return None
        age = self.snapshot.age_s(time.time()) if self.snapshot.jobs else 0.0
        known = f"; what is shown was known {age:.0f} s ago" if age >= 1 else ""
        return f"Slurm did not answer ({self.snapshot.error}){known}"


def tickets(launch: Launch) -> dict[str, Ticket]:
    """Return what tells a launch's jobs from others that had or will have their ids."""
    found: dict[str, Ticket] = {}
    for array in launch.arrays:
        for number in array["numbers"]:
            job_id = launch.jobs.get(number)
            if job_id is None:  # its submission failed, or was interrupted
                continue
            found[job_id] = Ticket(job_id, array["name"], float(array["submitted"]))
    return found


def overview(study: Study, runs: Sequence[Planned] | None = None, last: Snapshot | None = None) -> Overview:
    """Return the state of the runs (all planned ones by default); Slurm is asked once, and only for what is open."""
    planned = study.planned() if runs is None else list(runs)
    latest: dict[str, Where] = {}
    for launch in study.launches():
        handed_over = launch.local or _submitting(launch)
        submitted = {number for array in launch.arrays for number in array["numbers"]}
        for number, names in enumerate(launch.packs):
            where = Where(launch, number, launch.jobs.get(number))
            latest |= {n: where for n in names if handed_over or number in submitted or n not in latest}
    unfinished = [run for run in planned if not study.run(run.name).result.is_file()]
    asked = {w.launch.id: w.launch for run in unfinished if (w := latest.get(run.name)) and not w.launch.local}
    launches = [asked[id_] for id_ in sorted(asked)]  # of two jobs with one id Slurm has the later one
    wanted = {id_: ticket for launch in launches for id_, ticket in tickets(launch).items()}
    needed = {w.job_id for run in unfinished if (w := latest.get(run.name)) and w.job_id}
    open_jobs = [ticket for id_, ticket in wanted.items() if id_ in needed]
    snapshot = slurm.query(open_jobs, last) if open_jobs else None
    pools = {w.launch.id: _pool(w.launch) for w in latest.values() if w.launch.local}
    open_names = {run.name for run in unfinished}
    found: list[RunState] = []
    for run in planned:
        folder, where = study.run(run.name), latest.get(run.name)
        if run.name not in open_names:
            found.append(RunState(run, State.DONE, where=where, status=_status(folder)[0]))
        elif where is None:
            found.append(_without_job(run, folder))
        elif where.launch.local:
            found.append(_local(run, folder, where, pools[where.launch.id]))
        else:
            found.append(_on_slurm(run, folder, where, snapshot))
    return Overview(found, snapshot)


def job_of(where: Where, snapshot: Snapshot | None) -> Job | None:
    """Return what Slurm knows of a run's job, None without an answer.

    Where a later launch has a job of the same id, because ids have started again since, ours is gone.
    """
    job = snapshot.jobs.get(where.job_id or "") if snapshot else None
    if job is None or job.ticket.name.startswith(f"{where.launch.data['name']}-"):
        return job
    return Job(job.ticket, Phase.GONE)


def _pool(launch: Launch) -> dict[str, Any] | None:
    try:
        return read_json(launch.folder / "pool.json")
    except RecordError:
        return None


def _status(folder: RunDir) -> tuple[Status | None, str]:
    try:
        return read_status(folder), ""
    except RecordError as error:
        return None, str(error)


def _held(folder: RunDir, stale_s: float = STALE_S) -> bool:
    """Return whether a living process holds the run."""
    try:
        holder = lease_holder(folder)
    except RecordError:
        return False
    return holder is not None and holder[1] < stale_s and not process_gone(holder[0])


def _without_job(run: Planned, folder: RunDir) -> RunState:
    """The state of a run that no launch has: planned only, or trained by hand."""
    status, note = _status(folder)
    if _held(folder):
        return RunState(run, State.RUNNING, status, note=note)
    if status is None or not folder.attempt_numbers():
        return RunState(run, State.PLANNED, status, note=note)
    return _ended(run, folder, None, None, status, note)


def _local(run: Planned, folder: RunDir, where: Where, state: dict[str, Any] | None) -> RunState:
    status, note = _status(folder)
    attempt = latest(folder)
    ours = attempt.get("launch") == where.launch.id
    job = (state or {}).get("jobs", {}).get(str(where.number), {})
    where = Where(where.launch, where.number, job.get("job_id"))
    if _held(folder):
        return RunState(run, State.RUNNING, status, where, attempt, note=note)
    alive = pool.is_alive(state) if state else time.time() - where.launch.data["created"] < 60
    if alive and job.get("state", "queued") == "queued":
        full = f"other pools have jobs running here: {others}" if (others := (state or {}).get("others", 0)) else ""
        return RunState(run, State.QUEUED, status, where, attempt, note=note or full)
    if alive and job.get("state") == "running" and not (ours and "ended" in attempt):
        return RunState(run, State.RUNNING, status, where, attempt, note=note or "starting")
    begun = ours or job.get("state") == "ended"
    if not begun and run.name not in where.launch.cancelled(where.number):
        left = job.get("state") == "left"
        words = "its pool was stopped before it began" if left else "its pool is gone"
        diagnosis = Diagnosis(Reason.STOPPED if left else Reason.LOST, words)
        return RunState(run, State.ENDED, status, where, attempt, diagnosis, note)
    return _ended(run, folder, where, None, status, note)


def _on_slurm(run: Planned, folder: RunDir, where: Where, snapshot: Snapshot | None) -> RunState:
    status, note = _status(folder)
    attempt = latest(folder)
    if where.job_id is None:
        fresh = _submitting(where.launch)
        state = State.QUEUED if fresh else State.PLANNED
        return RunState(
            run, state, status, where, attempt, note="being submitted" if fresh else "its submission did not finish"
        )
    job = job_of(where, snapshot)
    phase = job.phase if job else Phase.UNKNOWN
    ours = attempt.get("launch") == where.launch.id and attempt.get("restart", 0) >= (job.restarts if job else 0)
    if broke(attempt, where.launch.id):  # its job may go on with others, or be requeued for them
        return _ended(run, folder, where, job, status, note)
    if phase is Phase.WAITING:
        return RunState(run, State.QUEUED, status, where, attempt, note=note or _why_waiting(job))
    if phase is Phase.RUNNING and not (ours and "ended" in attempt):
        return RunState(run, State.RUNNING, status, where, attempt, note=note or ("" if ours else "starting"))
    if _held(folder, STALE_WHEN_ENDED_S if phase in (Phase.ENDED, Phase.GONE) else STALE_S):
        return RunState(run, State.RUNNING, status, where, attempt, note=note)
    if phase is Phase.UNKNOWN:
        return RunState(run, State.UNKNOWN, status, where, attempt, note=note or "Slurm did not say")
    return _ended(run, folder, where, job, status, note)


def _submitting(launch: Launch) -> bool:
    """Return whether another command holds the study, so that what has no job yet may get one at this moment."""
    if time.time() - launch.data["created"] >= SUBMITTING_S:
        return False
    hidden = RunDir(launch.folder.parents[1])
    try:
        holder = lease_holder(hidden)
    except RecordError:
        return False
    return _held(hidden) and holder is not None and holder[0].get("pid") != os.getpid()


def _why_waiting(job: Job | None) -> str:
    return job.reason if job and job.reason not in ("", "None") else ""


def _ended(
    run: Planned, folder: RunDir, where: Where | None, job: Job | None, status: Status | None, note: str
) -> RunState:
    """The state of an unfinished run that nothing works on, with the reason; planned anew where its folder is gone."""
    if not folder.path.is_dir():
        return RunState(run, State.PLANNED, None, note="its folder was removed")
    attempt = latest(folder)
    ours = where is None or attempt.get("launch") == where.launch.id
    if where and run.name in where.launch.cancelled(where.number):
        diagnosis = Diagnosis(Reason.CANCELLED, "cancelled on request")
        return RunState(run, State.ENDED, status, where, attempt, diagnosis, note)
    said = status if status and ours and status.attempt == attempt.get("attempt") else None
    if said is not None and said.state == "running":
        said = None  # it was killed before it could say more
    stopped = said is not None and said.state == "stopped"  # whatever became of the others in its process
    evidence = Evidence(
        began=bool(attempt) and ours,
        exit_code=STOPPED_CODE if stopped else attempt.get("exit_code") if ours else None,
        ended=attempt.get("ended") if ours else None,
        asked=bool(attempt.get("asked_to_stop")),
        reason=said.reason if said else None,
        message=said.message if said else None,
        stderr=read_tail(folder.attempts / str(attempt.get("attempt", 0)) / "stderr.log") if ours else "",
        job_log=_job_log(where),
        on_gpu=bool(where and where.launch.data["profile"].get("gpus")),
        started=attempt.get("started"),
        disk_full=_disk_full(folder.path),
        job=job,
    )
    return RunState(run, State.ENDED, status, where, attempt, diagnose(evidence), note)


def _disk_full(path: Path) -> bool:
    try:
        disk = os.statvfs(path)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < FULL_BYTES


def _job_log(where: Where | None) -> str:
    if where is None or where.job_id is None:
        return ""
    return "\n".join(read_tail(path) for path in log_files(where.launch, where.job_id))


def log_files(launch: Launch, job_id: str) -> list[Path]:
    """Return the files of a job's own output: Slurm's words, and those of a worker that could not start."""
    stem = job_id.removeprefix("local-")
    return [launch.folder / "submitit" / f"{stem}_0_log.{kind}" for kind in ("out", "err")]


ALIASES = {"oom": ("gpu_oom", "host_oom"), "failed": ("code_error", "killed", "record", "nan", "not_started", "lost")}


def filter_states(states: Iterable[RunState], words: Sequence[str]) -> list[RunState]:
    """Return the runs whose label is one of the words; `oom` and `failed` stand for several."""
    wanted = {name for word in words for name in ALIASES.get(word, (word,))}
    return [state for state in states if state.label in wanted or str(state.state) in wanted]


def known_words() -> list[str]:
    """Return the words that `--state` takes."""
    return sorted({*map(str, State), *map(str, Reason), *ALIASES})
