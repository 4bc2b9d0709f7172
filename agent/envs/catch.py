"""Catch: a ball falls through a small board and a paddle of one cell must be under it. A newcomer's smoke task."""

from __future__ import annotations

from typing import Any

import numpy as np

from agent.contract.words import ConfigError
from agent.envs.base import State, Step, check_seed, discrete, record
from agent.envs.state import PCG64, check
from agent.spec import ArraySpec, DiscreteAction, EnvSpec

SUITE = "Catch"
TASKS = ("",)
LEFT, STAY, RIGHT = 0, 1, 2
BALL_CHANNEL, PADDLE_CHANNEL = 0, 1


class Catch:
    """The board of bsuite's Catch, drawn in colour: 3 actions, `rows - 1` steps, reward ±1 with the last.

    The ball starts in the top row in a column drawn uniformly, the paddle in the middle of the bottom row. As the two
    are independent, play that ignores the ball is worth exactly `2 / columns - 1`: -0.75 on 8 columns. The ball is
    drawn in red and the paddle in green, which is what the published agent's image loss on this task points to (near
    4 of summed squared error while the ball is unknown: four pixels of one channel).
    """

    def __init__(self, seed: int, *, rows: int = 8, columns: int = 8, size: int = 16) -> None:
        """Make the board; `size` is the side of the image in pixels.

        Raises ConfigError when the paddle could not reach every column in time or the image cannot hold whole cells.
        """
        if columns < 2 or rows - 1 < columns // 2:
            raise ConfigError(
                f"catch: {columns} columns need at least {columns // 2 + 1} rows (and 2 columns), "
                f"not {rows} rows, so that the paddle can reach the ball"
            )
        if size <= 0 or size % rows or size % columns:
            raise ConfigError(
                f"catch: an image of {size} pixels does not divide into {rows} rows and {columns} columns"
            )
        self._rows, self._columns, self._size = rows, columns, size
        self._cell = (size // rows, size // columns)
        self._random = np.random.default_rng(check_seed(seed))
        self._row = self._ball = self._paddle = 0
        self._running = False
        self._space = DiscreteAction(3)
        self.spec = EnvSpec({"image": ArraySpec((size, size, 3), "uint8")}, self._space)

    def reset(self) -> Step:
        """Drop a new ball and return the first record."""
        self._row, self._paddle = 0, self._columns // 2
        self._ball = int(self._random.integers(self._columns))
        self._running = True
        return record({"image": self._image()}, 0.0, first=True)

    def step(self, action: Any) -> Step:
        """Move the paddle (0 left, 1 stay, 2 right) and let the ball fall by one row.

        Raises RuntimeError after the last record of an episode, ValueError for an unknown action.
        """
        if not self._running:
            raise RuntimeError("catch: the episode is over; call reset()")
        move = discrete(action, self._space) - STAY
        self._paddle = min(max(self._paddle + move, 0), self._columns - 1)
        self._row += 1
        over = self._row == self._rows - 1
        self._running = not over
        reward = (1.0 if self._ball == self._paddle else -1.0) if over else 0.0
        return record({"image": self._image()}, reward, last=over, terminal=over)

    def save(self) -> State:
        """Return the board and the generator of its next balls."""
        return {
            "name": "catch",
            "random": self._random.bit_generator.state,
            "row": self._row,
            "ball": self._ball,
            "paddle": self._paddle,
            "running": self._running,
        }

    def load(self, state: State) -> None:
        """Continue from what `save` returned; StateError for what another board or suite saved."""
        columns = range(self._columns)
        schema = {"name": "catch", "random": PCG64, "row": range(self._rows), "ball": columns, "paddle": columns}
        check(state, {**schema, "running": bool}, "catch")
        self._random.bit_generator.state = state["random"]
        self._row, self._ball, self._paddle = state["row"], state["ball"], state["paddle"]
        self._running = state["running"]

    def close(self) -> None:
        """Nothing to let go of."""

    def _image(self) -> np.ndarray:
        image = np.zeros((self._size, self._size, 3), np.uint8)
        self._draw(image, self._row, self._ball, BALL_CHANNEL)
        self._draw(image, self._rows - 1, self._paddle, PADDLE_CHANNEL)
        return image

    def _draw(self, image: np.ndarray, row: int, column: int, channel: int) -> None:
        height, width = self._cell
        image[row * height : (row + 1) * height, column * width : (column + 1) * width, channel] = 255
