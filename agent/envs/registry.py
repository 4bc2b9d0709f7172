"""From a task's name and settings to an environment: the one list of suites."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from agent.config import suite_of, validate_task
from agent.envs.base import SEED_LIMIT, Env, EnvFactory, check_seed
from agent.schema import EnvSettings

TRAINING, EVALUATION = 0, 1


def _atari(name: str, seed: int, options: dict[str, Any]) -> Env:
    from agent.envs.atari import Atari

    return Atari(name, seed, **options)


def _catch(name: str, seed: int, options: dict[str, Any]) -> Env:
    from agent.envs.catch import Catch

    return Catch(seed, **options)


# Imports stay inside: a run loads the packages of its own suite only.
SUITES: dict[str, Callable[[str, int, dict[str, Any]], Env]] = {"atari": _atari, "catch": _catch}


def make(task: str, settings: EnvSettings, seed: int, restart: int = 0) -> Env:
    """Return the task's environment, all its random numbers derived from `seed`.

    `restart` counts the replacements of a lost environment, which must not repeat the episodes of its forerunner.
    Raises ConfigError for an unknown task, EnvironmentUnavailable when a package or a driver is missing, ValueError for
    a setting out of range.
    """
    suite = suite_of(validate_task(task))
    section = getattr(settings, suite, None)
    options = section.model_dump() if section is not None else {}
    name = task.removeprefix(suite).removeprefix("_")
    seed = check_seed(seed)
    if restart:
        seed = int(np.random.SeedSequence((seed, restart)).generate_state(1)[0] % SEED_LIMIT)
    return SUITES[suite](name, seed, options)


def factories(task: str, settings: EnvSettings, seed: int, count: int, purpose: int = TRAINING) -> list[EnvFactory]:
    """Return `count` factories for a run's environments, for training or evaluation, seeds distinct and repeatable."""
    draws = np.random.SeedSequence((check_seed(seed), purpose)).generate_state(count) % SEED_LIMIT
    return [partial(make, task, settings, int(draw)) for draw in draws]
