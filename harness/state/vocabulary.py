"""The words for where a run is and why it ended, each with all that follows from it.

A run's own process writes `status.json` (state and reason, `agent.contract.records.Status`), its cluster says where its
job is and what it did to it (`harness.backend.base.Job`, from the cluster's own words), and `survey` makes of both what
is shown: one State, and of an ended run one Reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent.contract.reasons import Reason


class State(StrEnum):
    """Where a run is. An ended run has a diagnosis that says why it is not done."""

    PLANNED = "planned"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    ENDED = "ended"
    UNKNOWN = "unknown"


LIVE = (State.QUEUED, State.RUNNING, State.UNKNOWN)  # a job has it or may, so that it must not be submitted again
STYLES: dict[str, str] = {  # on a terminal, in the order in which they are told; the reasons of ends come after
    State.DONE: "green",
    State.RUNNING: "cyan",
    State.QUEUED: "dim",
    State.UNKNOWN: "yellow",
    State.PLANNED: "dim",
}


class Retry(StrEnum):
    """What a resubmission should do about a reason."""

    AS_IS = "as it was"
    FIX = "with a change"
    STOP = "not before its cause is removed"


@dataclass(frozen=True)
class Meaning:
    """What follows from a reason: what to do, what `--fix` changes, and the word for several that it goes by as well.

    `again` says that without a change the run would surely end the same way.
    """

    retry: Retry = Retry.AS_IS
    fix: str = ""
    alias: str = ""
    again: bool = False


MEANINGS = {
    Reason.DONE: Meaning(),
    Reason.STOPPED: Meaning(),
    Reason.PREEMPTED: Meaning(),
    Reason.TIMEOUT: Meaning(Retry.FIX, "walltime from the measured speed"),
    Reason.GPU_OOM: Meaning(Retry.FIX, "fewer runs per pack", "oom", again=True),
    Reason.HOST_OOM: Meaning(Retry.FIX, "more memory", "oom", again=True),
    Reason.NODE_FAILURE: Meaning(Retry.FIX, "exclude the node"),
    Reason.CANCELLED: Meaning(),
    Reason.DISK_FULL: Meaning(Retry.STOP),
    Reason.ENVIRONMENT: Meaning(Retry.STOP),
    Reason.DEVICE: Meaning(Retry.STOP),
    Reason.RECORD: Meaning(alias="failed"),
    Reason.CHECKPOINT: Meaning(Retry.STOP),
    Reason.DAMAGED: Meaning(),
    Reason.NAN: Meaning(Retry.STOP, alias="failed"),
    Reason.CODE_ERROR: Meaning(Retry.STOP, alias="failed"),
    Reason.WRONG_INPUT: Meaning(Retry.STOP),
    Reason.NOT_STARTED: Meaning(Retry.STOP, alias="failed"),
    Reason.KILLED: Meaning(alias="failed"),
    Reason.LOST: Meaning(alias="failed"),
}
ALIASES = {meaning.alias for meaning in MEANINGS.values()} - {""}


def known_words() -> list[str]:
    """Return the words that name runs by where they are or why they ended."""
    return sorted({*State, *Reason, *ALIASES})


def meant(word: str) -> set[str]:
    """Return the states or reasons that a word stands for: itself, or those that go by it as well."""
    return {word, *(reason for reason, meaning in MEANINGS.items() if meaning.alias == word)}


def rank(label: str) -> tuple[int, str]:
    """Return where a state or a reason comes in a list."""
    states = list(STYLES)
    return (states.index(label) if label in states else len(states), label)
