"""A code tree whose `agent.train` is the stand-in, and a grid that it finishes in a second."""

import shutil
import tempfile
from pathlib import Path

import pytest

from harness.backend import pool
from harness.study import frozen_code, profiles

STAND_IN = Path(__file__).parent / "standin.py"
ROOT = frozen_code.ROOT


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what jobs need, with the stand-in in place of the training program; launches freeze it."""
    folder = tmp_path / "tree"
    for name in ("harness", "configs", "slurm"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("contract", "envs", "weighting"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "agent" / name, folder / "agent" / name, ignore=ignored)
    shutil.copy2(ROOT / "agent" / "__init__.py", folder / "agent" / "__init__.py")
    shutil.copy2(STAND_IN, folder / "agent" / "train.py")
    monkeypatch.setattr(frozen_code, "ROOT", folder)
    monkeypatch.setattr(profiles, "have_slurm", lambda: False)
    monkeypatch.setattr(pool, "POLL_S", 0.02)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    machine = tmp_path / "machine"  # a temporary folder of its own: pools of other tests are on another machine
    machine.mkdir()
    monkeypatch.setenv("TMPDIR", str(machine))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def grid(tmp_path: Path) -> str:
    """A grid of Catch with both methods and two seeds; the stand-in makes 16 steps of each."""
    path = tmp_path / "tiny.yaml"
    path.write_text("tasks: [catch]\npreset: debug\nseeds: 2\n")
    return str(path)
