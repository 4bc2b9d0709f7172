"""DM Control's suite, from the task's vectors (proprio) or one camera (vision). An optional extra."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from agent.contract.schema import DmcEnv
from agent.contract.words import ConfigError, nearest
from agent.envs import gl
from agent.envs.base import EnvironmentUnavailable
from agent.envs.replayed import Observation, Outcome, Replayed
from agent.spec import ArraySpec, BoxAction, EnvSpec

SUITE = "Dmc"
OPENGL = ("vision",)
WORKERS_FROM = 1
# Where camera 0 is not the one that papers show.
USUAL_CAMERA = {"quadruped": 2}
MISSING = "DM Control is not installed; run: pip install 'harmony-bench[dmc]'"


def package() -> Any:
    """Return dm_control's suite module, or raise EnvironmentUnavailable with the pip command."""
    with suppress(EnvironmentUnavailable):
        gl.prepare()  # Without OpenGL the vectors still work.
    try:
        from dm_control import suite  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise EnvironmentUnavailable(MISSING) from error
    return suite


def find(task: str) -> tuple[str, str]:
    """Return (domain, task) of a name such as `walker_walk`.

    Raises ConfigError naming the nearest one.
    """
    known = {f"dmc_{domain}_{name}": (domain, name) for domain, name in package().ALL_TASKS}
    if f"dmc_{task}" not in known:
        raise ConfigError(nearest(f"dmc_{task}", known, "task"))
    return known[f"dmc_{task}"]


def available(task: str, settings: DmcEnv) -> None:
    """Raise what is wrong with a task's name or with the packages it needs."""
    find(task)


class Dmc(Replayed):
    """One task of DM Control; episodes last 1000 frames and have no terminal end unless the task says so."""

    def __init__(
        self, task: str, seed: int, *, obs: str = "proprio", repeat: int = 2, size: int = 64, camera: int = -1
    ) -> None:
        """Load the task; `repeat` frames make one step."""
        if obs == "vision":
            gl.prepare()
        domain, name = find(task)
        self._env: Any = package().load(domain, name)
        self._vision, self._size = obs == "vision", size
        self._camera = USUAL_CAMERA.get(domain, 0) if camera < 0 else camera
        bounds = self._env.action_spec()
        self._low, self._high = bounds.minimum, bounds.maximum
        super().__init__(f"dmc_{task}", seed, EnvSpec(self._entries(), BoxAction(int(bounds.shape[0])), repeat))

    def begin(self, seed: int) -> Observation:
        """Reset the task with a generator of its own."""
        self._env.task._random = np.random.RandomState(seed)
        return self._show(self._env.reset().observation)

    def advance(self, action: Any) -> Outcome:
        """Take one control step; discount 0 is a terminal end."""
        step = self._env.step(self._low + (action + 1.0) / 2.0 * (self._high - self._low))
        return self._show(step.observation), float(step.reward or 0.0), step.last(), step.last() and step.discount == 0

    def close(self) -> None:
        """Close the physics."""
        self._env.close()

    def _entries(self) -> dict[str, ArraySpec]:
        if self._vision:
            return {"image": ArraySpec((self._size, self._size, 3), "uint8")}
        entries = self._env.observation_spec().items()
        return {key: ArraySpec((int(np.prod(entry.shape, dtype=int)),), "float32") for key, entry in entries}

    def _show(self, observation: Any) -> Observation:
        if self._vision:
            return {"image": self._env.physics.render(self._size, self._size, camera_id=self._camera)}
        return {key: np.asarray(observation[key], np.float32).reshape(-1) for key in self._entries()}
