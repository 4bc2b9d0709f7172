"""Meta-world v3 as HarmonyDream's runs saw v2: images of one camera, goals drawn anew at every reset, success."""

from __future__ import annotations

import atexit
from importlib import import_module
from typing import Any

import numpy as np

from agent.contract.words import ConfigError
from agent.envs import gl
from agent.envs.base import State, Step, box, check_seed, record
from agent.envs.state import PCG64, Schema, check
from agent.spec import ArraySpec, BoxAction, EnvSpec

SUITE = "Metaworld"
PACKAGE = "metaworld"
OPENGL = ("image",)
WORKERS_FROM = 1
TASKS = (
    "assembly basketball bin_picking box_close button_press_topdown button_press_topdown_wall button_press "
    "button_press_wall coffee_button coffee_pull coffee_push dial_turn disassemble door_close door_lock door_open "
    "door_unlock hand_insert drawer_close drawer_open faucet_open faucet_close hammer handle_press_side handle_press "
    "handle_pull_side handle_pull lever_pull peg_insert_side pick_place_wall pick_out_of_hole reach push_back push "
    "pick_place plate_slide plate_slide_side plate_slide_back plate_slide_back_side peg_unplug_side soccer stick_push "
    "stick_pull push_wall reach_wall shelf_place sweep_into sweep window_open window_close"
)
LIMIT = 500
# What resets change in the model; the rest is as loaded from the task's XML.
MODEL_ARRAYS = (
    "body_pos body_quat body_mass site_pos site_quat site_size site_rgba geom_pos geom_quat geom_size geom_rgba "
    "geom_friction eq_data jnt_pos jnt_range cam_pos cam_quat qpos0"
)
# A task's attribute may hold any of these in turn: not yet set, Python's number, or numpy's.
SCALAR = (None, bool, int, float, *(ArraySpec((), kind) for kind in ("float64", "float32", "int64", "bool")))


def _is_number(value: Any) -> bool:
    """Tell whether an attribute is numbers or none yet; arrays that show the simulator's memory follow it anyway."""
    if not isinstance(value, np.ndarray):
        return isinstance(value, bool | int | float | np.number | np.bool_ | None)
    owner = value
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return owner.base is None


def _copied(value: Any) -> Any:
    """Return the same number or array, as the task's code held it: a saved array without axes is numpy's number."""
    return np.array(value)[()] if isinstance(value, np.ndarray | np.generic) else value


def _form(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return (None, ArraySpec(value.shape, str(value.dtype)))
    return SCALAR


class Simulator:
    """One Meta-world task without its pictures: the published observation vector (39 numbers), reward and success."""

    def __init__(self, task: str, seed: int) -> None:
        """Load the task (`lever_pull`); goals are drawn at every reset by a generator of this environment's own."""
        tasks = import_module("metaworld.env_dict").ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
        self._mujoco: Any = import_module("mujoco")
        self._env: Any = tasks[f"{task.replace('_', '-')}-v3-goal-observable"](seed=check_seed(seed))
        self._env._freeze_rand_vec = False
        self._env.seeded_rand_vec = True
        self._env.seed(seed)

    @property
    def model(self) -> Any:
        """The simulator's `MjModel`."""
        return self._env.model

    @property
    def data(self) -> Any:
        """The simulator's `MjData`."""
        return self._env.data

    def reset(self, goal: np.ndarray | None = None) -> np.ndarray:
        """Begin an episode with the goal and object positions given, or drawn; return the observation [39]."""
        self._env._freeze_rand_vec = goal is not None
        if goal is not None:
            self._env._last_rand_vec = goal
        return self._env.reset()[0]

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Return the observation [39], the reward, and 1.0 when the task is solved in this state, else 0.0."""
        observation, reward, _, _, info = self._env.step(action)
        return observation, float(reward), float(info["success"])

    def settle(self) -> None:
        """Recompute everything that is drawn from the present positions, without touching what follows.

        A reset moves bodies after the simulator has last done this; without it 11 tasks show the old positions.
        """
        state = self._state()
        self._mujoco.mj_forward(self.model, self.data)
        self._set_state(state)

    def save(self) -> State:
        """Return the physics, the model arrays that resets change, and the task's own numbers."""
        return {
            "physics": self._state(),
            "model": {name: array.copy() for name, array in self._model_arrays().items()},
            "task": {key: _copied(value) for key, value in vars(self._env).items() if _is_number(value)},
            "random": self._env.np_random.bit_generator.state,
        }

    def load(self, saved: State, name: str) -> None:
        """Continue exactly from what `save` returned; `name` is the task's in a StateError.

        The state is set twice: recomputing what is derived from it moves the solver's starting point.
        """
        self._env.reset()
        self._env.step(np.zeros(4))  # after it the task's numbers are there, so that theirs is the form to expect
        task = {key: _form(value) for key, value in vars(self._env).items() if _is_number(value)}
        arrays = {key: ArraySpec(array.shape, str(array.dtype)) for key, array in self._model_arrays().items()}
        physics = ArraySpec(self._state().shape, "float64")
        check(saved, {"physics": physics, "model": arrays, "task": task, "random": PCG64}, name, "simulator")
        for key, array in self._model_arrays().items():
            array[...] = saved["model"][key]
        vars(self._env).update({key: _copied(value) for key, value in saved["task"].items()})
        self._env.np_random.bit_generator.state = saved["random"]
        self._set_state(saved["physics"])
        self.settle()

    def _model_arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self.model, name) for name in MODEL_ARRAYS.split()}

    def _state(self) -> np.ndarray:
        kind = self._mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(self._mujoco.mj_stateSize(self.model, kind))
        self._mujoco.mj_getState(self.model, self.data, state, kind)
        return state

    def _set_state(self, state: np.ndarray) -> None:
        self._mujoco.mj_setState(self.model, self.data, state, self._mujoco.mjtState.mjSTATE_INTEGRATION)


