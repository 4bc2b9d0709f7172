"""The process that holds a group of environments. It imports no JAX and never outlives the process that started it."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import subprocess
import sys
import traceback
from multiprocessing.connection import Connection
from multiprocessing.connection import Pipe as connection_pair
from typing import Any

from agent.envs.base import EnvironmentUnavailable
from agent.envs.group import Group
from agent.envs.state import StateError

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
PR_SET_PDEATHSIG = 1
START = "from agent.envs.worker import main; main()"


def start(shared: int) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start a worker that will write into the file `shared`; return the process and the line to it.

    The parent's signals are blocked while it starts, so that a signal to the whole job cannot end it half-way. On
    Linux the kernel ends the worker with the thread that called this, so call it from a thread that stays.
    """
    ours, theirs = connection_pair()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-X",
                "faulthandler",
                "-c",
                START,
                str(theirs.fileno()),
                str(shared),
                str(os.getpid()),
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), shared),
            env=_environ(),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    theirs.close()
    return process, ours


def main() -> None:
    """Serve the parent until it closes the line."""
    line, shared, parent = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    _die_with(parent)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)
    connection = Connection(line)
    with contextlib.suppress(EOFError, ConnectionError):  # The parent is gone; there is nobody to tell.
        _serve(connection, shared)


def _serve(connection: Connection, shared: int) -> None:
    group: Group | None = None
    while True:
        verb, *arguments = connection.recv()
        if verb == "close":
            break
        try:
            if verb == "make":
                group = Group(*arguments)
                answer: Any = group.spec
            else:
                assert group is not None
                answer = _obey(group, verb, arguments, shared)
        except EnvironmentUnavailable as error:
            connection.send(("unavailable", str(error)))
        except StateError as error:
            connection.send(("state", str(error)))
        except Exception:  # noqa: BLE001 - whatever an environment raises is sent to the run with its traceback
            connection.send(("error", traceback.format_exc()))
        else:
            connection.send(("done", answer))
    if group is not None:
        group.close()


def _obey(group: Group, verb: str, arguments: list[Any], shared: int) -> Any:
    if verb == "attach":
        return group.attach(mmap.mmap(shared, arguments[0]))
    return {"step": group.step, "save": group.save, "load": group.load}[verb](*arguments)


def _die_with(parent: int) -> None:
    """Ask the kernel (Linux) for SIGKILL when the parent dies, however it dies; elsewhere the closed line must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _environ() -> dict[str, str]:
    """Return the parent's environment with its import path and one thread per numeric library and software OpenGL."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS"), "1")
    return {**os.environ, **threads, "PYTHONPATH": path}
