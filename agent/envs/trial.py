"""Try a task out before anything depends on it: make one environment, reset it, take a step, look at what it shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from agent.contract.known_tasks import suite_of
from agent.contract.schema import EnvSettings
from agent.contract.suites import suites
from agent.contract.words import ConfigError
from agent.envs.base import Env, EnvironmentUnavailable, Step
from agent.envs.registry import check_available, make
from agent.spec import DiscreteAction


def try_out(task: str, settings: EnvSettings, drivers: bool = True) -> list[str]:
    """Return what there is to say of how the agent sees a task, one sentence each, when it can be played here.

    `drivers` False leaves out what only the machine that runs it must have (OpenGL). Raises ConfigError, in one line.
    """
    check_available(task, settings, drivers)
    suite = suites()[suite_of(task)]
    section: Any = getattr(settings, suite.module)
    # What a package brings is the same for everybody, and tested: it is enough that it is there.
    if suite.package is not None or (not drivers and getattr(section, "obs", "") in (*suite.opengl, "render")):
        return []
    doing = "made"
    try:
        env = make(task, settings, 0)
        try:
            doing = "reset"
            _check(task, env, env.reset())
            doing = "stepped"
            space = env.spec.action
            _check(task, env, env.step(0 if isinstance(space, DiscreteAction) else np.zeros(space.dim, np.float32)))
        finally:
            env.close()
    except (ConfigError, EnvironmentUnavailable) as error:
        raise ConfigError(str(error)) from error
    except Exception as error:
        said = (str(error).strip().splitlines() or ["without a word"])[0]
        raise ConfigError(f"{task}: it cannot be {doing}: {type(error).__name__}: {said}") from error
    return [f"{task}: {note}" for note in getattr(env, "notes", ())]


def _check(task: str, env: Env, step: Step) -> None:
    for name, spec in env.spec.obs.items():
        value = np.asarray(step[name])
        if value.shape != spec.shape or value.dtype != spec.dtype:
            found = f"{value.dtype}{list(value.shape)}"
            raise ConfigError(
                f"{task}: observation {name!r} is {found}, and its space says {spec.dtype}{list(spec.shape)}"
            )
        if not np.isfinite(value).all():
            raise ConfigError(f"{task}: observation {name!r} is not finite: {value.ravel()[:4]}")
