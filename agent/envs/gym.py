"""Any gymnasium environment with image or vector observations."""

from __future__ import annotations

import importlib
from typing import Any

import cv2
import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec as Entry

from agent.contract.words import ConfigError, nearest
from agent.envs.base import EnvironmentUnavailable
from agent.envs.replayed import Observation, Outcome, Replayed
from agent.spec import ArraySpec, BoxAction, DiscreteAction, EnvSpec

VECTOR = "vector"
IMAGE = "image"


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


class Gym(Replayed):
    """One gymnasium environment.

    Images (uint8, two or three axes) become `image`, resized to `size`; numbers of any other shape become one float32
    vector per entry (`vector`, or the names of a Dict space); Discrete observations become one-hot vectors. Bounded
    continuous actions are scaled from ±1 to their bounds.
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
        spec = EnvSpec(self._entries(env_id), self._action(env_id), repeat)
        super().__init__(f"gym_{env_id}", seed, spec, length)

    def begin(self, seed: int) -> Observation:
        """Reset the environment with its own seeding."""
        return self._show(self._env.reset(seed=seed)[0])

    def advance(self, action: Any) -> Outcome:
        """Take one step; truncation ends the episode without being terminal."""
        observation, reward, terminated, truncated, _ = self._env.step(self._translate(action))
        return self._show(observation), float(reward), bool(terminated or truncated), bool(terminated)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _entries(self, env_id: str) -> dict[str, ArraySpec]:
        if self._picture:
            return {IMAGE: ArraySpec((self._size, self._size, 3), "uint8")}
        return {name: self._entry(env_id, space) for name, space in self._named(self._env.observation_space).items()}

    def _named(self, space: Any) -> dict[str, Any]:
        if isinstance(space, spaces.Dict):
            return dict(space.spaces)
        return {IMAGE if _is_image(space) else VECTOR: space}

    def _entry(self, env_id: str, space: Any) -> ArraySpec:
        if _is_image(space):
            channels = space.shape[2] if len(space.shape) == 3 else 1
            return ArraySpec((self._size, self._size, channels), "uint8")
        if isinstance(space, spaces.Discrete | spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete):
            return ArraySpec((spaces.flatdim(space),), "float32")
        raise ConfigError(
            f"task 'gym_{env_id}': observations of {space} are neither an image nor numbers; wrap the environment"
        )

    def _action(self, env_id: str) -> DiscreteAction | BoxAction:
        space = self._env.action_space
        if isinstance(space, spaces.Discrete):
            return DiscreteAction(int(space.n))
        if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
            return BoxAction(int(np.prod(space.shape)))
        raise ConfigError(f"task 'gym_{env_id}': actions of {space}; the agent knows Discrete and Box (real) actions")

    def _translate(self, action: Any) -> Any:
        space = self._env.action_space
        if isinstance(space, spaces.Discrete):
            return int(space.start) + action
        assert isinstance(space, spaces.Box)
        action = action.reshape(space.shape)
        bounded = np.isfinite(space.low) & np.isfinite(space.high)
        low, high = np.where(bounded, space.low, -1.0), np.where(bounded, space.high, 1.0)
        return (low + (action + 1.0) / 2.0 * (high - low)).astype(space.dtype)

    def _show(self, observation: Any) -> Observation:
        if self._picture:
            return {IMAGE: self._resize(np.asarray(self._env.render()))}
        named = self._named(self._env.observation_space)
        values = (
            observation if isinstance(self._env.observation_space, spaces.Dict) else {next(iter(named)): observation}
        )
        return {name: self._array(space, values[name]) for name, space in named.items()}

    def _array(self, space: Any, value: Any) -> np.ndarray:
        if _is_image(space):
            return self._resize(np.asarray(value))
        return np.asarray(spaces.flatten(space, value), np.float32)

    def _resize(self, image: np.ndarray) -> np.ndarray:
        if image.shape[:2] != (self._size, self._size):
            shrinks = min(image.shape[:2]) >= self._size
            how = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
            image = cv2.resize(image, (self._size, self._size), interpolation=how)
        return image if image.ndim == 3 else image[..., None]


def _is_image(space: Any) -> bool:
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)
