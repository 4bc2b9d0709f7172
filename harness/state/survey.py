"""One truthful state per run, from the run folders and one question to Slurm."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import replace

from agent.contract import exit_codes
from agent.contract.files import RecordError
from agent.contract.lease import is_held, lease_holder
from agent.contract.reasons import Reason
from agent.contract.records import AttemptRecord
from agent.contract.run_folder import STALE_AFTER_S, RunDir
from harness.backend import pool, slurm
from harness.backend.slurm import Job, Phase, Snapshot, Ticket
from harness.job.attempts import broke
from harness.state.answer import answered_at, note_answer
from harness.state.diagnose import Diagnosis, Evidence, diagnose
from harness.state.failures import read_tail
from harness.state.reading import Reading, disk_full, read_run
from harness.state.run_state import Overview, RunState, State, Where
from harness.study.folder import Launch, Lost, Planned, Study, begun_file
from harness.study.records import PoolJob, PoolRecord

SILENT = "Slurm did not say"
STALE_WHEN_ENDED_S = 60.0  # of a lease whose job Slurm calls ended
SUBMITTING_S = 600.0


def tickets(launch: Launch) -> dict[str, Ticket]:
    """Return what tells a launch's jobs from others that had or will have their ids."""
    found: dict[str, Ticket] = {}
    for array in launch.arrays:
        for number in array.numbers:
            job_id = launch.jobs.get(number)
            if job_id is None:  # its submission failed, or was interrupted
                continue
            found[job_id] = Ticket(job_id, array.name, array.submitted)
    return found


def overview(study: Study, runs: Sequence[Planned] | None = None, last: Snapshot | None = None) -> Overview:
    """Return the state of the runs (all planned ones by default); Slurm is asked once, and only for what is open."""
    planned = study.planned() if runs is None else list(runs)
    latest: dict[str, Where] = {}
    for launch in study.launches():
        handed_over = launch.local or _submitting(launch)
        submitted = {number for array in launch.arrays for number in array.numbers}
        for number, names in enumerate(launch.packs):
            where = Where(launch, number, launch.jobs.get(number))
            latest |= {n: where for n in names if handed_over or number in submitted or n not in latest}
    lost = study.lost_launches()
    readings = {run.name: read_run(study.run(run.name), run.config_hash) for run in planned}
    unfinished = [run for run in planned if readings[run.name].result is None]
    asked = {w.launch.id: w.launch for run in unfinished if (w := latest.get(run.name)) and not w.launch.local}
    launches = [asked[id_] for id_ in sorted(asked)]  # of two jobs with one id Slurm has the later one
    wanted = {id_: ticket for launch in launches for id_, ticket in tickets(launch).items()}
    needed = {w.job_id for run in unfinished if (w := latest.get(run.name)) and w.job_id}
    open_jobs = [ticket for id_, ticket in wanted.items() if id_ in needed]
    snapshot = slurm.query(open_jobs, last) if open_jobs else None
    pools = {w.launch.id: pool.read_pool(w.launch.folder) for w in latest.values() if w.launch.local}
    found: list[RunState] = []
    for run in planned:
        reading, where = readings[run.name], latest.get(run.name)
        if reading.result is not None:
            state = RunState(run, State.DONE, reading.status, where, note=reading.damage)
        elif reason := _lost(run, where, lost):
            held = is_held(reading.run)
            state = RunState(run, State.RUNNING if held else State.UNKNOWN, reading.status, where, note=reason)
        elif where is None:
            state = _without_job(run, reading)
        elif where.launch.local:
            state = _local(run, reading, where, pools[where.launch.id])
        else:
            state = _on_slurm(run, reading, where, snapshot)
        found.append(_named(state, reading))
    answered = _answered(study, snapshot) if snapshot else None
    return Overview(found, snapshot, answered)


def _answered(study: Study, snapshot: Snapshot) -> float | None:
    """Return when Slurm last answered, keeping it for the next command."""
    if snapshot.error is None:
        note_answer(study.hidden, snapshot.time)
        return snapshot.time
    return answered_at(study.hidden)


