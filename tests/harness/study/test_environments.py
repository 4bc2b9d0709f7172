"""What a launch says about environments that cannot be made, before anything is written."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.contract.config import make_config
from agent.contract.words import ConfigError
from harness.study import environments
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


ODD = """
import gymnasium, numpy
from gymnasium import spaces

class Odd(gymnasium.Env):
    observation_space = spaces.Box(0, 255, (3, 64, 64), numpy.uint8)
    action_space = spaces.Discrete(2)
    def reset(self, seed=None, options=None):
        return numpy.zeros((3, 64, 64), numpy.uint8), {}
    def step(self, action):
        return numpy.zeros((3, 64, 64), numpy.uint8), 0.0, False, False, {}

class Dicts(Odd):
    action_space = spaces.Dict({"a": spaces.Discrete(2)})

class Slow(Odd):
    def reset(self, seed=None, options=None):
        import time
        time.sleep(600)

gymnasium.register("Odd-v0", Odd)
gymnasium.register("Dicts-v0", Dicts)
gymnasium.register("Slow-v0", Slow)
"""


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings of a module of the user's own."""
    (tmp_path / "odd_module.py").write_text(ODD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return {"env.gym.module": "odd_module"}


def test_what_the_agent_sees_of_an_odd_task_is_said_once(odd, capsys):
    check_environments([run_of("gym_Odd-v0", **odd), run_of("gym_CartPole-v1", **odd)], here=False)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "note: gym_Odd-v0: the observation of [3, 64, 64] is taken as an image with its channels first"
    )


def test_a_task_whose_actions_the_agent_does_not_know_is_refused(odd):
    with pytest.raises(ConfigError, match=r"task 'gym_Dicts-v0': actions of Dict"):
        check_environments([run_of("gym_Dicts-v0", **odd)], here=False)


def test_a_task_that_never_begins_is_given_up_with_the_way_round_it(odd, monkeypatch):
    monkeypatch.setattr(environments, "TIME_S", 2.0)
    with pytest.raises(ConfigError, match=r"^gym_Slow-v0: not made and stepped in 5 s; --no-env-check leaves it"):
        check_environments([run_of("gym_Slow-v0", **odd)], here=False)


def test_an_image_that_cannot_be_halved_is_refused_with_its_key():
    with pytest.raises(
        ConfigError, match=r"env.atari.size: 80 is refused: images are halved down to 4×4 pixels; 32, 64 or"
    ):
        run_of("atari_pong", **{"env.atari.size": 80})


def test_the_check_imports_no_jax():
    code = "import sys, agent.envs.check; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
