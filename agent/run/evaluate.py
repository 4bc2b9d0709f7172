"""Evaluation: whole episodes of the current policy, in many environments at once, without touching training."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from agent.contract.config import Config
from agent.contract.known_tasks import suite_of
from agent.contract.suites import suites
from agent.envs import registry
from agent.envs.base import SEED_LIMIT
from agent.envs.vector import Records, VectorEnv

POLL_S = 0.05
ABANDON_S = 10.0


class EvaluationStopped(Exception):
    """The process was asked to stop; nothing of the evaluation is kept."""


BatchPolicy = Callable[[list[Records]], list[np.ndarray]]
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

    def add(self, records: Records, active: np.ndarray, cut: np.ndarray | bool = False) -> None:
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
        enough = suites()[suite_of(config.task)].workers_from
        choice = "on" if enough is not None and cores >= enough and count > 1 else "off"
    return min(count, max(1, cores)) if choice == "on" else 0


def make_envs(config: Config, env_steps: int) -> tuple[VectorEnv, Episodes]:
    """Return fresh environments for the evaluation at a step, and the books to keep about them."""
    quota = quotas(config.run.eval_episodes, config.run.eval_envs)
    seed = seed_at(config.seed, env_steps)
    makers = registry.factories(config.task, config.env, seed, len(quota), registry.EVALUATION)
    return VectorEnv(makers, workers(config, len(quota))), Episodes(quota)


def overlaps(config: Config) -> bool:
    """Return whether training goes on during evaluations.

    It does by default where the two compete least: the device is not the CPU, and worker processes step the
    environments.
    """
    choice = config.run.eval_overlap
    if choice == "auto":
        envs = len(quotas(config.run.eval_episodes, config.run.eval_envs))
        return jax.default_backend() != "cpu" and workers(config, envs) > 0
    return choice == "on"


class _Player:
    """One run's part of an evaluation; what goes wrong with its environments ends it alone."""

    def __init__(self, config: Config, env_steps: int) -> None:
        self.error: Exception | None = None
        self.records: Records = {}
        self._made: tuple[VectorEnv, Episodes] | None = None
        self._closed = False
        self.guarded(lambda: self._make(config, env_steps))

    def _make(self, config: Config, env_steps: int) -> None:
        self._made = make_envs(config, env_steps)
        envs, books = self._made
        self.action, self.active = _nothing(envs), books.active

    @property
    def playing(self) -> bool:
        return self.error is None and bool(self.active.any())

    def begin(self) -> None:
        assert self._made is not None
        self._made[0].step_async(self.action, self.active)

    def finish(self) -> None:
        assert self._made is not None
        envs, books = self._made
        self.records = envs.step_wait()
        books.add(self.records, self.active, envs.was_cut)
        self.active = books.active

    def outcome(self) -> dict[str, Any] | Exception:
        if self.error is not None:
            return self.error
        assert self._made is not None
        return self._made[1].row(success=self._made[0].spec.success)

    def close(self) -> None:
        if self._made is not None and not self._closed:
            self._closed = True
            self.guarded(self._made[0].close)

    def guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever an environment raises is its own run's outcome
            self.error = self.error or error


def evaluate(
    configs: list[Config], env_steps: list[int], policy: BatchPolicy, *, stopped: Callable[[], bool] = lambda: False
) -> list[dict[str, Any] | Exception]:
    """Play every member's episodes and return its row for scores.jsonl (without the steps and times), or its error.

    Raises: EvaluationStopped when `stopped()` turns true; what `policy` raises.
    """
    players: list[_Player] = []
    try:
        for config, step in zip(configs, env_steps, strict=True):
            if stopped():
                raise EvaluationStopped
            players.append(_Player(config, step))
        while going := [player for player in players if player.playing]:
            if stopped():
                raise EvaluationStopped
            for player in going:
                player.guarded(player.begin)
            for player in going:
                if player.error is None:
                    player.guarded(player.finish)
            # Those who have ended are shown something, as the policy is compiled for all of them; it is not played.
            shown = next((player.records for player in players if player.records), None)
            if shown is None:
                break
            actions = policy([player.records or shown for player in players])
            for player, action in zip(players, actions, strict=True):
                player.action = action
        for player in players:
            player.close()
        return [player.outcome() for player in players]
    finally:
        for player in players:
            player.close()


class Evaluation:
    """An evaluation of some runs, played in a thread of its own; `seconds` is how long it took, after `done`."""

    def __init__(self, configs: list[Config], env_steps: list[int], policy: BatchPolicy) -> None:
        self._began = time.monotonic()
        self.seconds = 0.0
        self._end = threading.Event()
        self._outcomes: list[dict[str, Any] | Exception] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, args=(configs, env_steps, policy), name="evaluation")
        self._thread.daemon = True
        self._thread.start()

    def _work(self, configs: list[Config], env_steps: list[int], policy: BatchPolicy) -> None:
        try:
            self._outcomes = evaluate(configs, env_steps, policy, stopped=self._end.is_set)
        except BaseException as error:  # noqa: BLE001 - raised again by outcomes(), in the thread that asks
            self._error = error
        self.seconds = time.monotonic() - self._began

    @property
    def done(self) -> bool:
        """Whether every episode has been played, or an error has ended it."""
        return not self._thread.is_alive()

    def wait(self, until: Callable[[], bool]) -> bool:
        """Wait until it is done or `until()` turns true; return whether it is done."""
        while not self.done and not until():
            self._thread.join(POLL_S)
        return self.done

    def outcomes(self) -> list[dict[str, Any] | Exception]:
        """Return every run's row or error, after `done`; raises what ended the evaluation as a whole."""
        if isinstance(self._error, Exception):
            raise self._error
        if self._error is not None:
            raise RuntimeError(f"the evaluation was left by {self._error!r}") from self._error
        return self._outcomes

    def abandon(self) -> None:
        """End it between two steps; nothing of it is kept. An environment that hangs is not waited for."""
        self._end.set()
        self._thread.join(ABANDON_S)


def _nothing(envs: VectorEnv) -> np.ndarray:
    """Return actions that the first step, which resets every environment, discards."""
    dim = getattr(envs.spec.action, "dim", None)
    return np.zeros(len(envs), np.int64) if dim is None else np.zeros((len(envs), dim), np.float32)
