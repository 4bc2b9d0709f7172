"""Evaluation: whole episodes of the current policy, in many environments at once, without touching training."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agent.config import Config, suite_of
from agent.envs import registry
from agent.envs.base import SEED_LIMIT
from agent.envs.vector import Batch, VectorEnv

SLOW_SUITES = ("metaworld", "dmc")


class Stopped(Exception):
    """The process was asked to stop; nothing of the evaluation is kept."""


BatchPolicy = Callable[[list[Batch]], list[np.ndarray]]
"""Every member's records to its actions, [envs] or [envs, dim] each; it keeps the recurrent state itself."""


@dataclass
class Episodes:
    """The episodes of one run's evaluation, environment by environment."""

    quota: np.ndarray
    returns: list[list[float]] = field(default_factory=list[list[float]])
    lengths: list[list[int]] = field(default_factory=list[list[int]])
    successes: list[list[int]] = field(default_factory=list[list[int]])

    def __post_init__(self) -> None:
        count = len(self.quota)
        self.returns, self.lengths, self.successes = ([[] for _ in range(count)] for _ in range(3))
        self._return = np.zeros(count)
        self._length = np.zeros(count, int)
        self._success = np.zeros(count, bool)

    @property
    def active(self) -> np.ndarray:
        """Return which environments [envs] still owe episodes."""
        return np.array([len(done) for done in self.returns]) < self.quota

    def add(self, records: Batch, active: np.ndarray, cut: np.ndarray | bool = False) -> None:
        """Count one record of every active environment; an episode cut by the loss of its worker is no score."""
        first = active & records["is_first"]
        self._return[first], self._length[first], self._success[first] = 0.0, 0, False
        self._return[active] += records["reward"][active]
        self._length[active & ~first] += 1
        if "log_success" in records:
            self._success[active] |= records["log_success"][active] > 0
        for i in np.flatnonzero(active & records["is_last"] & ~np.asarray(cut)):
            self.returns[i].append(float(self._return[i]))
            self.lengths[i].append(int(self._length[i]))
            self.successes[i].append(int(self._success[i]))

    def row(self, *, success: bool) -> dict[str, Any]:
        """Return the evaluation's row for scores.jsonl; episodes are listed environment by environment."""
        returns = [score for scores in self.returns for score in scores]
        row: dict[str, Any] = {
            "metric": "success" if success else "return",
            "mean": float(np.mean(returns)),
            "episodes": returns,
            "lengths": [length for lengths in self.lengths for length in lengths],
        }
        if success:
            row["successes"] = [flag for flags in self.successes for flag in flags]
            row["success"] = float(np.mean(row["successes"]))
        return row


def quotas(episodes: int, envs: int) -> np.ndarray:
    """Return how many episodes each environment plays: as even as can be, so that short ones are not favoured."""
    envs = max(1, min(episodes, envs))
    return np.full(envs, episodes // envs) + (np.arange(envs) < episodes % envs)


def seed_at(seed: int, env_steps: int) -> int:
    """Return the seed of the evaluation at a step: the same after a resume, different at every step."""
    return int(np.random.SeedSequence((seed, env_steps)).generate_state(1)[0] % SEED_LIMIT)


def workers(config: Config, count: int) -> int:
    """Return how many worker processes `count` environments get, 0 for none."""
    choice, cores = config.env.processes, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if choice == "auto":
        suite = suite_of(config.task)
        pays = (suite in SLOW_SUITES and count > 1) or (suite == "atari" and count > 1 and cores >= 4)
        choice = "on" if pays else "off"
    return min(count, max(1, cores)) if choice == "on" else 0


def make_envs(config: Config, env_steps: int) -> tuple[VectorEnv, Episodes]:
    """Return fresh environments for the evaluation at a step, and the books to keep about them."""
    quota = quotas(config.run.eval_episodes, config.run.eval_envs)
    seed = seed_at(config.seed, env_steps)
    makers = registry.factories(config.task, config.env, seed, len(quota), registry.EVALUATION)
    return VectorEnv(makers, workers(config, len(quota))), Episodes(quota)


def evaluate(
    configs: list[Config], env_steps: list[int], policy: BatchPolicy, *, stopped: Callable[[], bool] = lambda: False
) -> list[dict[str, Any]]:
    """Play every member's episodes and return its row for scores.jsonl (without the steps and times).

    Raises: Stopped when `stopped()` turns true; EnvironmentFault.
    """
    pairs: list[tuple[VectorEnv, Episodes]] = []
    try:
        for config, step in zip(configs, env_steps, strict=True):
            pairs.append(make_envs(config, step))
        actions = [_nothing(envs) for envs, _ in pairs]
        active = [books.active for _, books in pairs]
        while any(mask.any() for mask in active):
            if stopped():
                raise Stopped
            for (envs, _), action, mask in zip(pairs, actions, active, strict=True):
                envs.step_async(action, mask)
            records = [envs.step_wait() for envs, _ in pairs]
            for (envs, books), record, mask in zip(pairs, records, active, strict=True):
                books.add(record, mask, envs.was_cut)
            active = [books.active for _, books in pairs]
            actions = policy(records)
        return [books.row(success=envs.spec.success) for envs, books in pairs]
    finally:
        for envs, _ in pairs:
            envs.close()


def _nothing(envs: VectorEnv) -> np.ndarray:
    """Return actions that the first step, which resets every environment, discards."""
    dim = getattr(envs.spec.action, "dim", None)
    return np.zeros(len(envs), np.int64) if dim is None else np.zeros((len(envs), dim), np.float32)
