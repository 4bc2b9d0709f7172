"""What the benchmarks train on: presets, observations of the right shape without an environment, filled replays."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agent.contract.config import Config, make_config
from agent.contract.known_tasks import suite_of
from agent.contract.methods import PAIR
from agent.run import replay
from agent.run.pack import joined
from agent.run.programs import Programs, host_stack, over_runs
from agent.spec import Action, ArraySpec, BoxAction, DiscreteAction, EnvSpec

# preset → a task of its suite, and the actions of that suite (18 and 4 are the largest action sets).
SUITES: dict[str, tuple[str, Action]] = {
    "atari100k": ("atari_pong", DiscreteAction(18)),
    "metaworld": ("metaworld_lever_pull", BoxAction(4)),
    "catch_published": ("catch", DiscreteAction(3)),
    "debug": ("catch", DiscreteAction(3)),
}


def workload(preset: str, **settings: Any) -> tuple[Config, EnvSpec]:
    """Return a preset's configuration, and the shapes of observations and actions."""
    task, action = SUITES[preset]
    config = make_config([preset], {"task": task, **settings})
    side = getattr(config.env, suite_of(config.task)).size
    return config, EnvSpec({"image": ArraySpec((side, side, 3), "uint8")}, action)


def short_programs(config: Config, spec: EnvSpec) -> Programs:
    """Return compiled programs for replays as long as the prefill, which is all that a benchmark fills."""
    short = config.model_copy(update={"run": config.run.model_copy(update={"steps": 1})})
    return Programs(config, spec, replay.replay_spec(short, spec))


def update_function(programs: Programs) -> Any:
    """Return the jitted update of a pack, as training makes it between two reports."""
    return jax.jit(over_runs(partial(programs._update, metrics=False)), donate_argnums=(0, 1))


def filled(programs: Programs, *, seed: int = 0) -> replay.HostBuffers:
    """Return one run's replay of seeded noise; discrete actions are one-hot."""
    draw = np.random.default_rng(seed)
    buffers = replay.empty(programs.rows)
    for name, array in buffers.items():
        if array.dtype == np.uint8:
            array[...] = draw.integers(0, 256, array.shape, np.uint8)
        elif name == "action" and programs.discrete:
            array[...] = np.eye(array.shape[-1])[draw.integers(0, array.shape[-1], array.shape[:-1])]
        elif array.dtype == np.float32:
            array[...] = draw.uniform(-1, 1, array.shape)
        elif name == "is_first":
            array[...] = draw.random(array.shape) < 0.01
    return buffers


def runs_of(config: Config, size: int) -> list[Config]:
    """Return the configurations of a pack: seeds 0, 1, …, of both methods in turn."""
    return [config.model_copy(update={"seed": seed, "method": PAIR[(seed + 1) % 2]}) for seed in range(size)]


def pack_of(config: Config, programs: Programs, size: int) -> tuple[Any, Any, Any, np.ndarray]:
    """Return state, carry, replay on the device, and transitions counted, of a pack."""
    state = joined([programs.initial_state(run) for run in runs_of(config, size)])
    carry = programs.train_carry(state)
    replays = host_stack([filled(programs, seed=seed) for seed in range(size)])
    counted = programs.rows.rows * programs.rows.envs
    transitions = np.full(size, counted, np.int32)
    return state, carry, {name: jnp.asarray(array) for name, array in replays.items()}, transitions


def peak_memory_bytes() -> int | None:
    """Return the device's peak memory since the process began, None where the platform does not count it."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
