"""The environment of a job's processes: JAX's memory and platform, rendering device, threads; set before JAX starts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.contract.files import RecordError
from agent.contract.run_folder import RunDir, read_result
from agent.contract.variables import CPUS, JOB_ID, POOL_FRACTION, RESTARTS, WORKER
from agent.contract.words import ConfigError
from harness.study.credentials import resolve
from harness.study.packing import memory_fraction
from harness.study.records import PackRecord

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Gpu:
    """The GPU a job was given: its index for CUDA, kind, and whole memory in GiB."""

    index: str
    kind: str
    memory_gb: float


class EnvironmentFault(Exception):
    """The job did not get what its plan says; the message is one sentence."""


def job_id() -> str:
    """Return the id of the job this process runs in as its cluster calls it, `local-PID` in the local pool."""
    return os.environ.get(JOB_ID) or f"local-{os.environ.get('SUBMITIT_LOCAL_JOB_ID', os.getpid())}"


def restarts() -> int:
    """Return how often the cluster has queued this job again."""
    return int(os.environ.get(RESTARTS) or 0)


def find_gpu() -> Gpu | None:
    """Return the first GPU that CUDA would show this job, None when nvidia-smi knows of none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "":
        return None
    index = (visible or "0").split(",")[0]
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits", "-i", index]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        name, memory = answer.splitlines()[0].rsplit(",", 1)
        return Gpu(index, name.strip(), int(memory) / 1024)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def count_gpus() -> int:
    """Return the number of GPUs on this machine that CUDA would show this process."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([part for part in visible.split(",") if part])
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return answer.stdout.count("GPU ") if answer.returncode == 0 else 0


def cores() -> list[int]:
    """Return the CPU cores this process may use: its slot of the local pool, its job's, or the machine's."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    slot = [int(part) for part in os.environ.get(CPUS, "").split(",") if part]
    return [core for core in slot if core in allowed] or allowed


def share(items: list[int], parts: int, part: int) -> list[int]:
    """Return the part-th of `parts` nearly equal shares of the items; with fewer items than parts, one each in turn."""
    if len(items) < parts:
        return [items[part % len(items)]]
    return items[part * len(items) // parts : (part + 1) * len(items) // parts]


def process_environment(
    pack: PackRecord, gpu: Gpu | None, process: int, cache: Path | None, base: Mapping[str, str]
) -> dict[str, str]:
    """Return the whole environment of one of a pack's processes; without a cache they keep nothing they compile.

    Raises: EnvironmentFault when the plan promises a GPU and the job has none, or a secret is not to be found.
    """
    try:
        environ = {**base, **resolve(pack.profile.env, base)}
    except ConfigError as error:
        raise EnvironmentFault(f"job {job_id()}: {error}") from error
    environ |= {JOB_ID: job_id(), WORKER: "1"}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [pack.code, base.get("PYTHONPATH")]))
    mine = share(cores(), pack.processes, process)
    environ |= {name: str(len(mine)) for name in THREADS}
    environ["PYTHONUNBUFFERED"] = "1"
    if pack.compilation_cache == "auto":
        environ |= {"JAX_COMPILATION_CACHE_DIR": str(cache)} if cache else {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"  # else the folder's path is part of every entry's key
    for name in ("XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION", POOL_FRACTION):
        environ.pop(name, None)
    if not pack.profile.gpus:
        return environ | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    environ["JAX_PLATFORMS"] = "cuda,cpu"  # the first is used and must start; the second serves the host's own arrays
    if gpu is None:
        raise EnvironmentFault(
            f"job {environ[JOB_ID]} was planned with {pack.profile.gpus} GPU, but nvidia-smi shows none here "
            f"(CUDA_VISIBLE_DEVICES={base.get('CUDA_VISIBLE_DEVICES', 'not set')})"
        )
    environ.setdefault("MUJOCO_GL", "egl")
    environ["MUJOCO_EGL_DEVICE_ID"] = gpu.index if gpu.index.isdigit() else "0"
    if pack.prealloc and not pack.mem_fraction:
        fraction = f"{memory_fraction(pack.processes, gpu.memory_gb):.4f}"
        environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "true"
        environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = environ[POOL_FRACTION] = fraction
    return environ


def finished(run: RunDir) -> bool:
    """Return whether a run is complete; one whose result is damaged or another's is not."""
    try:
        return read_result(run) is not None
    except RecordError:
        return False
