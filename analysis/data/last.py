"""Which evaluations make a run's score: the last few, or those of the last frames."""

import re
from collections.abc import Sequence

from agent.contract.words import ConfigError
from analysis.data.scores import RunScores

UNITS = {"": 1, "k": 1000, "M": 1_000_000}


def parse_last(text: str) -> tuple[int, int]:
    """Return (evaluations, frames) of `5` or `50kframes`, one of them 0; ConfigError for anything else."""
    match = re.fullmatch(r"([0-9]{1,9})(?:([kM]?)frames)?", text)
    if match is None or int(match[1]) < 1:
        raise ConfigError(f"last={text}: a whole number from 1 on is expected, or frames as in last=50kframes")
    frames = int(match[1]) * UNITS[match[2] or ""]
    return (0, frames) if match[2] is not None else (int(match[1]), 0)


def last_text(evaluations: int, frames: int) -> str:
    """Return what a run's score is, for readers."""
    if frames:
        return f"mean of the evaluations in the last {_frames(frames)} frames"
    return "last evaluation" if evaluations == 1 else f"mean of the last {evaluations} evaluations"


def last_remarks(runs: Sequence[RunScores], evaluations: int, frames: int) -> list[str]:
    """Return what differs between the finished runs: how many evaluations count, or how many frames they span."""
    finished = [run for run in runs if run.complete and run.window is None and len(run.frames)]
    if frames:
        counts = {run: int((run.frames > run.frames[-1] - frames).sum()) for run in finished}
        if len(set(counts.values())) < 2:
            return []
        return [f"last={_frames(frames)}frames: that is {_by_method(counts, 'evaluation')}"]
    short = [len(run.frames) for run in finished if len(run.frames) < evaluations]
    found: list[str] = []
    if short:
        least = f"{min(short)}" + (f" to {max(short)}" if max(short) > min(short) else "")
        found.append(
            f"last={evaluations}: {len(short)} of {len(finished)} finished runs have only {least} evaluations; all of "
            "them count"
        )
    spans = {run: int(run.frames[-1] - run.frames[-min(evaluations, len(run.frames))]) for run in finished}
    if spans and max(spans.values()) - min(spans.values()) > 0.01 * max(spans.values()):
        widest = _frames(max(spans.values()))
        spanned = _by_method(spans, "frame")
        found.append(f"last={evaluations}: these span {spanned}; last={widest}frames takes the same stretch of all")
    return found


def _by_method(numbers: dict[RunScores, int], noun: str) -> str:
    """Return `3 evaluations of a, 2 to 5 evaluations of b`."""
    groups: dict[str, list[int]] = {}
    for run, number in numbers.items():
        groups.setdefault(run.method, []).append(number)
    texts = {m: (str(min(n)) if min(n) == max(n) else f"{min(n)} to {max(n)}", max(n) == 1) for m, n in groups.items()}
    return ", ".join(f"{text} {noun}{'' if one else 's'} of {method}" for method, (text, one) in sorted(texts.items()))


def _frames(number: int) -> str:
    return f"{number // 1000}k" if number >= 1000 and number % 1000 == 0 else str(number)
