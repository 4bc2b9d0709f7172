"""A group of environments in one process, writing their records into arrays that another process may share."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from agent.envs.base import Env, EnvFactory, EnvironmentFault, State, Step, check_step
from agent.spec import EnvSpec

Command = tuple[int, Any]
"""(index within the group, action), the action None for a reset."""

ALIGN = 64


def layout(spec: EnvSpec, count: int) -> tuple[dict[str, int], int]:
    """Return the offset of every record array of `count` environments in one block of bytes, and the block's size."""
    offsets: dict[str, int] = {}
    end = 0
    for key, array in spec.arrays.items():
        offsets[key] = end
        end += -(-count * array.nbytes // ALIGN) * ALIGN
    return offsets, max(end, ALIGN)


def views(spec: EnvSpec, count: int, block: bytearray | mmap.mmap) -> dict[str, np.ndarray]:
    """Return record arrays [count, ...] laid over a block of bytes."""
    offsets, _ = layout(spec, count)
    return {
        key: np.ndarray((count, *array.shape), array.dtype, block, offsets[key]) for key, array in spec.arrays.items()
    }


def shared_file() -> int:
    """Return the descriptor of an empty file in memory that has no name, so that nothing is left of it after a kill."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("environments")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Group:
    """Environments made and stepped one after the other; `records` holds the latest record of each."""

    def __init__(self, factories: Sequence[EnvFactory], restart: int = 0) -> None:
        """Make the environments; `restart` > 0 is passed on so that a replacement does not repeat its forerunner."""
        options = {"restart": restart} if restart else {}
        self._envs: list[Env] = [factory(**options) for factory in factories]
        self.spec = self._envs[0].spec
        for index, env in enumerate(self._envs):
            if env.spec != self.spec:
                raise EnvironmentFault(f"environment {index} differs from environment 0: {env.spec} is not {self.spec}")
        self._checks = np.full(len(self._envs), 2)
        self.records: dict[str, np.ndarray] = {}

    def attach(self, block: bytearray | mmap.mmap) -> None:
        """Write records into `block` from now on."""
        self.records = views(self.spec, len(self._envs), block)

    def step(self, commands: Iterable[Command]) -> None:
        """Reset or step the environments named, leaving the others' records as they are."""
        for index, action in commands:
            env = self._envs[index]
            self._write(index, env.reset() if action is None else env.step(action))

    def save(self) -> list[State]:
        """Return the state of every environment."""
        return [env.save() for env in self._envs]

    def load(self, states: Sequence[State]) -> None:
        """Continue every environment from its state."""
        for env, state in zip(self._envs, states, strict=True):
            env.load(state)

    def close(self) -> None:
        """Close every environment."""
        for env in self._envs:
            env.close()

    def _write(self, index: int, step: Step) -> None:
        if self._checks[index]:
            check_step(step, self.spec, f"environment {index} ({type(self._envs[index]).__name__})")
            self._checks[index] -= 1
        for key, array in self.records.items():
            array[index] = step[key]
