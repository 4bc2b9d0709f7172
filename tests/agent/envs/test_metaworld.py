"""Meta-world: goals, limits, success, exact state, and pictures where there is an OpenGL to draw them with."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("metaworld")

from agent.contract.tasks import METAWORLD
from agent.envs.base import EnvironmentUnavailable
from agent.envs.gl import check_gl
from agent.envs.metaworld import Metaworld, Simulator
from agent.envs.state import StateError
from agent.spec import BoxAction
from tests.agent.envs.streams import actions_for, assert_equal, check_restored, check_schema, play

TASKS = [task.removeprefix("metaworld_") for task in METAWORLD]
CAMERAS = ("corner", "corner2", "corner3", "corner4", "topview", "behindGripper", "gripperPOV")
PICTURES = Path(__file__).parent / "metaworld_cameras.npz"


def numbers(task="lever_pull", seed=0, **settings):
    return Metaworld(task, seed, obs="state", **settings)


@pytest.fixture
def gl():
    try:
        return check_gl()
    except EnvironmentUnavailable as error:
        pytest.skip(str(error))


def test_a_record_tells_success_and_the_action_box_is_plus_minus_one():
    env = numbers()
    record = env.reset()
    assert env.spec.action == BoxAction(4) and env.spec.success and env.spec.repeat == 1
    assert record["log_success"] == 0 and record["state"].shape == (39,)


def test_an_episode_ends_after_500_steps_and_never_terminally():
    records = play(numbers(), [np.zeros(4, np.float32)] * 502)
    assert [i for i, record in enumerate(records) if record["is_last"]] == [500]
    assert not any(record["is_terminal"] for record in records) and records[501]["is_first"]


def test_a_shorter_limit_is_a_setting():
    records = play(numbers(length=3), [np.zeros(4)] * 5)
    assert [bool(record["is_last"]) for record in records] == [False, False, False, True, False]
    with pytest.raises(ValueError, match=r"env.metaworld.length=501: expected 1 to 500"):
        numbers(length=501)


def test_goals_are_drawn_anew_at_every_reset_and_follow_the_seed():
    def goals(seed):
        env = numbers(seed=seed)
        return [(env.reset()["state"][36:39].tolist(), env._simulator._env._last_rand_vec.tolist()) for _ in range(3)]

    assert goals(1) == goals(1) and len({str(goal) for goal in goals(1)}) == 3
    assert goals(1) != goals(2)


def test_making_an_environment_leaves_numpys_global_generator_alone():
    np.random.seed(3)
    expected = np.random.RandomState(3).uniform(size=3)
    numbers().reset()
    np.testing.assert_array_equal(np.random.uniform(size=3), expected)


def test_the_experts_success_is_reported():
    """The kept expert's actions solve the task; a goal is fixed for them."""
    with np.load(Path(__file__).parents[2] / "golden" / "streams" / "metaworld_lever_pull.npz") as stream:
        goals, actions = stream["goals"], stream["expert_actions"]
    env = numbers()
    env.reset()
    env._simulator.reset(goals[2])
    assert max(float(env.step(action)["log_success"]) for action in actions) == 1.0


def test_actions_beyond_the_box_are_clipped():
    a, b = numbers(), numbers()
    assert_equal(play(a, [np.full(4, 5.0, np.float32)] * 10), play(b, [np.full(4, 1.0, np.float32)] * 10))


def test_a_repeated_action_adds_its_rewards():
    once, twice = numbers(), numbers(repeat=2, length=5)
    actions = actions_for(once, 3)
    singles = play(once, [actions[0], *(action for action in actions for _ in range(2))])
    doubles = play(twice, [actions[0], *actions])
    assert doubles[1]["reward"] == pytest.approx(singles[1]["reward"] + singles[2]["reward"])
    np.testing.assert_array_equal(doubles[2]["state"], singles[4]["state"])
    assert doubles[3]["is_last"] and twice.spec.repeat == 2


@pytest.mark.parametrize("task", ["lever_pull", "handle_pull_side", "hammer", "door_lock", "basketball"])
def test_a_restored_simulator_goes_on_exactly_through_resets(task):
    check_restored(numbers(task, 1, length=30), numbers(task, 2, length=30))


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_restored_exactly(task):
    check_restored(numbers(task, 1, length=60), numbers(task, 2, length=60), before=40, after=80)


def test_a_state_of_another_task_is_refused():
    with pytest.raises(StateError, match="metaworld_hammer: the saved state at name is 'metaworld_lever_pull'"):
        numbers("hammer").load(numbers().save())


@pytest.mark.slow
def test_a_state_that_is_not_this_tasks_is_refused_by_name():
    check_schema(numbers())


