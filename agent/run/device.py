"""Platform, memory and cache settings of JAX: put in the environment before JAX starts, verified after."""

from __future__ import annotations

import os
import sys

from agent.contract.config import Config
from agent.contract.ownership import cache_home, opened
from agent.contract.variables import POOL_FRACTION

TOLERANCE = 0.02
OFF = "JAX_ENABLE_COMPILATION_CACHE"
NO_GPU = "install its CUDA packages (make venv EXTRAS=cuda12), or train on the CPU (jax.platform=cpu, cluster.gpus=0)"


class DeviceError(RuntimeError):
    """The device is not what was asked for; the message is one sentence."""


def configure(config: Config) -> None:
    """Set JAX's environment variables from the configuration; must run before JAX is imported.

    What the job's environment already says is kept: the harness sets memory from its plan.
    """
    environ = os.environ
    if config.jax.platform != "auto":
        environ["JAX_PLATFORMS"] = config.jax.platform
    environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "true" if config.jax.prealloc else "false")
    if config.jax.mem_fraction and not ({"XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION"} & set(environ)):
        environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{config.jax.mem_fraction:.4f}"
    environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if config.jax.compilation_cache not in ("auto", "off"):
        environ.setdefault("JAX_COMPILATION_CACHE_DIR", config.jax.compilation_cache)
    elif config.jax.compilation_cache == "auto" and not ({"JAX_COMPILATION_CACHE_DIR", OFF} & environ.keys()):
        _use_default_cache()
    environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    if config.jax.debug_nans:
        environ["JAX_DEBUG_NANS"] = "true"


def _use_default_cache() -> None:
    """Let JAX keep what it compiles in the user's cache folder; where that cannot be, nothing is kept."""
    try:
        base = cache_home()
        with opened(base, "harmony-bench", "xla"):
            os.environ["JAX_COMPILATION_CACHE_DIR"] = str(base / "harmony-bench" / "xla")
    except OSError as error:
        print(f"no compilation cache: {error}", file=sys.stderr)
        os.environ[OFF] = "false"


def describe() -> str:
    """Return the kind of the device in use, such as `cpu` or `NVIDIA H100 80GB HBM3`.

    Raises DeviceError when JAX cannot start on the platform asked for, or has silently taken the next one.
    """
    import jax

    asked = os.environ.get("JAX_PLATFORMS", "")
    try:
        device = jax.devices()[0]
    except (RuntimeError, AssertionError) as error:  # an assertion where JAX has no plugin for the only platform asked
        reason = str(error).splitlines()[0] if str(error) else f"JAX_PLATFORMS={asked}"
        raise DeviceError(f"JAX found no device ({reason}); {NO_GPU}") from error
    if asked.split(",")[0] in ("cuda", "gpu") and jax.default_backend() == "cpu":
        raise DeviceError(f"JAX was asked for a GPU (JAX_PLATFORMS={asked}) and found only the CPU; {NO_GPU}")
    return device.device_kind


def is_cpu() -> bool:
    """Return whether JAX computes on the CPU."""
    import jax

    return jax.default_backend() == "cpu"


def verify_pool() -> None:
    """Check that the memory pool is the share of the GPU that the job's plan promised.

    Raises DeviceError with promised and found sizes in GiB.
    """
    import jax

    promised = os.environ.get(POOL_FRACTION)
    stats = jax.devices()[0].memory_stats() or {}
    if promised is None or jax.default_backend() == "cpu" or "bytes_limit" not in stats:
        return
    total = _total_memory()
    found, wanted = stats["bytes_limit"], float(promised) * total
    if total and abs(found - wanted) > TOLERANCE * total:
        raise DeviceError(
            f"this job was promised {wanted / 2**30:.1f} GiB of GPU memory ({promised} of {total / 2**30:.0f}), but "
            f"JAX's pool has {found / 2**30:.1f} GiB; is XLA_PYTHON_CLIENT_MEM_FRACTION set in the job's environment?"
        )


def _total_memory() -> int:
    """Return the memory of the first visible GPU in bytes, 0 when nvidia-smi cannot tell."""
    import subprocess

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits", "-i", visible]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return int(answer.stdout.split()[0]) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 0


def replay_fits(config: Config, nbytes: int) -> bool:
    """Return whether the replay of a pack is kept on the device: as asked, or when it takes less than half of it."""
    import jax

    if config.replay.store != "auto":
        return config.replay.store == "device"
    if jax.default_backend() == "cpu":
        return True
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0)
    return nbytes < limit / 2
