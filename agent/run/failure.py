"""Why a run ended: exceptions to the reasons that status.json names."""

from __future__ import annotations

import errno
import traceback

from agent.contract.files import RecordError
from agent.contract.reasons import GPU_MEMORY, Reason
from agent.envs.base import EnvironmentFault, EnvironmentUnavailable
from agent.run.checkpoint import CheckpointError
from agent.run.device import DeviceError


def reason_of(error: BaseException) -> tuple[Reason, str]:
    """Return the reason and one line about an exception."""
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if any(text in str(error) for text in GPU_MEMORY):
        return Reason.GPU_OOM, message
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Reason.DISK_FULL, message
    reasons: list[tuple[type[BaseException] | tuple[type[BaseException], ...], Reason]] = [
        (MemoryError, Reason.HOST_OOM),
        ((EnvironmentUnavailable, EnvironmentFault), Reason.ENVIRONMENT),
        (FloatingPointError, Reason.NAN),
        (DeviceError, Reason.DEVICE),
        (CheckpointError, Reason.CHECKPOINT),
        (RecordError, Reason.RECORD),
        (KeyboardInterrupt, Reason.CANCELLED),
    ]
    for kind, reason in reasons:
        if isinstance(error, kind):
            return reason, message
    frame = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    place = f" ({frame.filename.rsplit('/', 1)[-1]}:{frame.lineno})" if frame else ""
    return Reason.CODE_ERROR, f"{type(error).__name__}: {message}{place}"
