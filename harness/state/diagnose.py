"""Why an attempt ended: from the run's own words, its process's end, and what its cluster says of the job."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass

from agent.contract import exit_codes
from agent.contract.reasons import Reason
from harness.backend.base import Exit, Job, Life, Phase
from harness.job.attempts import STOP_SIGNALS, signal_name
from harness.state.failures import Failure, read_failure
from harness.state.vocabulary import MEANINGS, Meaning, Retry

# Seconds by which a process must have ended before its job for its end to be its own.
WELL_BEFORE_S = 30.0
KILLS = (9, 15)  # the signals with which jobs are ended from outside
FULL = "ended without a word, as its disk has no space left; free some, then resubmit --state disk_full"
FOLDER_TEXTS = (
    "No such file or directory", "Permission denied", "Read-only file system", "Stale file handle",
    "Input/output error", "Not a directory", "Operation not permitted",
)  # fmt: skip


SUBMITIT = "submitit INFO"  # its own first lines in a job's log


@dataclass(frozen=True)
class Evidence:
    """What is known of one attempt of one run.

    `exit_code` is the process's own, negative for a signal, None where nobody saw its end; `ended` is when that was,
    `asked` whether it had been told to stop; `began` says whether the process ever wrote something; `reason` and
    `message` are what the run itself wrote of this attempt in status.json;
    `stderr` is the attempt's, `job_log` the job's (with its cluster's words); `started`, `ended` are unix seconds;
    `disk_full` says whether the disk of the run has no space left now; `folder` is the run's path;
    `watched` says whether its job's worker had begun to watch its runs.
    """

    complete: bool = False
    began: bool = True
    exit_code: int | None = None
    ended: float | None = None
    asked: bool = False
    reason: str | None = None
    message: str | None = None
    stderr: str = ""
    job_log: str = ""
    on_gpu: bool = True
    started: float | None = None
    disk_full: bool = False
    folder: str = ""
    watched: bool = False
    job: Job | None = None


@dataclass(frozen=True)
class Diagnosis:
    """Why an attempt ended: the reason, one sentence, the nodes it ran on; identical failures share a fingerprint."""

    reason: Reason
    message: str
    nodes: str = ""
    traceback: str = ""
    fingerprint: str = ""

    @property
    def meaning(self) -> Meaning:
        """What follows from it."""
        return MEANINGS[self.reason]

    @property
    def retry(self) -> Retry:
        """What a resubmission should do about it."""
        return self.meaning.retry


def diagnose(evidence: Evidence) -> Diagnosis:
    """Return why an attempt ended; the attempt is known to have ended.

    Order: a result is done; what the process said as it ended by itself; its bare end where the job went on without it;
    what the cluster says it did to the job; words on stderr; the bare exit.
    """
    life = life_of(evidence.job, evidence.started)
    nodes = life.nodes if life else ""
    if evidence.complete:
        return Diagnosis(Reason.DONE, "complete", nodes)
    failure = read_failure(evidence.stderr, on_gpu=evidence.on_gpu)
    found = (
        _said(evidence, failure)
        or _alone(evidence, life, failure)
        or _by_cluster(evidence, life)
        or _by_words(failure or _cluster_words(evidence.job_log, evidence.on_gpu))
        or (Diagnosis(Reason.DISK_FULL, FULL) if evidence.disk_full else _bare(evidence, life))
    )
    reason = found.reason
    if reason in (Reason.CODE_ERROR, Reason.NOT_STARTED) and _folder_failed(found.message, evidence.folder):
        reason = Reason.RECORD
    return Diagnosis(reason, found.message, nodes, found.traceback, found.fingerprint)


def _folder_failed(message: str, folder: str) -> bool:
    """Return whether an error is about a file of the run: its folder was gone, read-only or did not answer."""
    return bool(folder) and folder in message and any(words in message for words in FOLDER_TEXTS)


def life_of(job: Job | None, started: float | None) -> Life | None:
    """Return the allocation that an attempt ran in: the last one that began before it, or the latest."""
    if job is None or not job.lives:
        return None
    before = [life for life in job.lives if life.start is not None and (started is None or life.start <= started + 5)]
    return before[-1] if before else job.lives[-1]


def _said(evidence: Evidence, failure: Failure | None) -> Diagnosis | None:
    """What the run wrote in its status, or the process by exiting with a code of its own."""
    if evidence.reason in {r.value for r in Reason} and evidence.reason != Reason.STOPPED:
        same = failure or Failure(Reason.CODE_ERROR, "")
        reason = Reason(evidence.reason)
        if reason is Reason.CODE_ERROR and failure is not None:  # a process knows less than its last words: GL, drivers
            reason = failure.reason
        if reason is Reason.GPU_OOM and not evidence.on_gpu:  # XLA's words are the same on a CPU
            reason = Reason.HOST_OOM
        message = evidence.message or same.message
        return Diagnosis(reason, message, traceback=same.traceback, fingerprint=same.fingerprint)
    if evidence.exit_code == exit_codes.WRONG_INPUT:
        lines = [line for line in evidence.stderr.splitlines() if line.strip()]
        return Diagnosis(Reason.WRONG_INPUT, lines[-1].strip()[:500] if lines else "its input was refused")
    if evidence.exit_code == exit_codes.FAILED:
        return _by_words(failure)
    return None


def _alone(evidence: Evidence, life: Life | None, failure: Failure | None) -> Diagnosis | None:
    """The end of a process that nobody had asked to stop, while others of its job went on."""
    if evidence.exit_code in (None, exit_codes.STOPPED) or evidence.asked or evidence.ended is None:
        return None
    if life is None or life.end is None or evidence.ended > life.end - WELL_BEFORE_S:
        return None
    if evidence.exit_code == -signal.SIGKILL and life.cause is Reason.HOST_OOM:
        return None  # the kernel takes one process of a job that is out of memory
    return _by_words(failure) or _bare(evidence, life)


def _by_cluster(evidence: Evidence, life: Life | None) -> Diagnosis | None:
    """What the cluster did to the job."""
    job = evidence.job
    if job is None:
        return None
    if job.phase is Phase.GONE and job.cause is not None and not evidence.began:
        return Diagnosis(job.cause, job.reason)
    cause = life.cause if life else None
    if cause is None and job.phase is Phase.ENDED and (life is None or life is job.lives[-1]):
        cause = job.cause  # accounting lags behind the queue
    if cause is not None:
        return Diagnosis(cause, _sentence(cause, evidence, life, job))
    if evidence.exit_code == exit_codes.STOPPED or evidence.reason == Reason.STOPPED:
        return Diagnosis(Reason.STOPPED, evidence.message or "asked to stop; goes on from its checkpoint")
    words = evidence.job_log.strip()
    if job.phase is Phase.GONE and not evidence.began and (not words or "CANCELLED AT" in words):
        return Diagnosis(Reason.CANCELLED, f"job {job.ticket.job_id} was cancelled before it began")
    return None


def _sentence(reason: Reason, evidence: Evidence, life: Life | None, job: Job) -> str:
    name = f"job {job.ticket.job_id}"
    where = f" on {life.nodes}" if life and life.nodes else ""
    minutes = f" after {life.elapsed_s / 60:.0f} min" if life and life.elapsed_s else ""
    return {
        Reason.HOST_OOM: f"{name} used more memory than it was given{where}",
        Reason.NODE_FAILURE: f"{name}: the node failed{where}",
        Reason.PREEMPTED: f"{name} was preempted{where}{minutes}",
        Reason.TIMEOUT: f"{name} reached its time limit{minutes}",
        Reason.CANCELLED: f"{name} was cancelled{minutes if evidence.began else ' before it began'}",
        Reason.STOPPED: f"{name} was requeued{minutes}",
    }[reason]


def _cluster_words(job_log: str, on_gpu: bool) -> Failure | None:
    found = read_failure(job_log, on_gpu=on_gpu)
    return found if found is not None and found.reason is not Reason.CODE_ERROR else None


def _by_words(failure: Failure | None) -> Diagnosis | None:
    if failure is None:
        return None
    return Diagnosis(failure.reason, failure.message, traceback=failure.traceback, fingerprint=failure.fingerprint)


def _bare(evidence: Evidence, life: Life | None) -> Diagnosis:
    """Nothing was said: what the exit alone tells."""
    job = evidence.job
    end = job.exit if job is not None and job.exit is not None else life.exit if life else None
    if evidence.exit_code is not None:
        code = evidence.exit_code
        end = Exit.of(code)
    killed = end.killed_by if end is not None else None
    if end is not None and end.code == killed and not evidence.began and killed not in KILLS:
        killed = None  # of a set-up line, which may end with any code, rather than a signal that sacct has shortened
    if evidence.asked and (killed in STOP_SIGNALS or end is None or not evidence.began):
        return Diagnosis(Reason.STOPPED, "asked to stop before it listened; goes on from its checkpoint")
    if killed is not None:
        return Diagnosis(Reason.KILLED, f"killed by {signal_name(killed)}; nothing says by whom")
    if not evidence.began and evidence.watched:
        return Diagnosis(Reason.LOST, _why_left(evidence) or "its job ended before it began this run")
    if not evidence.began and (job is None or job.phase is not Phase.UNKNOWN):
        lines = [line.strip() for line in evidence.job_log.splitlines() if line.strip()]
        last = [line for line in lines if not line.startswith(SUBMITIT)]
        if not last and (end is None or lines):  # a Python that fails by itself leaves words, one that is killed not
            return Diagnosis(Reason.LOST, "its job ended before it said a word; nothing says why")
        exit_text = f" (exit code {end.code})" if end and end.code else ""
        return Diagnosis(
            Reason.NOT_STARTED,
            f"ended before Python started{exit_text}: {last[-1][:300] if last else 'its log is empty'}",
        )
    if evidence.exit_code == exit_codes.STOPPED or evidence.reason == Reason.STOPPED:
        return Diagnosis(Reason.STOPPED, evidence.message or "asked to stop; goes on from its checkpoint")
    if end is not None and end.code:
        return Diagnosis(Reason.CODE_ERROR, f"exit code {end.code} without a word", fingerprint=f"exit-{end.code}")
    if end is not None and (job is None or job.phase is Phase.ENDED or evidence.exit_code == 0):
        return Diagnosis(Reason.CODE_ERROR, "exit code 0 without a result", fingerprint="exit-0")
    return Diagnosis(Reason.LOST, "its process is gone and nothing says why")


def _why_left(evidence: Evidence) -> str:
    """Return what a worker said of a run that it did not start, "" if nothing."""
    mark = f"{'/'.join(evidence.folder.split('/')[-3:])}: not started: "
    return next((line.partition(mark)[2] for line in evidence.job_log.splitlines() if mark in line), "")


def grouped(diagnoses: Iterable[tuple[str, Diagnosis]]) -> list[tuple[Diagnosis, list[str]]]:
    """Return failures that are the same one once, with the names of the runs it happened to, the commonest first."""
    groups: dict[tuple[Reason, str], tuple[Diagnosis, list[str]]] = {}
    for name, diagnosis in diagnoses:
        key = (diagnosis.reason, diagnosis.fingerprint)
        groups.setdefault(key, (diagnosis, []))[1].append(name)
    return sorted(groups.values(), key=lambda group: -len(group[1]))
