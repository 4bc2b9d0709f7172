"""What a launch says about environments that cannot be made, before anything is written."""

import subprocess
import sys

import pytest

from agent.contract.config import make_config
from agent.contract.words import ConfigError
from harness.study.environments import check_environments
from harness.study.grid import Run


def run_of(task, **settings):
    return Run(task, "dreamerv3", 0, make_config(["debug"], {"task": task, **settings}))


def test_tasks_that_every_installation_has_are_not_asked_for(monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    check_environments([run_of("atari_pong"), run_of("catch")], here=True)


def test_an_unknown_gymnasium_task_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown task 'gym_CartPol-v1'; did you mean 'gym_CartPole-v1'"):
        check_environments([run_of("gym_CartPole-v1"), run_of("gym_CartPol-v1")], here=True)


def test_a_missing_driver_matters_where_the_runs_will_be(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(ConfigError, match="MUJOCO_GL=glfw"):
        check_environments([run_of("metaworld_lever_pull")], here=True)
    check_environments([run_of("metaworld_lever_pull")], here=False)
    check_environments([run_of("metaworld_lever_pull", **{"env.metaworld.obs": "state"})], here=True)


def test_the_check_imports_no_jax():
    code = "import sys, agent.envs.check; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
