"""The how-to's examples, as written."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.contract.schema import EnvSettings
from agent.contract.suites import suites
from agent.envs.registry import factories, make
from agent.envs.vector import VectorEnv
from tests.agent.envs.streams import actions_for, check_restored, play

ROOT = Path(__file__).parents[3]
README = (ROOT / "agent" / "envs" / "README.md").read_text(encoding="utf-8")
CORRIDOR, TARGET = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
(COMMAND,) = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
SETTINGS = EnvSettings.model_validate({"gym": {"module": "my_envs"}})


@pytest.fixture
def my_envs(tmp_path, monkeypatch):
    (tmp_path / "my_envs.py").write_text(CORRIDOR, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_envs", None)


@pytest.mark.filterwarnings("ignore:.*Overriding environment")
def test_an_environment_in_one_file_is_a_task(my_envs):
    env = make("gym_Corridor-v0", SETTINGS, 0)
    records = play(env, [1] * 20)
    ends = [record for record in records if record["is_last"]]
    assert ends and all(record["reward"] == 1 and record["is_terminal"] for record in ends)
    check_restored(env, make("gym_Corridor-v0", SETTINGS, 1))
    with VectorEnv(factories("gym_Corridor-v0", SETTINGS, 0, 2), True) as vector:
        assert vector.step(np.zeros(2, int))["image"].shape == (2, 64, 64, 3)


@pytest.mark.slow
def test_the_command_trains_on_it(my_envs):
    program, *words = shlex.split(COMMAND)
    assert program == "python"
    command = [sys.executable, *words, "--jax.platform", "cpu"]
    done = subprocess.run(
        command, cwd=my_envs, capture_output=True, text=True, env={"PYTHONPATH": f"{my_envs}:{ROOT}", "PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert (my_envs / "runs" / "corridor" / "result.json").exists()


def test_a_suite_in_one_file_is_an_environment():
    names = {}
    exec(compile(TARGET, "README.md", "exec"), names)
    near, far = names["Target"]("near", 0, length=30), names["Target"]("far", 0, repeat=2)
    assert [bool(record["is_last"]) for record in play(near, [np.zeros(2)] * 31)].index(True) == 30
    records = play(far, actions_for(far, 10))
    assert np.linalg.norm(records[0]["offset"]) == pytest.approx(3.0)
    check_restored(names["Target"]("near", 1), names["Target"]("near", 2))


def test_every_suite_has_settings_and_a_row_in_the_table():
    for suite in suites():
        assert suite in EnvSettings.model_fields
        assert re.search(rf"^\| `{suite}[_`]", README, re.MULTILINE)
