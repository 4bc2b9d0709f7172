"""Environments that cannot be frozen: their state is a seed and the actions since, played again to restore it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from agent.envs.base import SEED_LIMIT, EnvironmentFault, State, Step, box, check_seed, discrete, record
from agent.envs.state import ANY, check
from agent.spec import ArraySpec, DiscreteAction, EnvSpec

Observation = Mapping[str, np.ndarray]
Outcome = tuple[Observation, float, bool, bool]
"""What one frame brings: observation, reward, whether the episode is over, whether that end is a terminal one."""


class Replayed(ABC):
    """Base of a suite that wraps someone else's environment: say how to begin an episode and how to advance a frame.

    Every episode has a seed of its own, derived from the environment's seed and the episode's number. `save` returns
    that number and the actions taken; `load` plays them again and checks that it arrives where `save` was called.
    """

    def __init__(self, name: str, seed: int, spec: EnvSpec, length: int = 0) -> None:
        """Set what all suites share; `length` > 0 limits an episode to so many frames, which is no terminal end."""
        self.name, self.spec = name, spec
        self._seed, self._length = check_seed(seed), length
        self._episode = self._frames = 0
        self._running = False
        self._actions: list[Any] = []
        self._last: Step = {key: np.zeros(array.shape, array.dtype) for key, array in spec.arrays.items()}

    @abstractmethod
    def begin(self, seed: int) -> Observation:
        """Begin an episode that `seed` decides, and return its first observation."""

    @abstractmethod
    def advance(self, action: Any) -> Outcome:
        """Take one frame with `action`: an int, or float32 [dim] within ±1."""

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Let go of what the environment holds."""

    def reset(self) -> Step:
        """Begin the next episode and return its first record."""
        self._episode += 1
        self._frames, self._running, self._actions = 0, True, []
        seed = np.random.SeedSequence((self._seed, self._episode)).generate_state(1)[0] % SEED_LIMIT
        self._last = record(self._copies(self.begin(int(seed))), 0.0, first=True)
        return self._last

    def step(self, action: Any) -> Step:
        """Repeat `action` for the frames of one step and return what follows, the rewards summed.

        Raises RuntimeError after the last record of an episode, ValueError for an action that is none.
        """
        if not self._running:
            raise RuntimeError(f"{self.name}: the episode is over; call reset()")
        space = self.spec.action
        action = discrete(action, space) if isinstance(space, DiscreteAction) else box(action, space)
        self._actions.append(action)
        total, last, terminal, observation = 0.0, False, False, {}
        for _ in range(self.spec.repeat):
            observation, reward, last, terminal = self.advance(action)
            total += float(reward)
            self._frames += 1
            last = last or self._frames == self._length
            if last:
                break
        self._running = not last
        self._last = record(self._copies(observation), total, last=last, terminal=terminal)
        return self._last

    def save(self) -> State:
        """Return the episode's number, its actions, and its latest record."""
        kind = self._action_array
        shape = (len(self._actions), *kind.shape[1:])
        return {
            "name": self.name,
            "seed": self._seed,
            "episode": self._episode,
            "running": self._running,
            "actions": np.array(self._actions, kind.dtype).reshape(shape),
            "last": {key: np.array(value) for key, value in self._last.items()},
        }

    def load(self, state: State) -> None:
        """Play the saved episode again, up to where it was saved.

        Raises StateError when the state belongs to another task, EnvironmentFault when the environment does not repeat
        itself.
        """
        schema = {"name": self.name, "seed": range(SEED_LIMIT), "episode": range(2**63), "running": bool}
        check(state, {**schema, "actions": self._action_array, "last": self.spec.arrays}, self.name)
        self._seed, self._episode, self._running = state["seed"], state["episode"], state["running"]
        self._last = expected = dict(state["last"])
        if not self._running:
            return
        self._episode -= 1
        step = self.reset()
        for action in state["actions"]:
            step = self.step(action)
        if any(not np.array_equal(step[key], expected[key]) for key in expected):
            raise EnvironmentFault(
                f"{self.name}: it does not repeat itself for equal seed and actions; it can't be resumed"
            )

    @property
    def _action_array(self) -> ArraySpec:
        space = self.spec.action
        if isinstance(space, DiscreteAction):
            return ArraySpec((ANY,), "int64")
        return ArraySpec((ANY, space.dim), "float32")

    def _copies(self, observation: Observation) -> dict[str, np.ndarray]:
        return {key: np.array(observation[key], array.dtype) for key, array in self.spec.obs.items()}
