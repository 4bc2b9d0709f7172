"""Why a run ended: exceptions to the reasons that status.json names."""

from __future__ import annotations

import errno
import traceback

from agent.device import DeviceError
from agent.envs.base import EnvironmentFault, EnvironmentUnavailable
from agent.record import RecordError

GPU_MEMORY = (
    "RESOURCE_EXHAUSTED",
    "Out of memory while trying to allocate",
    "Failed to allocate request for",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "Failed to determine best cudnn convolution algorithm",
)


def reason_of(error: BaseException) -> tuple[str, str]:
    """Return the reason's name and one line about an exception.

    Names: gpu_oom, host_oom, disk_full, environment, nan, device, record, cancelled, code_error.
    """
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if any(text in str(error) for text in GPU_MEMORY):
        return "gpu_oom", message
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full", message
    reasons: list[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = [
        (MemoryError, "host_oom"),
        ((EnvironmentUnavailable, EnvironmentFault), "environment"),
        (FloatingPointError, "nan"),
        (DeviceError, "device"),
        (RecordError, "record"),
        (KeyboardInterrupt, "cancelled"),
    ]
    for kind, name in reasons:
        if isinstance(error, kind):
            return name, message
    frame = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    place = f" ({frame.filename.rsplit('/', 1)[-1]}:{frame.lineno})" if frame else ""
    return "code_error", f"{type(error).__name__}: {message}{place}"
