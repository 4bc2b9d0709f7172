"""Folders that another account owns or may write: whatever would load from one refuses it, and runs nothing of it."""

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from agent import train
from agent.contract.config import dump_yaml, make_config
from agent.contract.ownership import ForeignError, make_private
from harness import cancel, launch, resubmit, status
from harness.backend import pool
from harness.job import worker
from harness.study.folder import Launch, Study, new_launch
from harness.study.grid import expand
from harness.study.grid_file import load_grid
from harness.study.plan import write_configs, write_plan
from harness.study.profiles import Profile
from tests.harness.local import Capture

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another account")


def give_away(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def open_up(path: Path) -> None:
    path.chmod(0o777 if path.is_dir() else 0o666)


def open_to_group(path: Path) -> None:
    path.chmod(0o770 if path.is_dir() else 0o660)


def make_link(path: Path) -> None:
    real = path.with_name(f"real-{path.name}")
    path.rename(real)
    path.symlink_to(real)


ALTER = [
    pytest.param(give_away, "belongs to another account (uid 65534)", marks=AS_ROOT, id="given away"),
    pytest.param(open_up, "others may write it", id="open to all"),
    pytest.param(open_to_group, "others may write it", id="open to the group"),
    pytest.param(make_link, "is a link", id="a link"),
]
LOADED = [
    "",
    "catch",
    "catch/dreamerv3",
    "catch/dreamerv3/seed-0",
    "catch/dreamerv3/seed-0/config.yaml",
    "catch/dreamerv3/seed-0/metrics.jsonl",
    "catch/dreamerv3/seed-0/checkpoint",
    "catch/dreamerv3/seed-0/checkpoint/latest.json",
    "catch/dreamerv3/seed-0/checkpoint/replay",
    "catch/dreamerv3/seed-0/checkpoint/replay/000000000.npz",
]
Alter = Callable[[Path], None]


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study whose run names a module that leaves a file when it is imported; the file."""
    touched = tmp_path / "touched"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "evil_environments.py").write_text(
        f"open({str(touched)!r}, 'w').close()\nraise RuntimeError('it ran')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    run = tmp_path / "runs/study/catch/dreamerv3/seed-0"
    (tmp_path / "runs").mkdir(mode=0o700)
    make_private(run / "checkpoint" / "replay")
    given = {"task": "gym_CartPole-v1", "env.gym.module": "evil_environments"}
    dump_yaml(make_config(["vector_small", "debug"], given), run / "config.yaml")
    for name in ("metrics.jsonl", "checkpoint/latest.json", "checkpoint/replay/000000000.npz"):
        (run / name).write_text("")
    (tmp_path / "runs/study/plan.json").write_text("{}")
    return touched


def test_the_folder_as_it_is_would_be_trained_and_its_module_run(evil: Path, tmp_path: Path) -> None:
    train.main(["--runs", str(tmp_path / "runs/study/catch/dreamerv3/seed-0")])
    assert evil.exists()


@pytest.mark.parametrize("what", LOADED)
@pytest.mark.parametrize(("alter", "said"), ALTER)
def test_training_refuses_a_run_folder_that_others_may_have_filled(
    evil: Path, tmp_path: Path, capsys: Capture, alter: Alter, said: str, what: str
) -> None:
    study = tmp_path / "runs" / "study"
    alter(study / what)
    assert train.main(["--runs", str(study / "catch/dreamerv3/seed-0")]) == 2
    words = ["--logdir", str(study / "catch/dreamerv3/seed-0"), "--configs", "vector_small", "debug"]
    assert train.main([*words, "--task", "gym_CartPole-v1"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2
    assert all(said in line and str(study / what) in line for line in err)
    assert not evil.exists()


def test_a_folder_in_one_that_cannot_be_entered_is_named(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("")
    assert train.main(["--logdir", str(tmp_path / "file" / "run"), "--configs", "debug", "--task", "catch"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'file' / 'run'}: ")


@pytest.mark.parametrize("flag", ["--runs", "--logdir"])
def test_training_refuses_a_folder_in_one_where_everybody_may_exchange_it(
    evil: Path, tmp_path: Path, capsys: Capture, flag: str
) -> None:
    (tmp_path / "runs").chmod(0o777)
    words = [flag, str(tmp_path / "runs/study/catch/dreamerv3/seed-0")]
    more = [] if flag == "--runs" else ["--configs", "vector_small", "debug", "--task", "gym_CartPole-v1"]
    assert train.main([*words, *more]) == 2
    assert "everybody may exchange what is in it" in capsys.readouterr().err
    assert not evil.exists()


@pytest.mark.parametrize(("alter", "said"), ALTER)
@pytest.mark.parametrize("what", ["", "jit_update-cache"])
def test_training_refuses_a_compilation_cache_of_others(
    tmp_path: Path, capsys: Capture, alter: Alter, said: str, what: str
) -> None:
    cache = tmp_path / "cache"
    make_private(cache)
    (cache / "jit_update-cache").write_text("")
    alter(cache / what)
    words = ["--logdir", str(tmp_path / "run"), "--configs", "debug", "--task", "catch"]
    assert train.main([*words, "--jax.compilation_cache", str(cache)]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_launch_refuses_a_compilation_cache_of_others_before_anything_is_written(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture
) -> None:
    cache = tmp_path / "compiled"
    make_private(cache)
    cache.chmod(0o777)
    words = [f"grid={grid}", f"runs={tmp_path / 'runs'}", f"agent.jax.compilation_cache={cache}"]
    assert launch.main(words) == 2
    assert str(cache) in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


HARNESS = [
    "",
    "plan.json",
    ".harness",
    ".harness/code",
    ".harness/launches",
    ".harness/launches/ID",
    ".harness/launches/ID/launch.json",
    ".harness/launches/ID/packs",
    ".harness/launches/ID/submitit",
    "catch/dreamerv3/seed-0",
    "catch/dreamerv3/seed-0/config.yaml",
]


@pytest.fixture
def made(tree: Path, grid: str, tmp_path: Path) -> Launch:
    """A launch of the grid's runs that no pool has begun."""
    study = Study(tmp_path / "runs" / "tiny")
    runs = expand(load_grid(grid))
    with study.lock():
        write_plan(study, "tiny", runs, {})
    write_configs(study, runs)
    make_private(study.code)
    packs = [{"runs": [run.name for run in runs], "mode": "process", "processes": len(runs)}]
    profile = Profile(kind="local", gpus=0).model_dump(mode="json")
    data = {"grid": "tiny", "code": str(tree), "tree": {"code_tree": "gone"}, "profile": profile, "jobs_at_once": 1}
    return new_launch(study, {**data, "packs": packs})


@pytest.fixture
def no_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(made: Launch) -> int:
        raise AssertionError(f"a pool was started for {made.id}")

    monkeypatch.setattr(pool, "start", start)


@pytest.mark.parametrize("what", HARNESS)
@pytest.mark.parametrize(("alter", "said"), ALTER)
def test_launch_resubmit_and_cancel_refuse_a_study_that_others_may_have_filled(
    made: Launch, no_pool: None, grid: str, tmp_path: Path, capsys: Capture, alter: Alter, said: str, what: str
) -> None:
    study = tmp_path / "runs" / "tiny"
    alter(study / what.replace("ID", made.id))
    words = [f"grid={grid}", f"runs={tmp_path / 'runs'}"]
    commands = [(launch.main, words), (resubmit.main, [*words, "--state", "planned,stopped"])]
    if not what.startswith("catch"):
        commands.append((cancel.main, words))
    for command, given in commands[:1] if what.startswith("catch") else commands:
        assert command(given) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert str(study / what.replace("ID", made.id)) in line
    if alter is not make_link:
        assert len(list((study / ".harness/launches").iterdir())) == 1


@AS_ROOT
def test_status_reads_a_study_of_another_account(made: Launch, grid: str, tmp_path: Path, capsys: Capture) -> None:
    for top, _, names in os.walk(tmp_path / "runs" / "tiny"):
        for path in (Path(top), *(Path(top) / name for name in names)):
            give_away(path)
    assert status.main([f"grid={grid}", f"runs={tmp_path / 'runs'}"]) == 0
    assert "4 runs: " in capsys.readouterr().out


@pytest.mark.parametrize(("alter", "said"), ALTER)
def test_worker_and_pool_refuse_files_that_others_may_have_written(
    made: Launch, alter: Alter, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool.Pool, "run", lambda pool: pytest.fail("the pool ran"))
    monkeypatch.setattr(worker.Supervisor, "run", lambda supervisor: pytest.fail("the worker ran"))
    alter(made.folder / "packs")
    with pytest.raises(ForeignError) as found:
        worker.run_pack(str(made.pack_file(0)))
    assert said in str(found.value)
    alter(made.folder / "launch.json")
    with pytest.raises(ForeignError) as found:
        pool.main([str(made.folder)])
    assert said in str(found.value)


def test_a_worker_leaves_out_the_run_of_another_and_goes_on(made: Launch, tree: Path) -> None:
    study = made.folder.parents[2]
    (study / "catch/dreamerv3/seed-0").chmod(0o777)
    program = f"from harness.job.worker import run_pack; run_pack({str(made.pack_file(0))!r})"
    environ = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "seed-0: not started: " in done.stderr
    assert [len(list(study.glob(f"catch/*/seed-{seed}/result.json"))) for seed in (0, 1)] == [1, 2]
    assert not (study / "catch/dreamerv3/seed-0/attempts").exists()


def test_a_worker_trains_no_other_configuration_than_the_planned_one(made: Launch, tree: Path) -> None:
    study = made.folder.parents[2]
    config = study / "catch/dreamerv3/seed-0/config.yaml"
    config.write_text(config.read_text().replace("batch_size: ", "batch_size: 1"))
    program = f"from harness.job.worker import run_pack; run_pack({str(made.pack_file(0))!r})"
    environ = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "seed-0/config.yaml: is not the configuration that was planned" in done.stderr
    assert [len(list(study.glob(f"catch/*/seed-{seed}/result.json"))) for seed in (0, 1)] == [1, 2]


@pytest.fixture
def no_umask() -> Generator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_with_a_umask_of_zero_nothing_of_a_study_can_be_written_by_others(
    no_umask: None, tree: Path, grid: str, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    assert launch.main([f"grid={grid}", f"runs={runs}", "methods=harmony", "seeds=1"]) == 0
    run = runs / "tiny/catch/harmony_dreamerv3/seed-0"
    assert (run / "result.json").exists()
    found = [runs, *runs.rglob("*")]
    assert [path for path in found if not path.is_symlink() and path.stat().st_mode & 0o022] == []
    for folder in (runs, *(run.parents[n] for n in range(3)), run, runs / "tiny/.harness"):
        assert folder.stat().st_mode & 0o777 == 0o700


@AS_ROOT
def test_another_account_can_neither_read_nor_write_a_fresh_run(no_umask: None, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    run = tmp_path / "runs" / "run"
    make_private(run)
    (run / "config.yaml").write_text("")
    program = (
        f"import os, sys; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "for attempt in (lambda p: open(p + '/config.yaml'), lambda p: open(p + '/planted', 'w'), os.listdir):\n"
        "    try: attempt(sys.argv[1])\n"
        "    except PermissionError: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(run)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused"] * 3