def _lost(run: Planned, where: Where | None, lost: Sequence[Lost]) -> str:
    """Return why it is not known which job has a run, "" where it is."""
    after = where.launch.id if where else ""
    return next((launch.reason for launch in lost if launch.has(run.name, after)), "")


def _named(state: RunState, reading: Reading) -> RunState:
    """Return the state with a damaged file of the run named in it: as its end where it has ended or never began.

    Of a run without one that is under way, what it says itself is a note: how its beginning was not as it should be.
    """
    said = reading.status
    if (
        state.state is State.RUNNING
        and not state.note
        and said
        and (said.state, said.attempt) == ("running", reading.number)
    ):
        state = replace(state, note=said.message or "")
    if not reading.damage or state.state is State.DONE:
        return state
    if state.live:
        return replace(state, note=reading.damage if state.note in ("", "starting") else state.note)
    words = f"{reading.damage}; resubmit keeps it aside and goes on"
    return replace(state, state=State.ENDED, diagnosis=Diagnosis(Reason.DAMAGED, words, fingerprint=reading.damage))


def job_of(where: Where, snapshot: Snapshot | None) -> Job | None:
    """Return what Slurm knows of a run's job, None without an answer.

    Where a later launch has a job of the same id, because ids have started again since, ours is gone.
    """
    job = snapshot.jobs.get(where.job_id or "") if snapshot else None
    if job is None or job.ticket.name.startswith(f"{where.launch.data.name}-"):
        return job
    return Job(job.ticket, Phase.GONE)


def _without_job(run: Planned, reading: Reading) -> RunState:
    """The state of a run that no launch has: planned only, or trained by hand."""
    if is_held(reading.run):
        return RunState(run, State.RUNNING, reading.status)
    if reading.status is None or not reading.number:
        return RunState(run, State.PLANNED, reading.status)
    return _ended(run, reading, None, None)


def _local(run: Planned, reading: Reading, where: Where, state: PoolRecord | None) -> RunState:
    status, attempt = reading.status, reading.attempt
    ours = attempt is not None and attempt.launch == where.launch.id
    job = state.jobs.get(where.number) if state else None
    job = job or PoolJob(state="queued")
    where = Where(where.launch, where.number, job.job_id)
    if is_held(reading.run):
        return RunState(run, State.RUNNING, status, where, attempt)
    alive = pool.is_alive(state) if state else pool.may_live(where.launch)
    if alive and job.state == "queued":
        full = f"other pools have jobs running here: {state.others}" if state and state.others else ""
        return RunState(run, State.QUEUED, status, where, attempt, note=full)
    if alive and job.state == "running" and not (ours and attempt and attempt.ended is not None):
        return RunState(run, State.RUNNING, status, where, attempt, note="starting")
    begun = ours or job.state == "ended"
    if not begun and run.name not in _cancelled(where):
        told = job.state == "left" or (state is not None and state.stopping is not None)
        words = "its pool was stopped before it began" if told else "its pool is gone"
        diagnosis = Diagnosis(Reason.STOPPED if told else Reason.LOST, words)
        return RunState(run, State.ENDED, status, where, attempt, diagnosis)
    return _ended(run, reading, where, None, state)


