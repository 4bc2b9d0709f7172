"""When Slurm last answered for a study, kept for the commands that find it silent."""

from __future__ import annotations

import contextlib
from pathlib import Path

from agent.contract.files import RecordError
from agent.contract.records import read_record, write_record
from harness.study.records import AnswerRecord

FILE = "answer.json"


def note_answer(hidden: Path, time: float) -> None:
    """Keep the time of an answer; who may only read the study keeps none."""
    with contextlib.suppress(OSError):
        write_record(hidden / FILE, AnswerRecord(time=time), durable=False)


def answered_at(hidden: Path) -> float | None:
    """Return the time of the last answer in unix seconds, None where nobody knows."""
    with contextlib.suppress(RecordError):
        found = read_record(hidden / FILE, AnswerRecord)
        return found.time if found else None
    return None
