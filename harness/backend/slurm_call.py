"""One command of Slurm, with a time limit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from harness.backend.base import ClusterError

TIMEOUT_S = 60.0


class SlurmError(ClusterError):
    """A Slurm command failed or did not answer; the message names it and what it said."""


def command_env() -> dict[str, str]:
    """Return the environment for Slurm's query commands: UTC, plain English, whole id lists, no personal formats."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", "SACCT_", "SCANCEL_"))}
    return {**kept, "TZ": "UTC", "LC_ALL": "C", "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"}


def call(arguments: Sequence[str], timeout_s: float = TIMEOUT_S) -> str:
    """Run one Slurm command and return its stdout; SlurmError with its last words when it fails or hangs."""
    program, env = arguments[0], command_env()
    try:
        done = subprocess.run(
            arguments, env=env, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
        )
    except FileNotFoundError as error:
        raise SlurmError(f"{program} is not on PATH; is this a Slurm login node?") from error
    except OSError as error:
        raise SlurmError(f"{program} could not be started: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{program} did not answer within {timeout_s:.0f} s") from error
    if done.returncode != 0:
        words = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-2:])
        raise SlurmError(f"{program} failed with exit code {done.returncode}: {words or 'no message'}")
    return done.stdout
