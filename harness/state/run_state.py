"""Where a run is: the states, the words for them, and what is known of a run in each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.contract.records import AttemptRecord, Status
from agent.contract.words import ConfigError, nearest
from harness.backend.base import Answer, JobRef
from harness.backend.registry import backend_of
from harness.command import Command
from harness.state.diagnose import Diagnosis
from harness.state.vocabulary import LIVE, Retry, State, known_words, meant
from harness.study.folder import Planned

NO_STATUS = Status()
STARTING = "starting"  # the note of a run whose job has begun, and its process not yet


@dataclass(frozen=True)
class RunState:
    """A run as it is now."""

    run: Planned
    state: State
    status: Status | None = None
    where: JobRef | None = None
    attempt: AttemptRecord | None = None
    diagnosis: Diagnosis | None = None
    note: str = ""

    @property
    def label(self) -> str:
        """The word shown for it: its state, or the reason of its end."""
        return str(self.diagnosis.reason if self.diagnosis else self.state)

    @property
    def live(self) -> bool:
        """Whether a job has it, so that it must not be submitted again."""
        return self.state in LIVE

    @property
    def steps_per_s(self) -> float:
        """Environment steps per second, evaluations included, of the attempt that runs; 0 while unknown."""
        status, (made, elapsed) = self.status or NO_STATUS, self.worked
        if self.state is not State.RUNNING or elapsed <= 0:
            return 0.0
        return made / elapsed if elapsed > 30 and made > 0 else status.env_steps_per_s

    @property
    def worked(self) -> tuple[int, float]:
        """Environment steps and seconds of its last attempt, whatever it spent them on; 0 where they are not known."""
        status = self.status or NO_STATUS
        known = self.attempt is not None or status.attempt <= 1
        if self.state not in (State.RUNNING, State.DONE) or not known or status.heartbeat <= status.started:
            return 0, 0.0
        made = status.env_steps - (self.attempt.env_steps_before if self.attempt else 0)
        return max(0, made), status.heartbeat - status.started  # less than 0 while it repeats what a crash has lost

    @property
    def eta_s(self) -> float | None:
        """Seconds until it is complete at its present speed, None while that is unknown."""
        speed, status = self.steps_per_s, self.status or NO_STATUS
        return (status.total_env_steps - status.env_steps) / speed if speed > 0 else None


@dataclass(frozen=True)
class Overview:
    """All asked runs, and the answers of the kinds of clusters that were asked for them.

    `answered` is when all of these last answered in full, unix seconds, None where nobody knows.
    """

    runs: list[RunState]
    answers: Mapping[str, Answer] = field(default_factory=dict[str, Answer])
    answered: float | None = None

    @property
    def warning(self) -> str | None:
        """A sentence when a cluster did not answer: how old its last answer is."""
        silent = [(kind, answer.error) for kind, answer in self.answers.items() if answer.error]
        if not silent:
            return None
        last = "it has not answered for this study yet"
        if self.answered is not None:
            last = f"its last answer is {max(0.0, time.time() - self.answered):.0f} s old"
        return f"{backend_of(silent[0][0]).title} did not answer ({silent[0][1]}); {last}"


def filter_states(states: Iterable[RunState], words: Sequence[str]) -> list[RunState]:
    """Return the runs whose state or reason one of the words means; `oom` and `failed` stand for several."""
    wanted = set[str]().union(*map(meant, words))
    return [state for state in states if state.label in wanted or str(state.state) in wanted]


def to_launch(states: Sequence[RunState]) -> set[str]:
    """Return the planned runs that a relaunch continues: ended ones whose cause is not their own."""
    return {
        s.run.name
        for s in states
        if s.state is State.PLANNED or (s.diagnosis is not None and s.diagnosis.retry is Retry.AS_IS)
    }


def chosen_states(command: Command) -> list[str]:
    """Return the words of --state, each checked."""
    words = [word.strip() for word in command.flags.get("state", "").split(",") if word.strip()]
    for word in words:
        if word not in known_words():
            raise ConfigError(f"--state {word}: {nearest(word, known_words(), 'state')}")
    return words
