"""A code tree whose `agent.train` is the stand-in, and a grid that it finishes in a second."""

import shutil
import tempfile
from pathlib import Path

import pytest

from harness import pool, profiles, snapshot

STAND_IN = Path(__file__).parent / "standin.py"
ROOT = snapshot.ROOT


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what jobs need, with the stand-in in place of the training program; launches freeze it."""
    folder = tmp_path / "tree"
    for name in ("harness", "configs", "slurm"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "agent").mkdir()
    contract = "config methods schema tasks files record records lease reasons ownership terminal"
    for name in ("__init__", *contract.split()):
        shutil.copy2(ROOT / "agent" / f"{name}.py", folder / "agent" / f"{name}.py")
    shutil.copytree(ROOT / "agent/weighting", folder / "agent/weighting", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(STAND_IN, folder / "agent" / "train.py")
    monkeypatch.setattr(snapshot, "ROOT", folder)
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