def _on_slurm(run: Planned, reading: Reading, where: Where, snapshot: Snapshot | None) -> RunState:
    status, attempt = reading.status, reading.attempt
    if where.job_id is None:
        fresh = _submitting(where.launch)
        state = State.QUEUED if fresh else State.PLANNED
        note = "being submitted" if fresh else "its submission did not finish"
        return RunState(run, state, status, where, attempt, note=note)
    job = job_of(where, snapshot)
    phase = job.phase if job else Phase.UNKNOWN
    ours = attempt is not None and attempt.launch == where.launch.id and attempt.restart >= (job.restarts if job else 0)
    if broke(attempt, where.launch.id):  # its job may go on with others, or be requeued for them
        return _ended(run, reading, where, job)
    if phase is Phase.WAITING:
        return RunState(run, State.QUEUED, status, where, attempt, note=_why_waiting(job))
    if phase is Phase.RUNNING and not (ours and attempt and attempt.ended is not None):
        return RunState(run, State.RUNNING, status, where, attempt, note="" if ours else "starting")
    if is_held(reading.run, STALE_WHEN_ENDED_S if phase in (Phase.ENDED, Phase.GONE) else STALE_AFTER_S):
        return RunState(run, State.RUNNING, status, where, attempt)
    if phase is Phase.UNKNOWN:
        return RunState(run, State.UNKNOWN, status, where, attempt, note=SILENT)
    return _ended(run, reading, where, job)


def _cancelled(where: Where) -> set[str]:
    """Return the runs of a job that were asked to stop; of a request that cannot be read, none."""
    with contextlib.suppress(RecordError):
        return where.launch.cancelled(where.number)
    return set()


def _submitting(launch: Launch) -> bool:
    """Return whether another command holds the study, so that what has no job yet may get one at this moment."""
    if time.time() - launch.data.created >= SUBMITTING_S:
        return False
    hidden = RunDir(launch.folder.parents[1])
    found = lease_holder(hidden)
    return is_held(hidden) and found is not None and (found[0] is None or found[0].pid != os.getpid())


def _why_waiting(job: Job | None) -> str:
    return job.reason if job and job.reason not in ("", "None") else ""


def _ended(
    run: Planned, reading: Reading, where: Where | None, job: Job | None, state: PoolRecord | None = None
) -> RunState:
    """The state of an unfinished run that nothing works on, with the reason; planned anew where its folder is gone."""
    folder, status, attempt = reading.run, reading.status, reading.attempt
    if not folder.path.is_dir():
        return RunState(run, State.PLANNED, None, note="its folder was removed")
    ours = where is None or (attempt is not None and attempt.launch == where.launch.id)
    mine = attempt if ours else None
    if where and run.name in _cancelled(where):
        diagnosis = Diagnosis(Reason.CANCELLED, "cancelled on request")
        return RunState(run, State.ENDED, status, where, attempt, diagnosis)
    said = status if status and ours and status.attempt == reading.number else None
    if said is not None and said.state == "running":
        said = None  # it was killed before it could say more
    stopped = said is not None and said.state == "stopped"  # whatever became of the others in its process
    seen = state.jobs.get(where.number) if state and where else None
    evidence = Evidence(
        began=mine is not None,
        exit_code=exit_codes.STOPPED if stopped else mine.exit_code if mine else seen.exit_code if seen else None,
        ended=mine.ended if mine else None,
        asked=bool(mine and mine.asked_to_stop) or _told_to_stop(state, seen, mine),
        reason=said.reason if said else None,
        message=said.message if said else None,
        stderr=read_tail(folder.attempts / str(reading.number) / "stderr.log") if ours else "",
        job_log=_job_log(where),
        on_gpu=bool(where and where.launch.data.profile.gpus),
        started=attempt.started if attempt else None,
        disk_full=disk_full(folder.path),
        folder=str(folder.path),
        watched=where is not None and begun_file(where.launch.folder, where.number).exists(),
        job=job,
    )
    return RunState(run, State.ENDED, status, where, attempt, diagnose(evidence))


def _told_to_stop(state: PoolRecord | None, job: PoolJob | None, attempt: AttemptRecord | None) -> bool:
    """Return whether a pool had been told to stop when a run of it ended, or before it began."""
    if state is None or state.stopping is None:
        return False
    ended = (attempt.ended if attempt else None) or (job.ended if job else None)
    return ended is None or ended >= state.stopping


def _job_log(where: Where | None) -> str:
    if where is None or where.job_id is None:
        return ""
    return "\n".join(read_tail(path) for path in where.launch.log_files(where.job_id))
