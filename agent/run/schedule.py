"""When things happen: prefill, updates, evaluations. Plain counters, the same on every machine, saved with a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agent.contract.config import Config


@dataclass
class Ratio:
    """How many updates are due: `ratio` per environment step on average, and one at the first call.

    `anchor` is the step that the updates made so far have paid for; fractions are carried over.
    """

    ratio: float
    anchor: float | None = None

    def due(self, env_steps: int) -> int:
        """Return the updates due at this step and count them as made."""
        if self.anchor is None:
            self.anchor = float(env_steps)
            return 1
        updates = int((env_steps - self.anchor) * self.ratio)
        self.anchor += updates / self.ratio
        return updates


@dataclass
class Every:
    """Whether a multiple of `period` has been passed since the last time; the first call answers `initial`."""

    period: int
    initial: bool = True
    anchor: int | None = None

    def due(self, env_steps: int) -> bool:
        """Return whether the time has come, and count it as taken."""
        if self.anchor is None:
            self.anchor = env_steps // self.period * self.period
            return self.initial
        if env_steps >= self.anchor + self.period:
            self.anchor += self.period
            return True
        return False


def update_ratio(config: Config) -> float:
    """Return updates per environment step: replayed steps per environment step over the steps in one batch."""
    return config.run.train_ratio / (config.batch_size * config.batch_length)


def round_steps(target: int, env_amount: int) -> int:
    """Return the environment steps of one block: whole rounds over all environments until `target` is reached."""
    return math.ceil(target / env_amount) * env_amount


def prefill_steps(config: Config) -> int:
    """Return the environment steps of random play: whole blocks until the replay holds enough windows."""
    amount, block = config.env.amount, round_steps(config.run.block, config.env.amount)
    needed = max(config.run.prefill, config.batch_size * config.batch_length)
    blocks = math.ceil((needed + amount * (config.batch_length - 1)) / block)
    return blocks * block


def final_step(config: Config) -> int:
    """Return the environment step at which a run ends: the first block boundary at or after `run.steps`."""
    block = round_steps(config.run.block, config.env.amount)
    start = prefill_steps(config)
    return start + max(0, math.ceil((config.run.steps - start) / block)) * block
