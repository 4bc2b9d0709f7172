"""A place in the local pool, and the job that is started on it through submitit."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import Protocol, cast

from agent.contract.variables import CPUS, ENDS_AT, JOB_ID, QUEUE_AGAIN, RESTARTS
from harness.job.worker import run_pack
from harness.study.folder import Launch

NEVER_MIN = 60 * 24 * 365
OUTER = (JOB_ID, RESTARTS, ENDS_AT, QUEUE_AGAIN)  # of a job that the pool itself was started in


class LocalJob(Protocol):
    """The part of submitit's local job that the pool uses."""

    job_id: str
    _process: subprocess.Popen[bytes]

    def done(self) -> bool:
        """Return whether its process has ended."""
        ...


@dataclass(frozen=True)
class Slot:
    """A place in the local pool: its CPU cores and its GPU."""

    cores: tuple[int, ...]
    gpu: int | None


def start_here(launch: Launch, number: int, slot: Slot) -> LocalJob:
    """Start a job on this machine, on the slot's cores and GPU; it outlives the caller."""
    import submitit

    executor = submitit.LocalExecutor(launch.folder / "submitit")
    gpus = () if slot.gpu is None else (slot.gpu,)
    executor.update_parameters(timeout_min=NEVER_MIN, gpus_per_node=len(gpus), visible_gpus=gpus)  # pyright: ignore[reportUnknownMemberType]
    for name in OUTER:
        os.environ.pop(name, None)
    os.environ[CPUS] = ",".join(map(str, slot.cores))
    try:
        return cast("LocalJob", executor.submit(run_pack, str(launch.pack_file(number))))
    finally:
        del os.environ[CPUS]


def exit_code(job: LocalJob) -> int | None:
    """Return how the process of a local job ended, negative for a signal; submitit has no word for it."""
    return job._process.poll()  # pyright: ignore[reportPrivateUsage]
