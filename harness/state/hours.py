"""GPU-hours: estimated from runs that were measured, spent so far, and wasted, by cause."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from agent.contract.files import RecordError
from agent.contract.records import AttemptRecord
from agent.contract.run_folder import RunDir, RunKey, read_attempt, read_plan, read_result
from harness.backend.registry import backend_of
from harness.job.attempts import lost_s
from harness.state.run_state import RunState
from harness.state.vocabulary import State
from harness.study.estimate import Estimate
from harness.study.profiles import Profile
from harness.study.run import Run

LATEST = 50


@dataclass
class Spent:
    """Device-hours that attempts took, and the part of them that no checkpoint or result kept, by cause."""

    hours: float = 0.0
    wasted: dict[str, float] = field(default_factory=lambda: defaultdict[str, float](float))

    @property
    def wasted_hours(self) -> float:
        """The sum over causes."""
        return sum(self.wasted.values())


def attempts_of(run: RunDir) -> list[AttemptRecord]:
    """Return the records of a run's attempts; one that cannot be read is left out."""
    found: list[AttemptRecord] = []
    numbers: list[int] = []
    with contextlib.suppress(RecordError):
        numbers = run.attempt_numbers()
    for number in numbers:
        with contextlib.suppress(RecordError):
            if (record := read_attempt(run, number)) is not None:
                found.append(record)
    return found


def measured(runs: Path, device: str | None = None) -> dict[tuple[str, int], list[float]]:
    """Return device-seconds per environment step of finished runs in all studies, by kind and pack size.

    `device` limits them to devices whose name contains it.
    """
    rates: dict[tuple[str, int], list[float]] = defaultdict(list)
    for study in sorted(runs.iterdir()) if runs.is_dir() else []:
        plan = None
        with contextlib.suppress(RecordError):  # it is of no use here, and of no harm
            plan = read_plan(study)
        for row in plan.runs if plan else ():
            if not row.kind or len(rates[row.kind, 0]) >= LATEST:
                continue
            run = RunDir(RunKey(row.task, row.method, row.seed).folder(study))
            result = None
            with contextlib.suppress(RecordError):
                result = read_result(run, row.config_hash)
            if result is None or not result.env_steps:
                continue
            attempts = attempts_of(run)
            used = sum(a.device_seconds or 0.0 for a in attempts)
            if not used or (device and not _is(device, attempts)):
                continue
            rates[row.kind, attempts[-1].pack].append(used / result.env_steps)
            rates[row.kind, 0].append(used / result.env_steps)
    return rates


def _is(device: str, attempts: Sequence[AttemptRecord]) -> bool:
    return all(device.lower() in a.device.lower() for a in attempts)


def estimate(runs: Sequence[Run], rates: Mapping[tuple[str, int], Sequence[float]], pack: int) -> Estimate:
    """Return the device-hours of the runs, each in a pack of this size if one was measured, else in any."""
    hours, used, unknown = 0.0, 0, 0
    for run in runs:
        found = rates.get((run.kind, pack)) or rates.get((run.kind, 0))
        if not found or run.steps is None:
            unknown += 1
            continue
        used = max(used, len(found))
        hours += median(found) * run.steps / 3600
    return Estimate(hours, used, unknown)


def spent(runs: Iterable[RunDir], states: Mapping[str, RunState] | None = None) -> Spent:
    """Return what the runs' attempts took so far; attempts whose end nobody recorded end at their last sign of life."""
    total = Spent()
    for run in runs:
        state = (states or {}).get(f"{run.path.parent.parent.name}/{run.path.parent.name}/{run.path.name}")
        attempts = attempts_of(run)
        for index, attempt in enumerate(attempts):
            last = index == len(attempts) - 1
            running = last and state is not None and state.state is State.RUNNING
            seconds, lost = _seconds(run, attempt, running)
            total.hours += seconds / 3600
            if lost > 0 and not running:
                cause = attempt.reason or "lost"
                if last and state is not None and state.diagnosis is not None:
                    cause = str(state.diagnosis.reason)
                total.wasted[cause] += lost / 3600
    return total


def _seconds(run: RunDir, attempt: AttemptRecord, running: bool) -> tuple[float, float]:
    """Return device-seconds of an attempt, and those of them that were lost."""
    if attempt.device_seconds is not None and attempt.ended is not None:
        used = attempt.device_seconds
        whole = max(attempt.ended - attempt.started, 1e-9)
        return used, (attempt.lost_s or 0.0) * used / whole
    if running:
        return max(0.0, time.time() - attempt.started) / attempt.pack, 0.0
    seconds, lost = unclosed(run, attempt)
    return seconds / attempt.pack, lost / attempt.pack


def unclosed(run: RunDir, attempt: AttemptRecord) -> tuple[float, float]:
    """Return the seconds of an attempt whose end nobody recorded, to its last sign of life, and those it lost."""
    started = attempt.started
    paths = [run.attempts / str(attempt.attempt) / name for name in ("stdout.log", "stderr.log")]
    end = max([started, *(_changed(path) for path in (*paths, run.status))])
    return end - started, lost_s(run, started, end)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def text(estimated: Estimate, profile: Profile, jobs: int) -> str:
    """Return the estimate as one line, with the upper bound that walltime sets."""
    unit = "GPU-hours" if profile.gpus else "hours of this machine's cores"
    bound = backend_of(profile).most_hours(profile, jobs)
    limit = "" if bound is None else f"; at most {bound:,.0f} by walltime"
    if estimated.measured == 0:
        return f"{unit}: not known before one run of this kind has finished on this device{limit}"
    part = f", {estimated.unknown} runs not measured" if estimated.unknown else ""
    return f"{unit}: about {estimated.hours:,.2f} (from {estimated.measured} finished runs of this kind{part}){limit}"
