"""The typed records that the harness keeps in a study's hidden folder: launches, packs, jobs, pools, requests."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from agent.contract.records import Count, ProcessIdentity, Record, Seconds

Name = Annotated[str, Field(min_length=1)]


class ProfileRecord(Record):
    """A cluster profile as it was at the launch; the keys that are not named here are `profiles.Profile`'s."""

    kind: Name
    name: str = ""
    gpus: Count | Literal["auto"] | None = 0
    walltime_min: Count = 0
    scratch: str | None = ""
    env: dict[str, str] = Field(default_factory=dict[str, str])


class PackPart(Record):
    """One job of a launch: its runs (`TASK/METHOD/seed-K`), and how it trains them.

    `train` is the command that trains each of them, empty for our own agent.
    """

    runs: Annotated[list[Name], Field(min_length=1)]
    mode: Literal["vmap", "process"]
    processes: Count = 1
    prealloc: bool = True
    mem_fraction: float | None = None
    compilation_cache: str | None = "auto"
    train: list[Name] = Field(default_factory=list[str])


class LaunchRecord(Record):
    """launch.json, written before anything is submitted and never changed.

    `jobs_at_once` is the size of the launch's own pool, None where a cluster has the queue.
    """

    always = ("grid", "tree", "jobs_at_once")
    id: Name
    name: Name
    created: Seconds
    code: Name
    profile: ProfileRecord
    packs: list[PackPart]
    grid: str = ""
    tree: dict[str, Any] = Field(default_factory=dict[str, Any])
    jobs_at_once: Count | None = None


class PackRecord(PackPart):
    """packs/K.json: what the worker of job K needs."""

    number: Count
    job_name: str
    code: Name
    profile: ProfileRecord


class ArrayRecord(Record):
    """One sbatch: the jobs' unique name, when it was called, and the numbers of its jobs."""

    name: Name
    submitted: Seconds
    numbers: list[Count]


class JobsRecord(Record):
    """jobs.json: the cluster's ids of jobs by their number, and what was handed to sbatch, answered or not."""

    jobs: dict[int, Name]
    arrays: list[ArrayRecord]


class CancelRecord(Record):
    """cancel/K.json: the runs of a job that are to stop."""

    runs: list[str]


class PoolJob(Record):
    """A job of a local pool; `exit_code` is its worker's, `ended` when the pool saw its end."""

    state: Literal["queued", "running", "ended", "left"]
    job_id: str | None = None
    started: Seconds | None = None
    cores: list[Count] = Field(default_factory=list[int])
    gpu: Count | None = None
    ended: Seconds | None = None
    exit_code: int | None = None


class PoolRecord(ProcessIdentity):
    """pool.json: the pool's process, its heartbeat, its jobs by their number, and when it was told to stop."""

    beat: Seconds
    jobs: dict[int, PoolJob]
    others: Count = 0
    stopping: Seconds | None = None
    ended: Seconds | None = None


class AnswerRecord(Record):
    """answer.json: when Slurm last answered for the study in full."""

    time: Seconds
