"""Damaged files of a run, kept aside under another name before the run goes on without them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

from agent.contract.files import RecordError, set_aside
from agent.contract.records import Holder, Provenance, read_record
from agent.contract.run_folder import RunDir, read_attempt, read_result, read_status


def mend(run: RunDir, config_hash: str, *, really: bool) -> None:
    """Say which files of a run are damaged and, if `really`, keep them aside; nothing is deleted.

    Of checkpoint and rows the agent itself is the judge.
    """
    for path, reason in damaged(run, config_hash):
        aside = f"is kept as {set_aside(path).name}" if really else "would be kept aside"
        print(f"  {reason}: {path.name} {aside}")


def damaged(run: RunDir, config_hash: str) -> Generator[tuple[Path, str]]:
    """Give each damaged file of a run that something reads, and what is wrong with it."""
    checks: list[tuple[Path, Callable[[], object]]] = [
        (run.status, lambda: read_status(run)),
        (run.result, lambda: read_result(run, config_hash)),
        (run.provenance, lambda: read_record(run.provenance, Provenance)),
        (run.lease, lambda: read_record(run.lease, Holder)),
    ]
    try:
        numbers = run.attempt_numbers()
    except RecordError as error:
        yield run.attempts, str(error)
        numbers = []
    for number in numbers:
        checks.append((run.attempts / str(number) / "attempt.json", lambda number=number: read_attempt(run, number)))
    for path, check in checks:
        try:
            check()
        except RecordError as error:
            yield path, str(error)