class Camera:
    """Pictures of a simulator from one of its cameras, the way up that the published runs saw."""

    def __init__(self, simulator: Simulator, name: str, size: int, render: str) -> None:
        """Open OpenGL; `render` is `reference`, or `fast` without shadows, reflections and multisampling."""
        flags = simulator._mujoco.mjtRndFlag
        if render == "fast":
            simulator.model.vis.quality.offsamples = 0
        self._simulator, self._name = simulator, name
        self._renderer = gl.make_renderer(simulator.model, size)
        atexit.register(self._renderer.close)  # Before MuJoCo ends its display.
        self._off = (flags.mjRND_SHADOW, flags.mjRND_REFLECTION) if render == "fast" else ()

    def picture(self) -> np.ndarray:
        """Return uint8 [size, size, 3]; upside down as mujoco-py delivered it (camera `corner` is mounted so)."""
        self._renderer.update_scene(self._simulator.data, camera=self._name)
        for flag in self._off:
            self._renderer.scene.flags[flag] = 0
        return np.ascontiguousarray(self._renderer.render()[::-1])

    def close(self) -> None:
        """Give OpenGL back."""
        atexit.unregister(self._renderer.close)
        self._renderer.close()


class Metaworld:
    """A Meta-world task from pixels, or from the 39 numbers of its state."""

    def __init__(
        self,
        task: str,
        seed: int,
        *,
        obs: str = "image",
        camera: str = "corner",
        size: int = 64,
        render: str = "reference",
        length: int = LIMIT,
        repeat: int = 1,
    ) -> None:
        """Load the task; `length` is the episode's limit in simulator steps, at most 500, which is not a terminal end.

        Raises EnvironmentUnavailable when images are asked for and there is no OpenGL.
        """
        if not 1 <= length <= LIMIT:
            raise ConfigError(f"env.metaworld.length={length}: expected 1 to {LIMIT}")
        if obs == "image":
            gl.prepare()
        self._name, self._length, self._repeat = f"metaworld_{task}", length, repeat
        self._simulator = Simulator(task, seed)
        self._camera = Camera(self._simulator, camera, size, render) if obs == "image" else None
        self._steps, self._running = 0, False
        self._space = BoxAction(4)
        image, state = ArraySpec((size, size, 3), "uint8"), ArraySpec((39,), "float32")
        entries = {"image": image} if self._camera else {"state": state}
        self.spec = EnvSpec(entries, self._space, repeat, success=True)

    def reset(self) -> Step:
        """Draw a goal and return the first record."""
        observation = self._simulator.reset()
        self._simulator.settle()
        self._steps, self._running = 0, True
        return record(self._show(observation), 0.0, first=True, log_success=0.0)

    def step(self, action: Any) -> Step:
        """Return what follows `action` [4], clipped to ±1; `log_success` is 1 where the task is solved.

        Raises RuntimeError after the last record of an episode.
        """
        if not self._running:
            raise RuntimeError(f"{self._name}: the episode is over; call reset()")
        clipped = box(action, self._space)
        total, success = 0.0, 0.0
        observation = np.zeros(39)
        for _ in range(self._repeat):
            observation, reward, solved = self._simulator.step(clipped)
            total, success = total + reward, max(success, solved)
            self._steps += 1
            if self._steps >= self._length:
                break
        self._running = self._steps < self._length
        return record(self._show(observation), total, last=not self._running, log_success=success)

    def save(self) -> State:
        """Return the simulator's state and the step count."""
        return {"name": self._name, "simulator": self._simulator.save(), "steps": self._steps, "running": self._running}

    def load(self, state: State) -> None:
        """Continue exactly from what `save` returned; StateError when the state belongs to another task."""
        schema: Schema = {"name": self._name, "simulator": dict, "steps": range(self._length + 1), "running": bool}
        check(state, schema, self._name)
        self._simulator.load(state["simulator"], self._name)
        self._steps, self._running = state["steps"], state["running"]

    def close(self) -> None:
        """Give OpenGL back."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def _show(self, observation: np.ndarray) -> dict[str, np.ndarray]:
        if self._camera is None:
            return {"state": observation.astype(np.float32)}
        return {"image": self._camera.picture()}
