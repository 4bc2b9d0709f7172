"""Secrets of jobs: passed by reference, and in no file of a study."""

import os
from pathlib import Path

import pytest

from agent.contract.words import ConfigError
from harness import launch
from harness.study import profiles
from harness.study.credentials import check_places, looks_secret, resolve
from harness.study.profiles import build
from tests.harness.local import Capture

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "name",
    [
        "X_KEY",
        "WANDB_API_KEY",
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "PGPASSWORD",
        "db_passwd",
        "MY_CREDENTIALS",
        "AUTH",
        "OPENAI_APIKEY",
        "GITHUB_PAT",
        "DB_PASS",
        "API_KEYS",
        "AWS_SESSION_TOKEN",
        "DB_PWD",
        "GIT_AUTH_HEADER",
    ],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    ["MUJOCO_GL", "TOKENIZERS_PARALLELISM", "MONKEYS", "SSH_AUTH_SOCK", "KEY_PATH", "PWD", "HTTPS_PROXY", "NOTE"],
)
def test_other_names_are_left_alone(name: str) -> None:
    assert not looks_secret(name, "http://proxy:3128")


def test_a_password_in_a_url_is_a_secret_by_any_name() -> None:
    assert looks_secret("HTTPS_PROXY", f"http://me:{SECRET}@proxy:3128")


@pytest.mark.parametrize(
    ("data", "overrides", "key"),
    [
        ({"env": {"X_KEY": SECRET}}, {}, "env.X_KEY"),
        ({"env": {"X_KEY": 123456789}}, {}, "env.X_KEY"),
        ({}, {"env.X_KEY": SECRET}, "cluster.env.X_KEY"),
        ({}, {"env.HTTPS_PROXY": f"http://me:{SECRET}@proxy:3128"}, "cluster.env.HTTPS_PROXY"),
        ({"setup": [f"export X_KEY={SECRET}"]}, {}, "setup"),
        ({"setup": [f'module load a; X_KEY="{SECRET}"']}, {}, "setup"),
        ({}, {"setup": f"export X_KEY={SECRET}"}, "cluster.setup"),
        ({}, {"slurm.export": f"ALL,X_KEY={SECRET}"}, "cluster.slurm.export"),
        ({"slurm": {"comment": f"https://me:{SECRET}@host"}}, {}, "slurm.comment"),
    ],
)
def test_a_secret_in_clear_is_refused_and_not_repeated(
    data: dict[str, object], overrides: dict[str, str], key: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: ") as found:
        build("mine", data, overrides)
    assert SECRET not in str(found.value)
    assert "123456789" not in str(found.value)


@pytest.mark.parametrize("line", ["export X_KEY=$(cat ~/.key)", 'X_KEY="$MY_KEY"', "X_KEY=`cat k`", "module load cuda"])
def test_a_setup_line_may_fetch_a_secret(line: str) -> None:
    assert build("mine", {"setup": [line]}, {}).setup == (line,)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


def test_a_reference_becomes_its_value_when_the_job_starts(key_file: Path) -> None:
    env = {"NOTE": "kept", "X_KEY": f"file:{key_file}", "HTTPS_PROXY": f"file:{key_file}", "Y_TOKEN": "env"}
    found = {"NOTE": "kept", "X_KEY": SECRET, "HTTPS_PROXY": SECRET, "Y_TOKEN": "y"}
    assert resolve(env, {"Y_TOKEN": "y"}) == found


def test_a_study_of_before_with_a_secret_in_clear_starts_no_job_with_it() -> None:
    with pytest.raises(ConfigError, match=r"^cluster.env.X_KEY: ") as found:
        resolve({"X_KEY": SECRET}, {})
    assert SECRET not in str(found.value)


def test_a_secret_that_is_not_there_is_named(key_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"env.Y_TOKEN: is not set in the environment"):
        resolve({"Y_TOKEN": "env"}, {})
    with pytest.raises(ConfigError, match=r"env.X_KEY: .*none: cannot be read \(No such file"):
        resolve({"X_KEY": f"file:{tmp_path / 'none'}"}, {})
    with pytest.raises(ConfigError, match="by its absolute path or from ~/"):
        build("mine", {"env": {"X_KEY": "file:key"}}, {})


@pytest.mark.parametrize("what", ["readable", "a link", "a folder", "a pipe", "empty", "another's"])
def test_a_file_that_others_may_read_or_have_made_is_refused(key_file: Path, tmp_path: Path, what: str) -> None:
    path = tmp_path / "other"
    if what == "a link":
        path.symlink_to(key_file)
    elif what == "a folder":
        path.mkdir(mode=0o700)
    elif what == "a pipe":
        os.mkfifo(path, 0o600)
    else:
        path.write_text("" if what == "empty" else SECRET)
        path.chmod(0o640 if what == "readable" else 0o600)
    if what == "another's":
        if os.getuid() != 0:
            pytest.skip("only root can give a file to another account")
        os.chown(path, 65534, 65534)
    with pytest.raises(ConfigError, match=r"^env.X_KEY: ") as found:
        resolve({"X_KEY": f"file:{path}"}, {})
    assert SECRET not in str(found.value)


def test_a_file_among_the_studies_is_refused(key_file: Path, tmp_path: Path) -> None:
    check_places({"X_KEY": f"file:{key_file}"}, tmp_path / "runs")
    with pytest.raises(ConfigError, match="which is copied and shared"):
        check_places({"X_KEY": f"file:{key_file}"}, tmp_path)


def test_a_secret_reaches_the_training_and_no_file_of_its_study(
    tree: Path, grid: str, tmp_path: Path, key_file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    program = tree / "agent" / "train.py"
    seen = f"\nopen({str(tmp_path / 'seen')!r}, 'w').write(os.environ['X_KEY'] + ' ' + os.environ['Y_TOKEN'])\n"
    program.write_text(program.read_text().replace("\nEVERY = 5\n", f"{seen}EVERY = 5\n"))
    monkeypatch.setenv("Y_TOKEN", f"{SECRET}-y")
    words = [f"grid={grid}", f"runs={runs}", "methods=harmony", "seeds=1", f"cluster.env.X_KEY=file:{key_file}"]
    assert launch.main([*words, "cluster.env.Y_TOKEN=env", "--dry-run"]) == 0
    assert launch.main([*words, "cluster.env.Y_TOKEN=env"]) == 0
    assert (tmp_path / "seen").read_text() == f"{SECRET} {SECRET}-y"
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    files = [path for path in runs.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert launch.main([f"grid={grid}", f"runs={tmp_path / 'other'}", f"cluster.env.X_KEY={SECRET}"]) == 2
    assert SECRET not in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_secret_in_a_profile_that_is_not_in_use_is_not_copied_either(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working tree is copied whole, so that jobs find every profile."""
    monkeypatch.setattr(profiles, "PROFILES", tmp_path)
    (profiles.PROFILES / "mine.yaml").write_text(f"kind: slurm\nenv:\n  X_KEY: {SECRET}\n")
    assert launch.main([f"grid={grid}", f"runs={tmp_path / 'runs'}", "seeds=1", "cluster=local"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "mine.yaml: env.X_KEY: looks like a secret" in line and SECRET not in line
    assert not (tmp_path / "runs").exists()
    (profiles.PROFILES / "mine.yaml").write_text("kind: slurm\nenv:\n  X_KEY: env\n")
    assert launch.main([f"grid={grid}", f"runs={tmp_path / 'runs'}", "seeds=1", "cluster=local", "--dry-run"]) == 0
