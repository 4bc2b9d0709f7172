"""Crafter, from images. An optional extra."""

from __future__ import annotations

from typing import Any

import numpy as np

from agent.contract.schema import CrafterEnv
from agent.envs.base import EnvironmentUnavailable
from agent.envs.replayed import Observation, Outcome, Replayed
from agent.spec import ArraySpec, DiscreteAction, EnvSpec

SUITE = "Crafter"
TASKS = ("reward", "noreward")
MISSING = "Crafter is not installed; run: pip install 'harmony-bench[crafter]'"


def package() -> Any:
    """Return the crafter package, or raise EnvironmentUnavailable with the pip command."""
    try:
        import crafter
    except ModuleNotFoundError as error:
        raise EnvironmentUnavailable(MISSING) from error
    return crafter


def available(task: str, settings: CrafterEnv) -> None:
    """Raise EnvironmentUnavailable when the package is missing."""
    package()


class Crafter(Replayed):
    """The game: 17 actions, +1 for each new achievement, ±0.1 for health, an end when the player dies."""

    def __init__(self, task: str, seed: int, *, repeat: int = 1, size: int = 64, length: int = 10_000) -> None:
        """Make the world; dying is a terminal end, the limit of `length` frames is not."""
        self._env: Any = package().Env(size=(size, size), reward=task == "reward", length=length)
        actions = DiscreteAction(int(self._env.action_space.n))
        entries = {"image": ArraySpec((size, size, 3), "uint8")}
        super().__init__(f"crafter_{task}", seed, EnvSpec(entries, actions, repeat), length)

    def begin(self, seed: int) -> Observation:
        """Make a new world; Crafter draws it from its seed and a count of episodes, which starts anew here."""
        self._env._seed, self._env._episode = seed, 0
        return {"image": self._env.reset()}

    def advance(self, action: Any) -> Outcome:
        """Take one step."""
        image, reward, over, info = self._env.step(action)
        return {"image": np.asarray(image)}, float(reward), bool(over), bool(over) and info["discount"] == 0
