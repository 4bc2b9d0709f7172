"""What gymnasium's spaces are to the agent: which entries it sees, and how actions get back. Nothing is guessed.

An image is a Box of bytes, or of reals from 0 to 1 or from 0 to 255. Its axes are told by their sizes; where they
cannot be told, or an entry can mean nothing to the agent, ConfigError names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from gymnasium import spaces

from agent.contract.words import ConfigError
from agent.spec import STEP_KEYS, ArraySpec, BoxAction, DiscreteAction

VECTOR, IMAGE = "vector", "image"
LOG = "log_"  # of what a run's log may see and its agent may not
RESERVED = (*STEP_KEYS, "action", "reset", "is_success")
NUMBERS = (spaces.Discrete, spaces.Box, spaces.MultiBinary, spaces.MultiDiscrete)
FEW, SMALLEST = 4, 16  # channels of one picture at most; a real-valued Box with smaller sides is no picture


@dataclass(frozen=True)
class Picture:
    """How an image entry is read: the axes [height, width, channels...] in the space's order, and its largest value."""

    axes: tuple[int, ...]
    top: float
    channels: int

    def read(self, value: np.ndarray, size: int) -> np.ndarray:
        """Return it as uint8 [size, size, channels]."""
        image = np.transpose(np.asarray(value), self.axes)
        image = image.reshape(*image.shape[:2], -1)
        if image.dtype != np.uint8:
            image = np.rint(np.clip(image, 0.0, self.top) * (255.0 / self.top)).astype(np.uint8)
        return resize(image, size)


