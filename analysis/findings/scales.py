"""The scales on which scores stand: what may be averaged over tasks, and which statistics say something there."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from analysis.stats.metrics import METRICS, Metric


@dataclass(frozen=True)
class Scale:
    """Scores of tasks that can be put side by side.

    Only `averaged` ones have a mean over tasks; others can be ranked. On `referenced` ones 1 is a reference score.
    Averages lie from `low` to `high`. `headline` is the statistic that a method's card shows large; `labels` are those
    of statistics that are called otherwise here.
    """

    name: str
    label: str
    headline: str = "mean"
    averaged: bool = True
    referenced: bool = False
    low: float = -math.inf
    high: float = math.inf
    labels: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)

    def __str__(self) -> str:
        return self.name

    @property
    def metrics(self) -> list[Metric]:
        """Return the statistics that say something on this scale."""
        found = [m for m in METRICS.values() if self.averaged and (self.referenced or not m.referenced)]
        return [replace(m, label=self.labels.get(m.name, m.label)) for m in found]

    @property
    def subtracted(self) -> list[str]:
        """Return the names of those that two methods may differ by."""
        return [m.name for m in self.metrics if not m.count]


HUMAN = Scale("human_normalised", "human-normalised score", "iqm", referenced=True)
REFERENCE = Scale("normalised", "normalised score", "iqm", referenced=True, labels={"superhuman": "Above reference"})
SUCCESS = Scale("success", "success rate", low=0.0, high=1.0)
RAW = Scale("raw", "raw return", averaged=False)
