"""What a cluster is to the harness, one small interface, and what is known of a job in words that all clusters share.

Another cluster is a file with a `Backend`, and a row in `registry.BACKENDS`. Its jobs tell their worker the rest by
the variables of `agent.contract.variables`, and send it SIGUSR2 before their time is up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agent.contract.lease import Lease
from agent.contract.reasons import Reason
from agent.contract.records import write_record
from harness.study import packing
from harness.study.folder import Launch
from harness.study.profiles import Profile
from harness.study.records import ArrayRecord, JobsRecord

OOM_SIGNAL = 125  # Slurm's own mark of an out-of-memory kill
SHORTENED = frozenset({6, 7, 9, 11, 15})  # no program of ours exits with these codes by itself


class ClusterError(Exception):
    """A cluster failed or did not answer; the message names the program that was asked, and what it said."""


class Phase(StrEnum):
    """Where a job is, as far as its cluster can be asked."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    GONE = "gone"  # the cluster answered, and knows no such job
    UNKNOWN = "unknown"  # it did not answer, or cannot know yet


@dataclass(frozen=True)
class Exit:
    """How a job or step ended: exit code and signal."""

    code: int
    signal: int

    @classmethod
    def of(cls, returncode: int) -> Exit:
        """Return the end of a process of this machine, whose return code is negative for a signal."""
        return cls(0, -returncode) if returncode < 0 else cls(returncode, 0)

    @property
    def killed_by(self) -> int | None:
        """The signal that ended it: as a signal, as a shell's 128 + signal, or as sacct shortens that (137 to 9)."""
        if self.signal:
            return None if self.signal == OOM_SIGNAL else self.signal
        if 128 < self.code < 160:
            return self.code - 128
        return self.code if self.code in SHORTENED else None


@dataclass(frozen=True)
class Life:
    """One allocation of a job; a requeued job has had several. `cause` is what the cluster did to it."""

    cause: Reason | None = None
    exit: Exit | None = None
    start: float | None = None
    end: float | None = None
    elapsed_s: int = 0
    nodes: str = ""


@dataclass(frozen=True)
class JobRef:
    """Which job a run was given to: launch, number in it, and the cluster's id once there is one.

    A job that was not submitted counts only for a run that no other has had: how a run ended is not forgotten for it.
    """

    launch: Launch
    number: int
    job_id: str | None

    @property
    def key(self) -> str:
        """What its cluster's answer calls it."""
        return self.job_id or f"{self.launch.id}/{self.number}"


@dataclass(frozen=True)
class Ticket:
    """What a submission left behind: the id of one array element or job, its unique name, and when (unix seconds).

    Ids start again when a cluster is set up anew; the name tells a later job of the same id apart.
    """

    job_id: str
    name: str
    submitted: float


@dataclass(frozen=True)
class Job:
    """One array element or job: its phase, what the cluster did to end it, and its lives, the latest last.

    `reason` is why it waits, or why it will never begin, in the cluster's words; `told` when it was asked to stop.
    """

    ticket: Ticket
    phase: Phase
    cause: Reason | None = None
    reason: str = ""
    exit: Exit | None = None
    restarts: int = 0
    lives: tuple[Life, ...] = ()
    alive_at: float | None = None  # when the cluster last listed it as waiting or running
    told: float | None = None


@dataclass(frozen=True)
class Answer:
    """All asked jobs as their cluster last told them, at `time`; `error` says why it has now told nothing, or a part.

    `accounting` is False where the past was not told: phases are still true, but ends may lack their details.
    """

    time: float
    jobs: Mapping[str, Job]
    error: str | None = None
    accounting: bool = True

    def of(self, ref: JobRef) -> Job | None:
        """Return what is known of a job, None where it was never submitted.

        Where a later launch has a job of the same id, because ids have started again since, ours is gone.
        """
        job = self.jobs.get(ref.key)
        if job is None or job.ticket.name.startswith(f"{ref.launch.data.name}-"):
            return job
        return Job(job.ticket, Phase.GONE)


def write_jobs(launch: Launch, jobs: dict[int, str], arrays: Sequence[ArrayRecord]) -> None:
    """Record the cluster's ids of a launch's jobs."""
    write_record(launch.folder / "jobs.json", JobsRecord(jobs=jobs, arrays=list(arrays)))


class Backend(ABC):
    """A kind of cluster: what the commands ask of it. All of it but `submit` leaves the study as it is."""

    title: str  # as a sentence names it
    here = False  # whether its jobs run on this machine
    ask_every_s = 30.0

    def check(self, profile: Profile, runs: Path, *, look: bool) -> None:  # noqa: B027 - what most clusters need not do
        """Raise ConfigError where this machine cannot submit jobs for studies in this folder, only `look` at them."""

    def default_jobs(self, profile: Profile) -> int | None:
        """Return how many jobs of a launch its own pool runs at once; None where the cluster has the queue."""
        return None

    def gpu_memory_gb(self, profile: Profile) -> float | None:
        """Return the memory of the GPU that a job gets in GiB, None without one or where it is not known."""
        return packing.gpu_memory_gb(profile) if profile.gpus else None

    def most_hours(self, profile: Profile, jobs: int) -> float | None:
        """Return the device-hours that so many jobs can take at most, None where nothing bounds them."""
        return jobs * profile.walltime_min / 60 * (int(profile.gpus) if profile.gpus not in (0, "auto") else 1)

    @abstractmethod
    def describe(self, profile: Profile, name: str, jobs: int, at_once: int | None) -> str:
        """Return in one line what so many jobs will be given."""

    @abstractmethod
    def submit(self, launch: Launch, profile: Profile, lease: Lease) -> None:
        """Hand over a launch's jobs while the study's lease is held; SubmissionError where they are not taken."""

    def recover(self, launch: Launch) -> None:  # noqa: B027 - what most clusters need not do
        """Look for the jobs of a launch whose submission was interrupted, and record those that are there.

        Raises: SubmissionError where that cannot be known.
        """

    @abstractmethod
    def ask(self, refs: Sequence[JobRef], last: Answer | None) -> Answer:
        """Return what is known of jobs, in one question for all; on failure the last answer with the error in it."""

    def cancel(self, job_ids: Sequence[str], *, gently: bool) -> None:  # noqa: B027 - what most clusters need not do
        """End jobs whose runs were all asked to stop, `gently` those that have to write a checkpoint first.

        Raises: ClusterError where it refuses.
        """

    @abstractmethod
    def handed_to(self, launch: Launch) -> str:
        """Return who has a launch's jobs now, in the words of a sentence."""

    @abstractmethod
    def log_files(self, launch: Launch, job_id: str) -> list[Path]:
        """Return the files of a job's own output: its cluster's words, and those of a worker that could not start."""

    def lives(self, launch: Launch) -> bool:
        """Return whether a pool of the launch's own is at work: a command may stay with it to its end."""
        return False

    def stop(self, launch: Launch) -> None:  # noqa: B027 - what most clusters need not do
        """Ask a launch's own pool to stop."""
