"""What a run was computed with: code, packages, machine."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from agent.contract.files import RecordError, read_json

ROOT = Path(__file__).resolve().parents[2]
# The harness writes this file into the code tree that jobs run from.
SNAPSHOT = ROOT / "snapshot.json"
PACKAGES = (
    "jax",
    "jaxlib",
    "jax-cuda12-plugin",
    "jax-cuda13-plugin",
    "numpy",
    "equinox",
    "optax",
    "ale-py",
    "gymnasium",
    "metaworld",
    "mujoco",
    "dm-control",
    "crafter",
    "opencv-python-headless",
    "submitit",
    "pydantic",
    "ruamel.yaml",
)


def code() -> dict[str, Any]:
    """Return where the running code comes from: `git_sha`, `dirty` (hash of the diff, "" when clean), `code_tree`."""
    try:
        snapshot = read_json(SNAPSHOT)
    except RecordError:
        snapshot = None
    if snapshot is not None:
        return {key: snapshot.get(key) for key in ("git_sha", "dirty", "code_tree")}
    sha = _git("rev-parse", "HEAD")
    diff = _git("diff", "HEAD") if sha else None
    dirty = hashlib.sha256(diff.encode()).hexdigest()[:16] if diff else ""
    return {"git_sha": sha, "dirty": dirty if sha else None, "code_tree": None}


def _git(*arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def packages() -> dict[str, str]:
    """Return the versions of the packages that shape a run's numbers, as far as they are installed."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def collect(device: str) -> dict[str, Any]:
    """Return the whole provenance of a run started now on `device`."""
    slurm = {
        key: value for key, value in os.environ.items() if key.startswith("SLURM_") and key.endswith(("ID", "NAME"))
    }
    return {
        **code(),
        "python": platform.python_version(),
        "packages": packages(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "device": device,
        "slurm": slurm,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }
