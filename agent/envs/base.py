"""What an environment is: one object, numpy only, that says what it shows, what it takes, and how to freeze it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from agent.spec import BoxAction, DiscreteAction, EnvSpec

SEED_LIMIT = 2**31

State = dict[str, Any]
"""What decides an environment's future, as arrays and plain values by name; `agent.envs.state` says more."""

Step = dict[str, Any]
"""One record of an environment's stream: every entry of `EnvSpec.obs`, then `reward` (float32), `is_first`, `is_last`,
`is_terminal` (bool) and, in suites that know success, `log_success` (float32)."""


class EnvironmentUnavailable(Exception):
    """An environment cannot be made here; the message is one line that ends with the command that helps."""


class EnvironmentFault(RuntimeError):
    """An environment broke the interface (a NaN reward, a wrong shape): the message names the environment and value."""


@runtime_checkable
class Env(Protocol):
    """One environment. Resetting is explicit: after a record with `is_last`, call `reset`."""

    @property
    def spec(self) -> EnvSpec:
        """What it shows and takes."""
        ...

    def reset(self) -> Step:
        """Begin an episode and return its first record (reward 0, `is_first`)."""
        ...

    def step(self, action: Any) -> Step:
        """Return the record that follows `action`: an integer, or an array [dim] that is clipped to [-1, 1]."""
        ...

    def save(self) -> State:
        """Return everything that decides the future of this environment, copied: later steps don't change it."""
        ...

    def load(self, state: State) -> None:
        """Continue exactly as the environment that `save` was called on would, and leave `state` as it is.

        Raises StateError, before anything is used, when it is no state of this environment.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds; calling it twice is harmless."""
        ...


EnvFactory = Callable[..., Env]
"""Called as `factory()`, or as `factory(restart=k)` to replace an environment whose process was lost."""


def record(
    obs: Mapping[str, np.ndarray],
    reward: float,
    *,
    first: bool = False,
    last: bool = False,
    terminal: bool = False,
    **extra: float,
) -> Step:
    """Return one record of a stream, its types as `EnvSpec.arrays` promises; `extra` become float32."""
    scalars = {
        "reward": np.float32(reward),
        "is_first": np.bool_(first),
        "is_last": np.bool_(last),
        "is_terminal": np.bool_(terminal),
    }
    return {**obs, **scalars, **{key: np.float32(value) for key, value in extra.items()}}


def discrete(action: Any, space: DiscreteAction) -> int:
    """Return `action` as an int.

    Raises ValueError when it is not one whole number in 0..n-1.
    """
    value = np.asarray(action)
    if value.shape != () or value.dtype.kind not in "iu" or not 0 <= int(value) < space.n:
        raise ValueError(f"action {action!r}: expected one integer from 0 to {space.n - 1}")
    return int(value)


def box(action: Any, space: BoxAction) -> np.ndarray:
    """Return `action` as float32 [dim] clipped to [-1, 1].

    Raises ValueError when its shape is wrong or an entry is not finite.
    """
    value = np.asarray(action, np.float32)
    if value.shape != (space.dim,) or not np.isfinite(value).all():
        raise ValueError(f"action {action!r}: expected {space.dim} finite numbers")
    return np.clip(value, -1.0, 1.0)


def check_seed(seed: int) -> int:
    """Return `seed`.

    Raises ValueError when it is not a whole number in 0..2^31-1, the range every suite understands.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < SEED_LIMIT:
        raise ValueError(f"environment seed {seed!r}: expected a whole number from 0 to {SEED_LIMIT - 1}")
    return int(seed)


def check_step(step: Step, spec: EnvSpec, name: str) -> Step:
    """Return `step`.

    Raises EnvironmentFault when an entry is missing, has another shape or type than `spec` says, or is not finite.
    """
    for key, array in spec.arrays.items():
        if key not in step:
            raise EnvironmentFault(f"{name}: a step lacks {key!r}; it has {', '.join(step)}")
        value = np.asarray(step[key])
        if value.shape != array.shape or value.dtype != array.dtype:
            raise EnvironmentFault(
                f"{name}: {key!r} is {value.dtype}{list(value.shape)}, its spec says {array.dtype}{list(array.shape)}"
            )
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise EnvironmentFault(f"{name}: {key!r} is not finite: {step[key]}")
    return step
