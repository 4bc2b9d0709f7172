"""What runs will cost, as a plan keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from agent.contract.records import EstimateRecord


@dataclass(frozen=True)
class Estimate:
    """Device-hours that runs will take, from `measured` finished runs of their kind; `unknown` runs have no measure."""

    hours: float = 0.0
    measured: int = 0
    unknown: int = 0

    def __add__(self, other: Estimate) -> Estimate:
        """Return the estimate of both's runs."""
        unknown = self.unknown + other.unknown
        return Estimate(self.hours + other.hours, max(self.measured, other.measured), unknown)

    def as_record(self) -> EstimateRecord:
        """Return it as the plan keeps it: `hours` of all runs, null while runs are unknown, and of the known ones."""
        hours = None if self.unknown else self.hours
        return EstimateRecord(hours=hours, known_hours=self.hours, measured=self.measured, unknown=self.unknown)

    @classmethod
    def of(cls, record: EstimateRecord) -> Estimate:
        """Return what the plan keeps."""
        return cls(record.known_hours, record.measured, record.unknown)
