"""What may befall a study, and when: kinds of kills and moments, chosen by a seeded generator."""

from __future__ import annotations

import random
import signal
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from agent.contract.files import write_json

KILL, TERM, INT, USR2 = signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR2

Signals = tuple[tuple[float, str, int], ...]
"""Seconds to wait, the role of the process that gets the signal, and its number; one after the other."""


@dataclass(frozen=True)
class Kind:
    """One way to disturb a job: signals to its processes, or a command to Slurm about it."""

    name: str
    signals: Signals = ()
    command: tuple[str, ...] = ()


AGENT = tuple(Kind(f"agent {n.name[3:]}", ((0.0, "agent", n),)) for n in (KILL, TERM, INT, USR2))
WORKER = tuple(Kind(f"worker {n.name[3:]}", ((0.0, "worker", n),)) for n in (KILL, TERM, INT, USR2))
IMPATIENT = Kind("agent TERM, then KILL", ((0.0, "agent", TERM), (0.05, "agent", KILL)))
POOL = tuple(Kind(f"pool {n.name[3:]}", ((0.0, "pool", n),)) for n in (KILL, TERM, INT))
CRASH = Kind("all KILL", tuple((0.0, role, int(KILL)) for role in ("pool", "worker", "agent")))
SLURM = (
    Kind("scancel", command=("scancel", "{job}")),
    Kind("scancel USR2", command=("scancel", "--batch", "--signal=USR2", "{job}")),
    Kind("scancel KILL", command=("scancel", "--full", "--signal=KILL", "{job}")),
    Kind("requeue", command=("scontrol", "requeue", "{job}")),
)
LOCAL = (*AGENT, *WORKER, *POOL, CRASH, IMPATIENT)
KINDS = {"local": LOCAL, "slurm": (*AGENT, *WORKER, *SLURM, IMPATIENT)}


@dataclass(frozen=True)
class Moment:
    """A moment of a training process: its occurrences, the one to take at most, and how long after it at most."""

    name: str
    most: int = 1
    after_s: float = 0.0


MOMENTS = (
    Moment("start", after_s=3.0),
    Moment("lease"),
    Moment("prefill", most=90),
    Moment("round", most=100),
    Moment("round", most=100),
    Moment("checkpoint", most=25, after_s=0.003),
    Moment("checkpoint", most=25, after_s=0.003),
    Moment("checkpoint", most=25, after_s=0.003),
    Moment("evaluation", most=8, after_s=0.05),
    Moment("evaluation", most=8, after_s=0.05),
    Moment("scores", most=8, after_s=0.002),
    Moment("metrics", most=30, after_s=0.001),
    Moment("status", most=3),
    Moment("result", most=3, after_s=0.002),
)


@dataclass(frozen=True)
class Kill:
    """A kind of kill at one moment of the process with this role: `after_s` seconds after its `nth` time.

    Where that does not come in so many `rounds` of environment steps, the last of these is the moment.
    """

    id: int
    kind: str
    moment: str
    nth: int
    after_s: float
    signals: Signals
    command: tuple[str, ...]
    role: str = "agent"
    rounds: int = 100

    def order(self, folder: Path) -> None:
        """Leave the order for the study's processes."""
        write_json(folder / "order.json", asdict(self), durable=False)


def choose(dice: random.Random, number: int, backend: str) -> Kill:
    """Return the next kill; half of those with a delay come without it, in the very step that makes the moment."""
    kind, moment = dice.choice(KINDS[backend]), dice.choice(MOMENTS)
    at_once = moment.after_s == 0 or (moment.name != "start" and dice.random() < 0.5)
    after_s = 0.0 if at_once else dice.uniform(0.0, moment.after_s)
    nth, rounds = dice.randint(1, moment.most), dice.randint(20, 100)
    return Kill(number, kind.name, moment.name, nth, after_s, kind.signals, kind.command, rounds=rounds)


def withdraw(folder: Path) -> None:
    """Take an order back that nobody has carried out."""
    (folder / "order.json").unlink(missing_ok=True)


def fired(folder: Path, kill: Kill) -> Kill | None:
    """Return a kill as it was carried out, at the moment that came; None before it was."""
    for path in folder.glob(f"fired-{kill.id}-*.json"):
        return replace(kill, moment=path.stem.rpartition("-")[2])
    return None


def as_words(kill: Kill) -> str:
    """Return a kill in words, for a report."""
    return f"{kill.kind} at {kill.moment} {kill.nth} +{kill.after_s * 1000:.0f} ms"
