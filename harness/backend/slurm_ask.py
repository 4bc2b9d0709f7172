"""What Slurm knows of our jobs: one squeue and one sacct call for all of them, and what their answers mean.

A query that fails says nothing about a job: the last known snapshot stays, with its age. Everything is asked in UTC and
without the user's own SQUEUE_*, SACCT_* and SCANCEL_* settings.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from harness.backend.base import Answer, Job, Phase, Ticket
from harness.backend.slurm_call import SlurmError, call
from harness.backend.slurm_rows import ACCT_FIELDS, AcctRow, QueueRow, queue_format, read_sacct, read_squeue

GRACE_S = 30.0  # accounting lags up to 5 s behind, and a fresh job may be in neither answer for a moment
REFUSED = "Batch job submission failed"  # what sbatch says of a refusal, and with one of the following words of doubt
# What sbatch says when slurmctld may have taken the jobs all the same; every other failure is a refusal.
IN_DOUBT = (
    "timed out", "Unable to contact slurm controller", "Zero Bytes were transmitted", "connection failure",
    "Transport endpoint is not connected", "Connection reset", "Connection refused", "Could not make sense of sbatch",
)  # fmt: skip
NO_ACCOUNTING = "accounting storage is disabled"


def query(tickets: Iterable[Ticket], last: Answer | None = None) -> Answer:
    """Ask Slurm for all jobs at once and return what it knows; on failure the last snapshot, with the error in it."""
    wanted = {ticket.job_id: ticket for ticket in tickets}
    now = time.time()
    if not wanted:
        return Answer(now, {})
    ids = sorted({job_id.partition("_")[0] for job_id in wanted}, key=int)
    try:
        queue = read_squeue(_squeue(ids))
    except SlurmError as error:
        return _unanswered(wanted, last, str(error), now)
    try:
        accounts = read_sacct(_sacct(ids))
    except SlurmError as error:
        if NO_ACCOUNTING in str(error):
            return Answer(now, merge(wanted, queue, [], last, now), accounting=False)
        return Answer(now, merge(wanted, queue, None, last, now), str(error), accounting=False)
    return Answer(now, merge(wanted, queue, accounts, last, now))


def _unanswered(wanted: Mapping[str, Ticket], last: Answer | None, error: str, now: float) -> Answer:
    if last is None:
        return Answer(now, {job_id: Job(ticket, Phase.UNKNOWN) for job_id, ticket in wanted.items()}, error)
    jobs = {job_id: last.jobs.get(job_id) or Job(ticket, Phase.UNKNOWN) for job_id, ticket in wanted.items()}
    return replace(last, jobs=jobs, error=error)


# ---- asking --------------------------------------------------------------------------------------------------------


def _squeue(ids: Sequence[str]) -> str:
    options = ["--array", "--states=all", "--noheader", f"--jobs={','.join(ids)}", f"--Format={queue_format()}"]
    try:
        return call(["squeue", *options])
    except SlurmError as error:
        if "Invalid job id specified" in str(error):  # what squeue says of a single id that it has forgotten
            return ""
        raise


def _sacct(ids: Sequence[str]) -> str:
    options = ["--parsable2", "--duplicates", f"--jobs={','.join(ids)}", f"--format={','.join(ACCT_FIELDS)}"]
    return call(["sacct", *options])


def find_by_name(name: str, patience_s: float = 0.0) -> list[str]:
    """Return the ids of the jobs with this name (array ids, without index), after an sbatch that did not answer.

    Asks until something is found or `patience_s` has passed: an accepted job may show late. A job that Slurm refused is
    kept by it as failed, though it never had a node, and is not among them.
    Raises: SlurmError when Slurm cannot be asked, in which case nothing may be submitted again.
    """
    until = time.monotonic() + patience_s
    while True:
        queue = call(["squeue", "--states=all", "--noheader", f"--name={name}", "--format=%F|%T|%r"])
        found = {job for job, *end in _cells(queue) if end != ["FAILED", "BadConstraints"]}
        try:
            options = ["-X", "--noheader", "--parsable2", "--starttime=now-7days", f"--name={name}"]
            accounts = call(["sacct", *options, "--format=JobID,State,NodeList"])
            found |= {job.partition("_")[0] for job, *end in _cells(accounts) if end != ["FAILED", "None assigned"]}
        except SlurmError as error:
            if NO_ACCOUNTING not in str(error):
                raise
        if found or time.monotonic() >= until:
            return sorted(found, key=int)
        time.sleep(1.0)


def _cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.strip()]


def cancel(job_ids: Sequence[str], *, gently: bool = False) -> None:
    """Cancel jobs or array elements; those that have ended already are no error. SlurmError when Slurm refuses.

    `gently` only sends SIGTERM to a running job's worker, which then has all the time it needs for checkpoints: plain
    scancel kills after KillWait, 30 seconds on most clusters.
    """
    options = ["--batch", "--signal=TERM"] if gently else []
    for first in range(0, len(job_ids), 500):
        try:
            call(["scancel", *options, *job_ids[first : first + 500]])
        except SlurmError as error:
            if "Invalid job id" not in str(error) and "already completing or completed" not in str(error):
                raise


def max_array_size() -> int:
    """Return the cluster's MaxArraySize: indices of an array must stay below it."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", call(["scontrol", "show", "config"]), re.MULTILINE)
    if match is None:
        raise SlurmError("scontrol show config does not name MaxArraySize")
    return int(match[1])


