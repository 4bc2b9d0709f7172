"""Frozen code."""

import json
import subprocess
from pathlib import Path

import pytest

from agent.contract.words import ConfigError
from harness.command import SubmissionError
from harness.study import frozen_code


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout with a committed, a modified, an ignored and an untracked file."""
    root = tmp_path / "checkout"
    (root / "agent").mkdir(parents=True)
    (root / "agent" / "a.py").write_text("a = 1\n")
    (root / ".gitignore").write_text("*.log\n")

    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(root), *identity, *words], check=True, capture_output=True)

    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "Begin")
    monkeypatch.setattr(frozen_code, "ROOT", root)
    return root


def test_a_copy_holds_what_git_would_and_is_named_by_its_content(checkout: Path, tmp_path: Path) -> None:
    clean, names = frozen_code.describe()
    assert names == [".gitignore", "agent/a.py"]
    assert clean.dirty == ""
    assert clean.git_sha is not None
    (checkout / "agent" / "new name.py").write_text("b = 2\n")
    (checkout / "noise.log").write_text("x")
    dirty, names = frozen_code.describe()
    assert names == [".gitignore", "agent/a.py", "agent/new name.py"]
    assert dirty.code_tree != clean.code_tree
    assert dirty.dirty
    folder = frozen_code.freeze(tmp_path / "store", dirty, names)
    assert (folder / "agent" / "new name.py").read_text() == "b = 2\n"
    assert json.loads((folder / "snapshot.json").read_text())["git_sha"] == clean.git_sha
    (checkout / "agent" / "a.py").write_text("a = 3\n")
    assert frozen_code.freeze(tmp_path / "store", dirty, names) == folder
    assert (folder / "agent" / "a.py").read_text() == "a = 1\n"
    assert frozen_code.describe()[0].code_tree != dirty.code_tree


@pytest.mark.parametrize("event", ["edited", "deleted", "made executable"])
def test_code_that_changes_after_it_was_described_is_not_frozen_under_that_name(
    checkout: Path, tmp_path: Path, event: str
) -> None:
    tree, names = frozen_code.describe()
    path = checkout / "agent" / "a.py"
    if event == "edited":
        path.write_text("a = 3\n")
    elif event == "deleted":
        path.unlink()
    else:
        path.chmod(0o755)
    with pytest.raises(SubmissionError, match="was changed while it was being copied; run the same command again"):
        frozen_code.freeze(tmp_path / "store", tree, names)
    assert not list((tmp_path / "store").iterdir())
    tree, names = frozen_code.describe()
    folder = frozen_code.freeze(tmp_path / "store", tree, names)
    assert list((tmp_path / "store").iterdir()) == [folder]


def test_a_copy_that_fails_half_way_leaves_nothing(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object) -> None:
        raise OSError(28, "No space left on device")

    tree, names = frozen_code.describe()
    monkeypatch.setattr(frozen_code, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        frozen_code.freeze(tmp_path / "store", tree, names)
    assert not list((tmp_path / "store").iterdir())


def test_a_deleted_file_and_the_runs_folder_are_left_out(checkout: Path) -> None:
    (checkout / "agent" / "a.py").unlink()
    (checkout / "runs").mkdir()
    (checkout / "runs" / "metrics.jsonl").write_text("{}\n")
    _, names = frozen_code.describe(leave_out=[checkout / "runs"])
    assert names == [".gitignore"]


def test_without_git_the_packages_own_files_are_taken(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "elsewhere.txt").write_text("x")
    monkeypatch.setattr(frozen_code, "_git", lambda root, *words: None)
    tree, names = frozen_code.describe()
    assert names == ["agent/a.py"]
    assert tree.git_sha is None
    assert tree.dirty is None


def test_a_folder_inside_another_checkout_is_none_itself(checkout: Path) -> None:
    assert frozen_code.is_checkout(checkout)
    assert not frozen_code.is_checkout(checkout / "agent")


def test_a_huge_file_is_refused_by_name(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_code, "LARGEST_MB", 0.001)
    (checkout / "agent" / "weights.bin").write_bytes(b"x" * 4096)
    with pytest.raises(ConfigError, match=r"weights\.bin: .* add it to \.gitignore"):
        frozen_code.describe()


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".env.local",
        "wandb.key",
        "slurm/api_key.txt",
        "id_ed25519",
        ".netrc",
        "configs/secrets.yaml",
        "hf_token",
    ],
)
def test_an_untracked_secret_is_never_copied_and_one_that_git_knows_is(checkout: Path, name: str) -> None:
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("sesame\n")
    with pytest.raises(ConfigError, match=r"looks like a secret .* add it to \.gitignore") as refused:
        frozen_code.describe()
    assert str(checkout / name) in str(refused.value) and "sesame" not in str(refused.value)
    subprocess.run(["git", "-C", str(checkout), "add", name], check=True)
    assert name in frozen_code.describe()[1]
    subprocess.run(["git", "-C", str(checkout), "rm", "-q", "--cached", name], check=True)
    (checkout / ".gitignore").write_text(f"*.log\n{name}\n")
    assert name not in frozen_code.describe()[1]


@pytest.mark.parametrize("name", ["tokens.py", "keyboard.py", "agent/password_env.py", "environment.yml", "public.md"])
def test_code_that_is_about_secrets_is_copied(checkout: Path, name: str) -> None:
    (checkout / name).write_text("x = 1\n")
    assert name in frozen_code.describe()[1]
