"""The reasons for which attempts end, as status.json and attempt.json name them, and the words of full GPU memory.

Imports neither JAX nor an environment.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why an attempt of a run ended: the run says it in status.json, or the harness finds it out."""

    DONE = "done"
    STOPPED = "stopped"  # asked to stop: checkpointed, goes on where it was
    PREEMPTED = "preempted"
    TIMEOUT = "timeout"
    GPU_OOM = "gpu_oom"
    HOST_OOM = "host_oom"
    NODE_FAILURE = "node_failure"
    CANCELLED = "cancelled"
    DISK_FULL = "disk_full"
    ENVIRONMENT = "environment"
    DEVICE = "device"
    RECORD = "record"
    CHECKPOINT = "checkpoint"  # files of checkpoints lie there, and none can be used
    DAMAGED = "damaged"  # a file of the run says nothing, or what cannot be
    NAN = "nan"
    CODE_ERROR = "code_error"
    WRONG_INPUT = "wrong_input"
    NOT_STARTED = "not_started"  # the job ended before Python began
    KILLED = "killed"
    LOST = "lost"  # nobody can say


GPU_MEMORY = (  # XLA, CUDA, cuDNN and cuBLAS: the last two fail to start where memory is short
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
