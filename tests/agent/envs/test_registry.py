"""Task names to environments: settings reach them, wrong ones are refused in one line."""

import subprocess
import sys

import pytest

from agent.contract.schema import EnvSettings
from agent.contract.tasks import ATARI_100K, METAWORLD
from agent.contract.words import ConfigError
from agent.envs.base import check_step
from agent.envs.check import main
from agent.envs.registry import check_available, factories, make


@pytest.mark.parametrize("task", ["catch", "atari_pong", "atari_james_bond", "gym_CartPole-v1"])
def test_a_tasks_settings_reach_its_environment(task):
    env = make(task, EnvSettings(), 0)
    check_step(env.reset(), env.spec, task)
    env.close()


def test_a_setting_changes_the_environment():
    settings = EnvSettings.model_validate({"atari": {"size": 32, "repeat": 2}, "catch": {"size": 32}})
    assert make("atari_pong", settings, 0).spec.obs["image"].shape == (32, 32, 3)
    assert make("atari_pong", settings, 0).spec.repeat == 2
    assert make("catch", settings, 0).spec.obs["image"].shape == (32, 32, 3)


@pytest.mark.parametrize("task", ["atari_pnog", "metaworld_lever_pul", "catsh", "gym_CartPol-v1"])
def test_an_unknown_task_is_refused_with_the_nearest(task):
    for refuse in (make, lambda task, settings, seed: check_available(task, settings)):
        with pytest.raises(ConfigError, match="did you mean"):
            refuse(task, EnvSettings(), 0)


def test_a_setting_out_of_range_is_refused_before_anything_is_made():
    with pytest.raises(ConfigError, match="an image of 15 pixels does not divide"):
        check_available("catch", EnvSettings.model_validate({"catch": {"size": 15}}))


def test_every_listed_task_is_available():
    pytest.importorskip("ale_py")
    for task in (*ATARI_100K, *METAWORLD):
        check_available(task, EnvSettings(), drivers=False)


def test_seeds_are_distinct():
    seeds = [
        factory.args[2]
        for purpose in (0, 1)
        for seed in range(20)
        for factory in factories("catch", EnvSettings(), seed, 8, purpose)
    ]
    assert len(set(seeds)) == len(seeds)


def test_the_check_reads_tasks_and_names_each_problem_once(monkeypatch, capsys):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO('[["catch", {}], ["gym_Cart-v1", {}], ["gym_Cart-v1", {}]]'))
    assert main([]) == 2
    assert capsys.readouterr().err.count("unknown task 'gym_Cart-v1'") == 1


def test_importing_the_registry_imports_no_environment_and_no_jax():
    code = "import sys, agent.envs.registry; print(*{'jax', 'ale_py', 'gymnasium', 'mujoco', 'cv2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
