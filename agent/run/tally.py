"""The training episodes of a run's environments, counted as they end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.envs.vector import Records


@dataclass
class Tally:
    """Returns and lengths of the training episodes that ended since the last report."""

    returns: np.ndarray
    lengths: np.ndarray
    ended: list[tuple[float, int]]

    @classmethod
    def of(cls, envs: int) -> Tally:
        """Return the tally of environments that have not begun."""
        return cls(np.zeros(envs), np.zeros(envs, int), [])

    def add(self, records: Records) -> None:
        """Count one record of every environment."""
        first = records["is_first"]
        self.returns = np.where(first, 0.0, self.returns) + records["reward"]
        self.lengths = np.where(first, 0, self.lengths + 1)
        for i in np.flatnonzero(records["is_last"]):
            self.ended.append((float(self.returns[i]), int(self.lengths[i])))

    def report(self) -> dict[str, float]:
        """Return the episodes' metrics since the last call, empty when none ended."""
        ended, self.ended = self.ended, []
        if not ended:
            return {}
        returns, lengths = zip(*ended, strict=True)
        return {
            "episode/return": float(np.mean(returns)),
            "episode/length": float(np.mean(lengths)),
            "episode/count": float(len(ended)),
        }
