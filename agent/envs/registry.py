"""From a task's name and settings to an environment."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from agent.contract.known_tasks import suite_of, validate_task
from agent.contract.schema import EnvSettings
from agent.contract.suites import suites
from agent.contract.words import ConfigError
from agent.envs.base import SEED_LIMIT, Env, EnvironmentUnavailable, check_seed

TRAINING, EVALUATION = 0, 1


def _module(suite: str) -> Any:
    """Return a suite's module; a run imports its own suite only."""
    return import_module(f"agent.envs.{suite}")


def _split(task: str) -> tuple[str, str]:
    suite = suite_of(validate_task(task))
    return suite, task.removeprefix(suite).removeprefix("_")


def make(task: str, settings: EnvSettings, seed: int, restart: int = 0) -> Env:
    """Return the task's environment, all its random numbers derived from `seed`.

    `restart` counts the replacements of a lost environment, which must not repeat the episodes of its forerunner.
    Raises ConfigError or ValueError for an unknown task and for a setting out of range, EnvironmentUnavailable when a
    package or a driver is missing.
    """
    suite, name = _split(task)
    seed = check_seed(seed)
    if restart:
        seed = int(np.random.SeedSequence((seed, restart)).generate_state(1)[0] % SEED_LIMIT)
    arguments = (name, seed) if name else (seed,)
    kind = getattr(_module(suite), suites()[suite].kind)
    return kind(*arguments, **getattr(settings, suite).model_dump())


def factories(task: str, settings: EnvSettings, seed: int, count: int, purpose: int = TRAINING) -> list[partial[Env]]:
    """Return `count` factories for a run's environments, for training or evaluation, seeds distinct and repeatable."""
    draws = np.random.SeedSequence((check_seed(seed), purpose)).generate_state(count) % SEED_LIMIT
    return [partial(make, task, settings, int(draw)) for draw in draws]


def check_available(task: str, settings: EnvSettings, drivers: bool = True) -> None:
    """Return when the task's name, packages and drivers are there, cheaply and without importing JAX.

    `drivers` False leaves out what only the machine that runs it must have (OpenGL).
    Raises ConfigError, one line that names the command that helps.
    """
    try:
        _check(task, settings, drivers)
    except (ValueError, EnvironmentUnavailable) as error:
        raise ConfigError(str(error)) from error


def _check(task: str, settings: EnvSettings, drivers: bool) -> None:
    suite, name = _split(task)
    section: Any = getattr(settings, suite)
    said = suites()[suite]
    if said.package is not None and find_spec(said.package) is None:
        raise EnvironmentUnavailable(
            f"{task}: package {said.package!r} is not installed; run: pip install harmony-bench"
        )
    if said.checks:
        _module(suite).available(name, section)
    elif said.package is None:
        make(task, settings, 0).close()
    if drivers and getattr(section, "obs", None) in said.opengl:
        import_module("agent.envs.gl").check_gl()
