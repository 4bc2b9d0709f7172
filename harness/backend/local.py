"""This machine as a backend: each launch has a pool, a process of its own, that says in pool.json what it is doing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from agent.contract.lease import Lease
from agent.contract.reasons import Reason
from harness.backend import pool
from harness.backend.base import Answer, Backend, Exit, Job, JobRef, Life, Phase, Ticket
from harness.command import counted
from harness.job.allocation import find_gpu
from harness.study.folder import Launch, check_held
from harness.study.profiles import Profile
from harness.study.records import PoolJob, PoolRecord

PREFIX = "local-"  # of a job's id, whose rest is its process's


class Local(Backend):
    """A bounded pool on this machine."""

    title = "the local pool"
    here = True
    ask_every_s = 2.0

    def default_jobs(self, profile: Profile) -> int:
        """Return the profile's word, else one job per GPU or per two cores."""
        return profile.jobs or pool.default_jobs(int(profile.gpus))

    def gpu_memory_gb(self, profile: Profile) -> float | None:
        """Return the memory of this machine's GPU, unless the profile says another."""
        if not profile.gpus or profile.gpu_mem_gb is not None:
            return super().gpu_memory_gb(profile)
        gpu = find_gpu()
        return gpu.memory_gb if gpu else None

    def most_hours(self, profile: Profile, jobs: int) -> None:
        """Return nothing: no pool ends a job for its time."""

    def describe(self, profile: Profile, name: str, jobs: int, at_once: int | None) -> str:
        """Return how many jobs run at once, and on what."""
        slots = pool.make_slots(at_once or 1, int(profile.gpus))
        gpus = counted(int(profile.gpus), "GPU") if profile.gpus else "no GPU"
        return f"at once: {len(slots)}, each on {counted(len(slots[0].cores), 'core')}; {gpus}"

    def submit(self, launch: Launch, profile: Profile, lease: Lease) -> None:
        """Start the pool."""
        check_held(lease)
        pool.start(launch)

    def ask(self, refs: Sequence[JobRef], last: Answer | None) -> Answer:
        """Read what the pools last wrote."""
        launches = {ref.launch.id: ref.launch for ref in refs}
        states = {name: pool.read_pool(launch.folder) for name, launch in launches.items()}
        return Answer(time.time(), {ref.key: _job(ref, states[ref.launch.id]) for ref in refs})

    def handed_to(self, launch: Launch) -> str:
        """Return the size of the pool."""
        return f"pool of {launch.data.jobs_at_once} at once"

    def log_files(self, launch: Launch, job_id: str) -> list[Path]:
        """Return the files that submitit writes."""
        return [launch.folder / "submitit" / f"{job_id.removeprefix(PREFIX)}_0_log.{kind}" for kind in ("out", "err")]

    def lives(self, launch: Launch) -> bool:
        """Return whether the pool is at work."""
        state = pool.read_pool(launch.folder)
        return state is not None and pool.is_alive(state)

    def stop(self, launch: Launch) -> None:
        """Ask a pool on this machine to stop: its runs write their checkpoints, the others are left."""
        state = pool.read_pool(launch.folder)
        if state is not None:
            pool.ask_to_stop(state)


def _job(ref: JobRef, state: PoolRecord | None) -> Job:
    """Return what a pool says of one of its jobs; what it has not begun ends with it."""
    said = (state.jobs.get(ref.number) if state else None) or PoolJob(state="queued")
    ticket = Ticket(said.job_id or "", f"{ref.launch.data.name}-{ref.number}", ref.launch.data.created)
    told = state.stopping if state else None
    if said.state == "ended":
        end = Exit.of(said.exit_code) if said.exit_code else None  # it is 0 whatever became of the worker below it
        lives = (Life(exit=end, start=said.started, end=said.ended),) if said.started else ()
        return Job(ticket, Phase.ENDED, exit=end, lives=lives, told=told)
    if pool.is_alive(state) if state else pool.may_live(ref.launch):
        full = f"other pools have jobs running here: {state.others}" if state and state.others else ""
        return Job(ticket, Phase.RUNNING) if said.state == "running" else Job(ticket, Phase.WAITING, reason=full)
    if said.state == "left" or told is not None:
        return Job(ticket, Phase.GONE, Reason.STOPPED, "its pool was stopped before it began", told=told)
    return Job(ticket, Phase.GONE, Reason.LOST, "its pool is gone")
