"""One trial: a study launched, disturbed some times, resubmitted until it is complete, and compared."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaign import kills
from tests.campaign.cases import Case
from tests.campaign.compare import differences
from tests.campaign.kills import Kill
from tests.campaign.study import ENDED, LIVE, Study

HOOK = Path(__file__).parent / "hook"
COMPLETE_S = 240.0  # from one kill to the next, or to the end


@dataclass
class Outcome:
    """What became of a trial: the kills that were carried out, and its runs by how they ended."""

    case: str
    backend: str
    kills: list[Kill] = field(default_factory=list[Kill])
    identical: list[str] = field(default_factory=list[str])
    different: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    stuck: str = ""


class Stuck(Exception):
    """A study that a plain resubmit does not carry on, or that is not done in time; the message says how it stands."""


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set these variables for the block, and for all processes that are started inside it."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _where(backend: str) -> tuple[str, ...]:
    return ("jobs=1",) if backend == "local" else ()


def undisturbed(case: Case, folder: Path, backend: str) -> Study:
    """Return the study of a case that nothing happens to, complete."""
    study = Study.of(case, folder, backend)
    study.launch(*_where(backend))
    for rows in study.looks(600):
        if all(row["state"] == "done" for row in rows):
            return study
        if not any(row["state"] in LIVE for row in rows):
            raise RuntimeError(f"{study.path}: an undisturbed study ended undone: {rows}")
    raise RuntimeError(f"{study.path}: an undisturbed study took too long")


def disturbed(case: Case, folder: Path, backend: str, planned: list[Kill]) -> tuple[Study, Outcome]:
    """Return a study that these kills were ordered for, and what became of it; only the comparison is left."""
    study, outcome = Study.of(case, folder, backend), Outcome(case.name, backend)
    orders = folder / "orders"
    orders.mkdir()
    try:
        with environment(HARMONY_CAMPAIGN=str(orders), PYTHONPATH=str(HOOK)):
            _carry_on(study, outcome, orders, planned)
    except Stuck as error:
        outcome.stuck = str(error)
    except Exception:  # noqa: BLE001 - a command of the product failed: that is what the campaign looks for
        outcome.stuck = traceback.format_exc()
    finally:
        kills.withdraw(orders)
    return study, outcome


def _carry_on(study: Study, outcome: Outcome, orders: Path, planned: list[Kill]) -> None:
    """Launch the study, leave one order after the other, and resubmit whatever has ended until all is done."""
    waiting = list(planned)
    while True:
        kill = waiting.pop(0) if waiting else None
        if kill is not None:
            kill.order(orders)
        if not study.path.exists():
            study.launch(*_where(study.backend))
        done = _until_fired_or_done(study, orders, kill)
        struck = kills.fired(orders, kill) if kill is not None else None
        if struck is not None:
            outcome.kills.append(struck)
        if done:
            return


def _until_fired_or_done(study: Study, orders: Path, kill: Kill | None) -> bool:
    """Resubmit what ends until the order has been carried out or every run is complete; return whether they are."""
    refused = 0
    rows = []
    for rows in study.looks(COMPLETE_S):
        if all(row["state"] == "done" for row in rows):
            return True
        if kill is not None and kills.fired(orders, kill):
            return False
        if any(row["state"] in ENDED for row in rows):
            resubmitted, words = study.resubmit()
            refused = 0 if resubmitted else refused + 1
            if refused > 3 and not any(row["state"] in LIVE for row in rows):
                raise Stuck(f"{_told(rows)}; {words}")
    raise Stuck(f"not done in time: {_told(rows)}")


def _told(rows: list[dict[str, object]]) -> str:
    return "; ".join(f"{r['method']} {r['state']} {r['reason']} {r['message']} at {r['env_steps']}" for r in rows)


def compare(study: Study, whole: Study, outcome: Outcome) -> None:
    """Note for every run of a complete study whether it is the undisturbed one, to the bit."""
    others = whole.run_folders()
    for name, run in study.run_folders().items():
        found = differences(run, others[name])
        if found:
            outcome.different[name] = found
        else:
            outcome.identical.append(name)