def test_stepping_an_episode_that_is_over_is_an_error():
    env = numbers(length=1)
    env.reset()
    env.step(np.zeros(4))
    with pytest.raises(RuntimeError, match=r"metaworld_lever_pull: the episode is over; call reset\(\)"):
        env.step(np.zeros(4))


def test_without_opengl_one_sentence_names_the_command():
    code = (
        "import agent.envs.gl as gl; gl.PLATFORMS = {'egl': ('libnone.so',), 'osmesa': ()}\n"
        "from agent.envs.base import EnvironmentUnavailable\n"
        "from agent.envs.metaworld import Metaworld\n"
        "try: Metaworld('lever_pull', 0)\n"
        "except EnvironmentUnavailable as error: print(error)\n"
        "print(Metaworld('lever_pull', 0, obs='state').reset()['is_first'])\n"
    )
    unset = {key: value for key, value in os.environ.items() if key != "MUJOCO_GL"}
    words = [sys.executable, "-c", code]
    said = subprocess.run(words, env=unset, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [
        "no OpenGL is installed and MuJoCo cannot draw images; "
        "run: apt-get install -y --no-install-recommends libegl1 libgl1",
        "True",
    ]


def difference(a, b):
    """Return the mean absolute difference in grey levels, and the share of pixels that differ by more than 32."""
    gap = np.abs(a.astype(int) - b.astype(int))
    return gap.mean(), (gap.max(-1) > 32).mean()


def same(a, b):
    mean, share = difference(a, b)
    return mean < 3 and share < 0.02


@pytest.mark.gl
@pytest.mark.parametrize("device", ["0", "77"])
def test_a_device_that_egl_does_not_know_is_replaced_by_one_that_it_does(gl, device):
    if gl != "egl":
        pytest.skip("OSMesa has no devices")
    code = (
        "from agent.envs.metaworld import Metaworld\n"
        "import os; env = Metaworld('lever_pull', 0, render='fast')\n"
        "print(env.reset()['image'].mean() > 0, os.environ.get('MUJOCO_EGL_DEVICE_ID')); env.close()\n"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": f"{device},3", "MUJOCO_GL": "egl"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["True", "0" if device == "0" else "None"], done.stderr
    assert not done.stderr


@pytest.mark.gl
@pytest.mark.parametrize("camera", CAMERAS)
def test_a_picture_of_each_camera_is_the_stored_one(gl, camera):
    env = Metaworld("lever_pull", 0, camera=camera)
    image = env.reset()["image"]
    env.close()
    with np.load(PICTURES) as stored:
        others = {name: stored[name] for name in stored.files}
    assert same(image, others.pop(camera)), difference(image, np.load(PICTURES)[camera])
    assert not any(same(image, other) for other in others.values())
    assert not same(image[::-1], image)


@pytest.mark.gl
def test_corner_is_upright_the_table_is_below_the_wall(gl):
    env = Metaworld("lever_pull", 0, render="fast")
    image = env.reset()["image"].astype(int)
    env.close()
    grey = np.abs(np.diff(image, axis=-1)).max(-1) < 12
    assert grey[:8, 24:].mean() > 0.95 and grey[36:44, 16:40].mean() < 0.5


@pytest.mark.gl
def test_a_reset_shows_the_objects_where_they_are_now(gl, monkeypatch):
    def second_reset():
        env = Metaworld("lever_pull", 0, render="fast")
        env.reset()
        image = env.reset()["image"]
        env._simulator._mujoco.mj_forward(env._simulator.model, env._simulator.data)
        assert env._camera is not None
        computed = env._camera.picture()
        env.close()
        return image, computed

    shown, computed = second_reset()
    np.testing.assert_array_equal(shown, computed)
    monkeypatch.setattr(Simulator, "settle", lambda simulator: None)
    stale, computed = second_reset()
    np.testing.assert_array_equal(shown, computed)
    assert difference(stale, computed)[0] > 0.5


@pytest.mark.gl
def test_fast_pictures_are_like_the_reference_without_shadows(gl):
    images = []
    for render in ("reference", "fast"):
        env = Metaworld("lever_pull", 0, render=render)
        images.append(env.reset()["image"])
        env.close()
    mean, _ = difference(*images)
    assert 1 < mean < 25


@pytest.mark.gl
def test_pictures_do_not_change_the_simulation_and_are_restored_exactly(gl):
    drawn, plain = Metaworld("lever_pull", 3, render="fast", length=6), numbers(seed=3, length=6)
    actions = actions_for(plain, 16)
    for a, b in zip(play(drawn, actions), play(plain, actions), strict=True):
        assert a["reward"] == b["reward"]
    other = Metaworld("lever_pull", 4, render="fast", length=6)
    check_restored(drawn, other, before=4, after=12)
    drawn.close()
    other.close()
