"""Any gymnasium environment with image or vector observations."""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec as Entry

from agent.contract.schema import GymEnv
from agent.contract.words import ConfigError, nearest
from agent.envs.base import EnvironmentUnavailable
from agent.envs.gym_spaces import IMAGE, action_of, entries, names, resize, translate
from agent.envs.replayed import Observation, Outcome, Replayed
from agent.spec import ArraySpec, EnvSpec

SUITE = "Gym"


def find(env_id: str, module: str = "") -> Entry:
    """Return gymnasium's entry of an id, after importing `module` where one is named.

    Raises ConfigError naming the nearest id, EnvironmentUnavailable when the module cannot be found.
    """
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise EnvironmentUnavailable(
                f"env.gym.module={module}: {error}; name a module that Python can import from here (PYTHONPATH)"
            ) from error
    try:
        return gymnasium.spec(env_id)
    except gymnasium.error.Error as error:
        known = [f"gym_{name}" for name in gymnasium.registry]
        raise ConfigError(nearest(f"gym_{env_id}", known, "task")) from error


def available(env_id: str, settings: GymEnv) -> None:
    """Raise what is wrong with an id or with the module that registers it."""
    find(env_id, settings.module)


class Gym(Replayed):
    """One gymnasium environment.

    The one image becomes `image`, resized to `size`; numbers of any other shape become one float32 vector per entry
    (`vector`, or the names of a Dict space); Discrete observations become one-hot vectors (`agent/envs/gym_spaces.py`).
    `notes` says what is not taken as it is.
    """

    def __init__(
        self,
        env_id: str,
        seed: int,
        *,
        module: str = "",
        obs: str = "native",
        repeat: int = 1,
        size: int = 64,
        length: int = 0,
    ) -> None:
        """Make the environment.

        Raises ConfigError for an unknown id or a space that the agent cannot use, EnvironmentUnavailable when a package
        that it needs is not installed.
        """
        entry = find(env_id, module)
        self._picture, self._size = obs == "render", size
        try:
            how: dict[str, Any] = {"render_mode": "rgb_array"} if self._picture else {}
            self._env = gymnasium.make(entry, disable_env_checker=True, **how)
        except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
            raise EnvironmentUnavailable(f"gym_{env_id} needs a package that is not installed: {error}") from error
        task, self.notes = f"gym_{env_id}", list[str]()
        seen = {IMAGE: ArraySpec((size, size, 3), "uint8")}
        if not self._picture:
            self._entries, self.notes = entries(task, self._env.observation_space)
            seen = names(self._entries, size)
        super().__init__(task, seed, EnvSpec(seen, action_of(task, self._env.action_space), repeat), length)

    def begin(self, seed: int) -> Observation:
        """Reset the environment with its own seeding."""
        return self._show(self._env.reset(seed=seed)[0])

    def advance(self, action: Any) -> Outcome:
        """Take one step; truncation ends the episode without being terminal."""
        observation, reward, terminated, truncated, _ = self._env.step(translate(action, self._env.action_space))
        return self._show(observation), float(reward), bool(terminated or truncated), bool(terminated)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _show(self, observation: Any) -> Observation:
        if self._picture:
            return {IMAGE: resize(np.asarray(self._env.render()), self._size)}
        return {name: entry.read(observation, self._size) for name, entry in self._entries.items()}
