"""What an environment looks like to a model: the arrays it shows and the actions it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

STEP_KEYS = ("reward", "is_first", "is_last", "is_terminal")


@dataclass(frozen=True)
class ArraySpec:
    """One observation entry: `shape` without batch axes and `dtype` as numpy names it ("uint8", "float32")."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of one array of this kind."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class DiscreteAction:
    """Actions 0..n-1, passed as integers."""

    n: int

    @property
    def size(self) -> int:
        """Length of the action as the agent stores it (one-hot)."""
        return self.n


@dataclass(frozen=True)
class BoxAction:
    """`dim` real numbers in [-1, 1]; the environment clips what lies beyond."""

    dim: int

    @property
    def size(self) -> int:
        """Length of the action as the agent stores it."""
        return self.dim


Action = DiscreteAction | BoxAction


@dataclass(frozen=True)
class EnvSpec:
    """What one environment shows and takes.

    `obs` names the entries (images are uint8 [height, width, channels], vectors float32); `repeat` is the number of
    frames in one environment step; `success` tells whether records carry `log_success`.
    """

    obs: Mapping[str, ArraySpec]
    action: Action
    repeat: int = 1
    success: bool = False

    @property
    def arrays(self) -> dict[str, ArraySpec]:
        """Every array of a record, observation entries first."""
        scalars = {"reward": ArraySpec((), "float32")}
        scalars |= {key: ArraySpec((), "bool") for key in STEP_KEYS[1:]}
        if self.success:
            scalars["log_success"] = ArraySpec((), "float32")
        return {**self.obs, **scalars}
