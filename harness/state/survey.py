"""One truthful state per run, from the run folders and one question to each cluster."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from agent.contract import exit_codes
from agent.contract.files import RecordError
from agent.contract.lease import is_held, lease_holder
from agent.contract.reasons import Reason
from agent.contract.records import AttemptRecord
from agent.contract.run_folder import STALE_AFTER_S, RunDir
from harness.backend.base import Answer, Job, JobRef, Phase
from harness.backend.registry import backend_of
from harness.job.attempts import broke
from harness.state.answer import answered_at, note_answer
from harness.state.diagnose import Diagnosis, Evidence, diagnose
from harness.state.failures import read_tail
from harness.state.reading import Reading, disk_full, read_run
from harness.state.run_state import STARTING, Overview, RunState
from harness.state.vocabulary import State
from harness.study.folder import Launch, Lost, Planned, Study, begun_file

STALE_WHEN_ENDED_S = 60.0  # of a lease whose job its cluster calls ended
SUBMITTING_S = 600.0


def overview(study: Study, runs: Sequence[Planned] | None = None, last: Mapping[str, Answer] | None = None) -> Overview:
    """Return the state of the runs (all planned ones by default); each cluster is asked once, for what is open."""
    planned = study.planned() if runs is None else list(runs)
    latest: dict[str, JobRef] = {}
    for launch in study.launches():
        handed_over, submitting = launch.handed_over, _submitting(launch)
        for number, names in enumerate(launch.packs):
            ref = JobRef(launch, number, launch.jobs.get(number))
            latest |= {n: ref for n in names if submitting or number in handed_over or n not in latest}
    lost = study.lost_launches()
    readings = {run.name: read_run(study.run(run.name), run.config_hash) for run in planned}
    refs: dict[str, list[JobRef]] = {}
    for run in planned:
        if readings[run.name].result is None and (ref := latest.get(run.name)):
            refs.setdefault(ref.launch.data.profile.kind, []).append(ref)
    asked = {kind: backend_of(kind).ask(jobs, (last or {}).get(kind)) for kind, jobs in refs.items()}
    answers = {kind: answer for kind, answer in asked.items() if answer.jobs}
    found: list[RunState] = []
    for run in planned:
        reading, ref = readings[run.name], latest.get(run.name)
        if reading.result is not None:
            state = RunState(run, State.DONE, reading.status, ref, note=reading.damage)
        elif reason := _lost(run, ref, lost):
            held = is_held(reading.run)
            state = RunState(run, State.RUNNING if held else State.UNKNOWN, reading.status, ref, note=reason)
        elif ref is None:
            state = _without_job(run, reading)
        else:
            state = _with_job(run, reading, ref, asked[ref.launch.data.profile.kind].of(ref))
        found.append(_named(state, reading))
    return Overview(found, answers, _answered(study, answers))


def _answered(study: Study, answers: Mapping[str, Answer]) -> float | None:
    """Return when all clusters last answered in full, keeping it for the next command."""
    if answers and not any(answer.error for answer in answers.values()):
        time_ = min(answer.time for answer in answers.values())
        note_answer(study.hidden, time_)
        return time_
    return answered_at(study.hidden)


def _lost(run: Planned, ref: JobRef | None, lost: Sequence[Lost]) -> str:
    """Return why it is not known which job has a run, "" where it is."""
    after = ref.launch.id if ref else ""
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
        return replace(state, note=reading.damage if state.note in ("", STARTING) else state.note)
    words = f"{reading.damage}; resubmit keeps it aside and goes on"
    return replace(state, state=State.ENDED, diagnosis=Diagnosis(Reason.DAMAGED, words, fingerprint=reading.damage))


def _without_job(run: Planned, reading: Reading) -> RunState:
    """The state of a run that no launch has: planned only, or trained by hand."""
    if is_held(reading.run):
        return RunState(run, State.RUNNING, reading.status)
    if reading.status is None or not reading.number:
        return RunState(run, State.PLANNED, reading.status)
    return _ended(run, reading, None, None)


def _with_job(run: Planned, reading: Reading, ref: JobRef, job: Job | None) -> RunState:
    status, attempt = reading.status, reading.attempt
    if job is None:
        fresh = _submitting(ref.launch)
        state = State.QUEUED if fresh else State.PLANNED
        note = "being submitted" if fresh else "its submission did not finish"
        return RunState(run, state, status, ref, attempt, note=note)
    ref = replace(ref, job_id=job.ticket.job_id or None)
    ours = attempt is not None and attempt.launch == ref.launch.id and attempt.restart >= job.restarts
    if broke(attempt, ref.launch.id):  # its job may go on with others, or be requeued for them
        return _ended(run, reading, ref, job)
    if job.phase is Phase.WAITING:
        return RunState(run, State.QUEUED, status, ref, attempt, note=job.reason)
    if job.phase is Phase.RUNNING and not (ours and attempt and attempt.ended is not None):
        return RunState(run, State.RUNNING, status, ref, attempt, note="" if ours else STARTING)
    if is_held(reading.run, STALE_WHEN_ENDED_S if job.phase in (Phase.ENDED, Phase.GONE) else STALE_AFTER_S):
        return RunState(run, State.RUNNING, status, ref, attempt)
    if job.phase is Phase.UNKNOWN:
        note = f"{backend_of(ref.launch).title} did not say; when it answers, run the same command again"
        return RunState(run, State.UNKNOWN, status, ref, attempt, note=note)
    return _ended(run, reading, ref, job)


def _cancelled(ref: JobRef) -> set[str]:
    """Return the runs of a job that were asked to stop; of a request that cannot be read, none."""
    with contextlib.suppress(RecordError):
        return ref.launch.cancelled(ref.number)
    return set()


def _submitting(launch: Launch) -> bool:
    """Return whether another command holds the study, so that what has no job yet may get one at this moment."""
    if time.time() - launch.data.created >= SUBMITTING_S:
        return False
    hidden = RunDir(launch.folder.parents[1])
    found = lease_holder(hidden)
    return is_held(hidden) and found is not None and (found[0] is None or found[0].pid != os.getpid())


def _ended(run: Planned, reading: Reading, ref: JobRef | None, job: Job | None) -> RunState:
    """The state of an unfinished run that nothing works on, with the reason; planned anew where its folder is gone."""
    folder, status, attempt = reading.run, reading.status, reading.attempt
    if not folder.path.is_dir():
        return RunState(run, State.PLANNED, None, note="its folder was removed")
    ours = ref is None or (attempt is not None and attempt.launch == ref.launch.id)
    mine = attempt if ours else None
    if ref and run.name in _cancelled(ref):
        diagnosis = Diagnosis(Reason.CANCELLED, "cancelled on request")
        return RunState(run, State.ENDED, status, ref, attempt, diagnosis)
    said = status if status and ours and status.attempt == reading.number else None
    if said is not None and said.state == "running":
        said = None  # it was killed before it could say more
    stopped = said is not None and said.state == "stopped"  # whatever became of the others in its process
    evidence = Evidence(
        began=mine is not None,
        exit_code=exit_codes.STOPPED if stopped else mine.exit_code if mine else None,
        ended=mine.ended if mine else None,
        asked=bool(mine and mine.asked_to_stop) or _told_to_stop(job, mine),
        reason=said.reason if said else None,
        message=said.message if said else None,
        stderr=read_tail(folder.attempts / str(reading.number) / "stderr.log") if ours else "",
        job_log=_job_log(ref),
        on_gpu=bool(ref and ref.launch.data.profile.gpus),
        started=attempt.started if attempt else None,
        disk_full=disk_full(folder.path),
        folder=str(folder.path),
        watched=ref is not None and begun_file(ref.launch.folder, ref.number).exists(),
        job=job,
    )
    return RunState(run, State.ENDED, status, ref, attempt, diagnose(evidence))


def _told_to_stop(job: Job | None, attempt: AttemptRecord | None) -> bool:
    """Return whether a job had been told to stop when a run of it ended, or before it began."""
    if job is None or job.told is None:
        return False
    ended = (attempt.ended if attempt else None) or (job.lives[-1].end if job.lives else None)
    return ended is None or ended >= job.told


def _job_log(ref: JobRef | None) -> str:
    if ref is None or ref.job_id is None:
        return ""
    return "\n".join(read_tail(path) for path in backend_of(ref.launch).log_files(ref.launch, ref.job_id))