# ---- merging -------------------------------------------------------------------------------------------------------


def merge(
    wanted: Mapping[str, Ticket],
    queue: Sequence[QueueRow],
    accounts: Sequence[AcctRow] | None,
    last: Answer | None,
    now: float,
) -> dict[str, Job]:
    """Return each wanted job from both answers: squeue decides whether it lives, sacct adds its lives and its end.

    `accounts` is None where sacct did not answer: then a job that squeue has forgotten is unknown, not gone.
    """
    rows = {row.id: row for row in queue if _ours(wanted.get(row.id), row.name, row.submit)}
    lives: dict[str, list[AcctRow]] = {}
    for account in accounts or ():
        if _ours(wanted.get(account.id), account.name, account.submit):
            lives.setdefault(account.id, []).append(account)
    jobs: dict[str, Job] = {}
    for job_id, ticket in wanted.items():
        before = last.jobs.get(job_id) if last else None
        known = sorted(lives.get(job_id, []), key=lambda row: row.life.start or float("inf"))
        jobs[job_id] = _merge_one(ticket, rows.get(job_id), known, accounts is not None, before, now)
    return jobs


def _ours(ticket: Ticket | None, name: str, submit: float | None) -> bool:
    if ticket is None:
        return False
    if name == "allocation":  # accounting's word for a job that was cancelled before it began: only its time is left
        return submit is not None and submit > ticket.submitted - 60
    return bool(name) and ticket.name.startswith(name) and len(name) >= min(len(ticket.name), 120)


def _merge_one(
    ticket: Ticket, row: QueueRow | None, accounts: Sequence[AcctRow], complete: bool, before: Job | None, now: float
) -> Job:
    lives = tuple(account.life for account in accounts)
    alive_at = before.alive_at if before else None
    job = Job(ticket, Phase.UNKNOWN, restarts=max(0, len(lives) - 1), lives=lives, alive_at=alive_at)
    if row is not None:
        job = replace(job, phase=row.phase, cause=row.cause, reason=row.reason, restarts=row.restarts)
        return replace(job, exit=row.exit) if row.phase is Phase.ENDED else replace(job, alive_at=now)
    if lives:
        job = replace(job, cause=lives[-1].cause, reason=accounts[-1].reason, exit=lives[-1].exit)
        if accounts[-1].phase in (Phase.ENDED, Phase.UNKNOWN):
            return replace(job, phase=accounts[-1].phase)
    if not complete:
        return replace(job, phase=before.phase) if before else job
    if now - max(ticket.submitted, alive_at or 0.0) < GRACE_S:
        return job
    return replace(job, phase=Phase.GONE, cause=None, reason="")
