"""What a report was made with: its command line, what its selection leaves out, the files that were added."""

import hashlib
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from agent.contract.words import ConfigError
from analysis.data.load import LoadedRun, LoadedStudy
from analysis.data.score_files import split_name
from analysis.data.scores import RunScores
from analysis.findings.guard import Finding, some
from analysis.options import Options

SELECTORS = ("tasks", "methods", "seeds")


def command(words: Sequence[str]) -> str:
    """Return the command line that gives the same report: without where it goes and what is printed besides."""
    kept = [word for word in words if not word.startswith("out=") and word not in ("--json", "--debug")]
    return shlex.join(["python", "-m", "analysis.report", *map(readable, kept)])


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and digests of the score files below a folder."""
    if not path.is_dir():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    lines = [f"{_digest(file)}  {file.relative_to(path)}\n" for file in sorted(path.rglob("scores.jsonl"))]
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def readable(text: str) -> str:
    """Return a word of the command line as text that any file can hold: its bytes are UTF-8, whatever the locale."""
    try:
        return os.fsencode(text).decode(errors="replace")
    except UnicodeEncodeError:  # not from the command line of this locale
        return text


def digests(paths: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of each file by its path as it was given."""
    try:
        return {readable(text): _digest(split_name(text)[1]) for text in paths}
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read ({error.strerror})") from error


def unselected(
    options: Options, study: LoadedStudy | None, own: Sequence[RunScores], extra: Sequence[RunScores],
    chosen: Iterable[RunScores],
) -> list[Finding]:  # fmt: skip
    """Return what the selectors leave out of the study (or of the published runs) and of added scores."""
    kept = {id(run) for run in chosen}
    left, left_extra = ([run for run in runs if id(run) not in kept] for runs in (own, extra))
    if not left and not left_extra:
        return []
    asked = " ".join(f"{name}={options.settings[name]}" for name in SELECTORS if name in options.settings)
    whole = "runs of the study" if study else "published runs"
    text = f"{asked}: shown are {len(own) - len(left)} of {len(own)} {whole}"
    text += f" and {len(extra) - len(left_extra)} of {len(extra)} added ones" if extra else ""
    remaining = [run for run in (*own, *extra) if id(run) in kept]
    details: list[str] = []
    for name in ("method", "task", "seed"):
        gone = {getattr(run, name) for run in (*left, *left_extra)} - {getattr(run, name) for run in remaining}
        if gone:
            details.append(f"left out: {name}{'s' if len(gone) > 1 else ''} {some(map(str, sorted(gone)))}")
    if study:
        lost = {id(run) for run in left}
        states = Counter(run.state for run in study.runs if id(run.scores) in lost)
        details.append("left out: " + ", ".join(f"{n} {state}" for state, n in states.most_common()))
    return [Finding("selection", text, details=[detail for detail in details if detail != "left out: "])]


def left_out(study: LoadedStudy, selected: Iterable[LoadedRun], used: Iterable[RunScores]) -> dict[int, str]:
    """Return why runs of the study are not in the report, by the identity of their scores: for coverage.csv."""
    chosen, shown = {id(run.scores) for run in selected}, {id(run) for run in used}
    reasons: dict[int, str] = {}
    for run in study.runs:
        place = id(run.scores)
        if place not in chosen:
            reasons[place] = "not selected"
        elif place not in shown and run.state != "damaged":
            reasons[place] = "not paired"
    return reasons