@dataclass(frozen=True)
class Entry:
    """One entry of an observation: its name there, its space, and how it is read if it is an image."""

    source: str | None
    space: Any
    picture: Picture | None = None

    def spec(self, size: int) -> ArraySpec:
        """Return what the agent sees of it."""
        if self.picture:
            return ArraySpec((size, size, self.picture.channels), "uint8")
        return ArraySpec((spaces.flatdim(self.space),), "float32")

    def read(self, observation: Any, size: int) -> np.ndarray:
        """Return its part of an observation as the agent sees it."""
        value = observation if self.source is None else observation[self.source]
        if self.picture:
            return self.picture.read(value, size)
        return np.asarray(spaces.flatten(self.space, value), np.float32)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Return an image [height, width, channels] with sides of `size`; where it shrinks, areas are averaged."""
    if image.shape[:2] == (size, size):
        return image
    how = cv2.INTER_AREA if min(image.shape[:2]) >= size else cv2.INTER_NEAREST
    # OpenCV resizes four channels at a time at most with averaging
    parts = [image[..., i : i + 4] for i in range(0, image.shape[2], 4)]
    done = [cv2.resize(np.ascontiguousarray(part), (size, size), interpolation=how) for part in parts]
    return np.concatenate([part.reshape(size, size, -1) for part in done], axis=-1)


def entries(task: str, space: Any) -> tuple[dict[str, Entry], list[str]]:
    """Return the entries that the agent sees by their names, and a sentence on whatever is not taken as it is.

    Raises: ConfigError for an entry that means nothing to the agent, whose name is taken, or of which there are two.
    """
    found: dict[str, Entry] = {}
    notes: list[str] = []
    for name, part in space.spaces.items() if isinstance(space, spaces.Dict) else [(None, space)]:
        if name is not None and str(name).startswith(LOG):
            notes.append(f"{name} is left out of what the agent sees")
            continue
        if name in RESERVED:
            raise ConfigError(
                f"task {task!r}: its observation {name!r} has the name of what every step has ({', '.join(RESERVED)}); "
                "rename it in a wrapper"
            )
        picture = _picture(task, name, part, notes)
        if picture is None and not isinstance(part, NUMBERS):
            what = f"observation {name!r}, {part}," if name is not None else f"observations of {part}"
            raise ConfigError(f"task {task!r}: {what} are neither an image nor numbers; wrap the environment")
        label = IMAGE if picture else VECTOR if name is None else str(name)
        if label in found:
            first = found[label].source
            raise ConfigError(
                f"task {task!r}: {first!r} and {name!r} are both images, and the agent sees one; leave one out with "
                "gymnasium.wrappers.FilterObservation, or stack them in one image"
            )
        if picture and name not in (None, IMAGE):
            notes.append(f"{name} is what the agent sees as its image")
        found[label] = Entry(None if name is None else name, part, picture)
    if not found:
        raise ConfigError(f"task {task!r}: there is nothing in its observations that the agent may see")
    return found, notes


def _picture(task: str, name: Any, space: Any, notes: list[str]) -> Picture | None:
    """Return how an image is read, None for what is none."""
    if not isinstance(space, spaces.Box) or len(space.shape) not in (2, 3, 4):
        return None
    called = f"observation {name!r} " if name is not None else "the observation "
    bytes_, sides = space.dtype == np.uint8, sorted(space.shape)[-2:]
    if not bytes_ and (not np.issubdtype(space.dtype, np.floating) or sides[0] < SMALLEST):
        return None
    if not bytes_ and (float(space.low.min()), float(space.high.max())) not in ((0.0, 1.0), (0.0, 255.0)):
        if len(space.shape) == 2:
            return None
        raise ConfigError(
            f"task {task!r}: {called}has the shape of an image, {list(space.shape)}, and bounds {space.low.min():g} to "
            f"{space.high.max():g}; images go from 0 to 1 or from 0 to 255: scale it in a wrapper, or flatten it"
        )
    axes = _axes(space.shape)
    if axes is None:
        raise ConfigError(
            f"task {task!r}: {called}is an image of {list(space.shape)}, and which axis holds the channels cannot be "
            "told; bring it into [height, width, channels] with a wrapper"
        )
    channels = int(np.prod([space.shape[axis] for axis in axes[2:]]))
    if axes != tuple(range(len(space.shape))):
        kind = "stacked images" if len(space.shape) == 4 else "an image with its channels first"
        notes.append(f"{called}of {list(space.shape)} is taken as {kind}: {channels} channels, last")
    if not bytes_:
        notes.append(f"{called}goes from 0 to {space.high.max():g} and is stored as bytes")
    return Picture(axes, float(space.high.max()), channels)


def _axes(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the axes as height, width and channels (stacked ones first), None where they cannot be told."""
    if len(shape) == 2:
        return (0, 1)
    if len(shape) == 4:
        inner = _axes(shape[1:])
        return None if inner is None else (inner[0] + 1, inner[1] + 1, 0, inner[2] + 1)
    first, middle, last = shape
    few = (first <= FEW, last <= FEW)
    if few[0] != few[1]:
        return (0, 1, 2) if few[1] else (1, 2, 0)
    if (first == middle) != (middle == last):
        return (0, 1, 2) if first == middle else (1, 2, 0)
    return None


def action_of(task: str, space: Any) -> DiscreteAction | BoxAction:
    """Return what the agent decides; ConfigError for actions that it does not know."""
    if isinstance(space, spaces.Discrete):
        return DiscreteAction(int(space.n))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return BoxAction(int(np.prod(space.shape)))
    raise ConfigError(f"task {task!r}: actions of {space}; the agent knows Discrete and Box (real) actions")


def translate(action: Any, space: Any) -> Any:
    """Return the agent's action as the space has it.

    ±1 become the bounds; where a side is open, the two units next to the other bound, and where both are, ±1.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.start) + action
    below, above = np.isfinite(space.low), np.isfinite(space.high)
    low = np.where(below, space.low, np.where(above, space.high - 2.0, -1.0))
    high = np.where(above, space.high, np.where(below, space.low + 2.0, 1.0))
    value = low + (np.asarray(action).reshape(space.shape) + 1.0) / 2.0 * (high - low)
    return np.clip(value.astype(space.dtype), space.low, space.high)


def names(found: Mapping[str, Entry], size: int) -> dict[str, ArraySpec]:
    """Return what the agent sees, by name."""
    return {name: entry.spec(size) for name, entry in found.items()}
