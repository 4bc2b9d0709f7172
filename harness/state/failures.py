"""What a failed process left on stderr: its last traceback, and the kind of failure its words tell."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from agent.contract.reasons import GPU_MEMORY, Reason

TAIL_BYTES = 256 * 1024
LAST_LINES = 30


SLURM_MEMORY = ("oom-kill event", "oom_kill event", "exceeded memory limit", "Exceeded job memory limit")
HOST_MEMORY = ("MemoryError", "Cannot allocate memory", "[Errno 12]", "std::bad_alloc")
DISK = ("No space left on device", "[Errno 28]", "Disk quota exceeded", "[Errno 122]")
GRAPHICS = (
    "libEGL", "libGL.so", "libOSMesa", "OSMesa", "EGL device", "EGL_NOT_INITIALIZED", "gladLoadGL", "GLFWError",
    "PLATFORM_DEVICE extension", "No OpenGL context", "an OpenGL platform library", "eglQueryString", "'glGetError'",
)  # fmt: skip
SURROUNDINGS = (
    "ModuleNotFoundError", "cannot open shared object file", "EnvironmentUnavailable", "EnvironmentFault",
    "CUDA driver version is insufficient", "no CUDA-capable device", "Unable to initialize backend",
)  # fmt: skip
PROMISES = ("was planned with", "was promised")  # harness/job/allocation.py and agent/run/device.py
NOT_FINITE = ("FloatingPointError", "not finite", "non-finite")
CHAINED = ("During handling of the above exception", "The above exception was the direct cause")


@dataclass(frozen=True)
class Failure:
    """A failure as its words tell it: reason, the line that says it, the last traceback and its fingerprint."""

    reason: Reason
    message: str
    traceback: str = ""
    fingerprint: str = ""


def read_tail(path: Path, limit: int = TAIL_BYTES) -> str:
    """Return the end of a log as text; empty where there is no such log."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - limit))
            return file.read().decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""


def last_traceback(text: str) -> str:
    """Return the last traceback and what led to it; later lines up to the end belong to its message."""
    starts = [match.start() for match in re.finditer(r"^Traceback \(most recent call last\):", text, re.MULTILINE)]
    if not starts:
        return ""
    first = starts[-1]
    for start in reversed(starts[:-1]):
        if not any(words in text[start:first] for words in CHAINED):
            break
        first = start
    return text[first:]


def exception_line(traceback: str) -> str:
    """Return the line naming the exception: the first line after the last traceback's frames that is not indented."""
    block = traceback[traceback.rfind("Traceback (most recent call last):") :]
    for line in block.splitlines()[1:]:
        if line.strip() and not line.startswith((" ", "\t")):
            return line.strip()
    return ""


def fingerprint(traceback: str) -> str:
    """Return a name that identical failures share, made of frames and exception without numbers and folders."""
    frames = re.findall(r'^\s+File "([^"]+)", line \d+, in (\S+)', traceback, re.MULTILINE)
    places = [f"{path.rsplit('/', 1)[-1]}:{function}" for path, function in frames]
    error = re.sub(r"0x[0-9a-fA-F]+|\d+", "#", re.sub(r"(/[^\s:'\"]+)+", "PATH", exception_line(traceback)))
    return hashlib.sha256("\n".join([*places, error]).encode()).hexdigest()[:12]


def read_failure(stderr: str, *, on_gpu: bool = True) -> Failure | None:
    """Return what stderr tells of a failure, None when it tells none.

    Only what the last traceback says counts (not the code it quotes), or the last lines where there is none: XLA
    prints out-of-memory texts for trials that it survives.
    """
    traceback = last_traceback(stderr)
    end = [line.strip() for line in stderr.splitlines() if line.strip()][-LAST_LINES:]
    told = [line.rstrip() for line in traceback.splitlines() if line[:1].strip()] if traceback else end
    mark = fingerprint(traceback) if traceback else ""
    for reason, texts, lines in (
        (Reason.HOST_OOM, SLURM_MEMORY, end),
        (Reason.GPU_OOM if on_gpu else Reason.HOST_OOM, GPU_MEMORY, told),
        (Reason.DISK_FULL, DISK, told),
        (Reason.HOST_OOM, HOST_MEMORY, told),
        (Reason.ENVIRONMENT, GRAPHICS + SURROUNDINGS, told),
        (Reason.NAN, NOT_FINITE, told),
        (Reason.DEVICE, PROMISES, told),
    ):
        found = next((line for line in lines if any(words in line for words in texts)), None)
        if found is not None:
            return Failure(reason, found[:500], traceback, mark)
    if traceback and exception_line(traceback).startswith("KeyboardInterrupt"):
        return Failure(Reason.STOPPED, "interrupted before it listened; goes on from its checkpoint")
    if traceback:
        return Failure(Reason.CODE_ERROR, exception_line(traceback)[:500], traceback, mark)
    return None
