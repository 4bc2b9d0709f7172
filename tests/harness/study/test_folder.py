"""The study's folder: lock, privacy, plan, configurations."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.contract.config import config_hash, from_dict, read_yaml
from agent.contract.ownership import ForeignError
from agent.contract.words import ConfigError
from harness.command import parse
from harness.study.folder import Study, new_launch
from harness.study.grid import Run, configure, expand
from harness.study.grid_file import load_grid
from harness.study.plan import check_same, read_configs, select, write_configs, write_plan


def catch(*words: str, batch_size: int = 8) -> list[Run]:
    return expand(configure(load_grid("catch"), parse([f"agent.batch_size={batch_size}", *words], {})))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = Study(tmp_path / "runs" / "catch")
    with made.lock():
        write_plan(made, "configs/grids/catch.yaml", catch("agent.actent=1e-3,1e-2"), {})
    return made


def test_a_planned_run_is_never_changed_and_new_ones_are_added(study: Study) -> None:
    before = study.planned()
    write_plan(study, "other", catch("agent.actent=1e-3,1e-2", "seeds=3"), {})
    after = study.planned()
    assert after[: len(before)] == before
    assert len(after) == 12
    assert study.plan().grid == "configs/grids/catch.yaml"


def test_every_runs_configuration_is_written_as_planned(study: Study) -> None:
    runs = catch("agent.actent=1e-3,1e-2")
    write_configs(study, runs)
    hashes = {planned.name: planned.config_hash for planned in study.planned()}
    for run in runs:
        config = from_dict(read_yaml(study.run(run.name).config))
        assert config == run.config
        assert config_hash(config) == hashes[run.name]
    found, odd = read_configs(study, study.planned())
    assert [(r.name, r.config) for r in found] == [(r.name, r.config) for r in runs] and not odd


def test_another_configuration_is_refused_with_its_keys(study: Study) -> None:
    runs = catch("agent.actent=1e-3,1e-2")
    write_configs(study, runs)
    check_same(study, runs)
    with pytest.raises(ConfigError, match=r"batch_size: 8 → 4.*study=catch-2"):
        check_same(study, catch("agent.actent=1e-3,1e-2", batch_size=4))


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([], 8),
        (["methods=harmony"], 4),
        (["methods=dreamerv3@actent=0.01"], 2),
        (["seeds=1,"], 4),
        (["seeds=0"], 4),
        (["agent.actent=1e-3"], 4),
        (["agent.actent=0.01,1e-3"], 8),
        (["agent.run.steps=10"], 8),
    ],
)
def test_selectors_choose_planned_runs(study: Study, words: list[str], count: int) -> None:
    assert len(select(parse(words, {}), study.planned())) == count


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tasks=cacth"], "did you mean 'catch'"),
        (["seeds=5,"], "seed 5 is not in this study \\(0, 1\\)"),
        (["agent.actent=7"], r"agent.actent=7.0 is not in this study \(actent=0.001, actent=0.01\)"),
        (["agent.actnet=7"], "did you mean 'actent'"),
    ],
)
def test_a_selector_that_means_nothing_is_refused(study: Study, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select(parse(words, {}), study.planned())


def test_the_second_of_two_commands_waits(study: Study) -> None:
    order: list[str] = []

    def second() -> None:
        with study.lock():
            order.append("second")

    with study.lock():
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_study_that_stays_locked_is_said_with_its_holder(study: Study) -> None:
    with (
        study.lock(),
        pytest.raises(ConfigError, match=r"is being written by .*wait for the other command"),
        study.lock(0.2),
    ):
        pass


def test_a_command_killed_while_it_holds_the_study_stands_in_nobodys_way(study: Study) -> None:
    holds = (
        "import sys, time; from pathlib import Path; from harness.study.folder import Study\n"
        "with Study(Path(sys.argv[1])).lock(): print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", holds, str(study.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="is being written by"), study.lock(0.2):
            pass
        process.kill()
    with study.lock(0.2):
        pass
    assert not (study.hidden / "lease.json").exists()


def test_the_harness_folders_are_private(study: Study) -> None:
    data = {"code": "/code", "profile": {"kind": "slurm"}, "packs": [{"runs": ["a"], "mode": "vmap", "processes": 1}]}
    made = new_launch(study, data)
    for folder in (study.hidden, made.folder.parent, made.folder, made.folder / "submitit"):
        assert folder.stat().st_mode & 0o777 == 0o700
    made.folder.chmod(0o770)
    with (
        pytest.raises(ForeignError, match=rf"others may write it \(mode 770\).*chmod -R go-w {study.path}$"),
        study.lock(),
    ):
        pass
    made.folder.chmod(0o700)
    study.hidden.chmod(0o777)
    with pytest.raises(ForeignError, match="others may write it"), study.lock():
        pass


def test_a_jobs_name_is_one_name_for_squeue(tmp_path: Path) -> None:
    made = Study(tmp_path / "lr=1,2")
    with made.lock():
        launch = new_launch(made, {"code": "/", "profile": {"kind": "slurm"}, "packs": []})
    assert launch.data.name.startswith("hb-lr_1_2-0000-")
    assert "," not in launch.data.name
