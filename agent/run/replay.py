"""Uniform replay over windows of the environments' streams.

The stream of a run is round-robin: one transition of every environment, then the next round. Window i (in order of
completion) therefore lies in environment i mod n and starts at that environment's transition i div n. The replay
holds the latest `capacity` windows; sampling is uniform over them and may cross episode ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from agent.contract.config import Config
from agent.run.schedule import final_step
from agent.spec import ArraySpec, EnvSpec

Buffers = dict[str, jax.Array]
HostBuffers = dict[str, np.ndarray]


@dataclass(frozen=True)
class ReplaySpec:
    """Shapes of one run's replay: `rows` transitions are kept of each of `envs` environments."""

    arrays: dict[str, ArraySpec]
    envs: int
    rows: int
    length: int
    batch: int
    capacity: int

    @property
    def nbytes(self) -> int:
        """Bytes of one run's buffers."""
        return self.envs * self.rows * sum(spec.nbytes for spec in self.arrays.values())


def replay_spec(config: Config, env: EnvSpec) -> ReplaySpec:
    """Return the replay's shapes for a run; never more rows than the run has steps."""
    arrays = {name: spec for name, spec in env.arrays.items() if name != "log_success"}
    arrays["action"] = ArraySpec((env.action.size,), "float32")
    kept = math.ceil(config.replay.capacity / config.env.amount) + config.batch_length
    rows = min(kept, math.ceil(final_step(config) / config.env.amount))
    return ReplaySpec(arrays, config.env.amount, rows, config.batch_length, config.batch_size, config.replay.capacity)


def empty(spec: ReplaySpec) -> HostBuffers:
    """Return zeroed buffers [envs, rows, ...] in host memory."""
    return {k: np.zeros((spec.envs, spec.rows, *a.shape), a.dtype) for k, a in spec.arrays.items()}


def add(buffers: Buffers, transition: Buffers, index: jax.Array, rows: int) -> Buffers:
    """Return the buffers with round `index` of the stream ([envs, ...] each) in its place, the oldest overwritten."""
    slot = index % rows
    return {
        key: jax.lax.dynamic_update_index_in_dim(buffer, transition[key].astype(buffer.dtype), slot, axis=1)
        for key, buffer in buffers.items()
    }


def fill(buffers: HostBuffers, transitions: HostBuffers, start: int) -> None:
    """Write rounds `start`, `start`+1, … of the stream ([rounds, envs, ...] each) into host buffers, in place."""
    rows = next(iter(buffers.values())).shape[1]
    rounds = len(next(iter(transitions.values())))
    keep = min(rounds, rows)
    slots = np.arange(start + rounds - keep, start + rounds) % rows
    for key, buffer in buffers.items():
        buffer[:, slots] = np.moveaxis(transitions[key][rounds - keep :], 0, 1)


def window_range(transitions: jax.Array, envs: int, length: int, capacity: int) -> tuple[jax.Array, jax.Array]:
    """Return the half-open range of window numbers that can be sampled after `transitions` (all environments')."""
    end = jnp.maximum(transitions - envs * (length - 1), 0)
    return jnp.maximum(end - capacity, 0), end


def draw(key: jax.Array, transitions: jax.Array, spec: ReplaySpec) -> tuple[jax.Array, jax.Array]:
    """Return environments [B] and slots [B, T] of a uniform batch of windows."""
    low, high = window_range(transitions, spec.envs, spec.length, spec.capacity)
    window = jax.random.randint(key, (spec.batch,), low, high)
    slots = (window // spec.envs)[:, None] + jnp.arange(spec.length)
    return window % spec.envs, slots % spec.rows


def gather(buffers: Buffers, envs: jax.Array, slots: jax.Array) -> Buffers:
    """Return the batch [B, T, ...] at these places, `is_first` forced at its beginning."""
    batch = {key: buffer[envs[:, None], slots] for key, buffer in buffers.items()}
    return with_first_steps(batch)


def with_first_steps(batch: Buffers) -> Buffers:
    """Return the batch with `is_first` true at every window's first step."""
    first = jnp.asarray(batch["is_first"])
    return {**batch, "is_first": first.at[:, 0].set(True)}
