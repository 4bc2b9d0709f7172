"""The selectors that all commands share, applied to names that were found: tasks=, methods=, seeds=."""

import re
from collections.abc import Sequence

from analysis.errors import InputError, nearest
from analysis.names import match_task

MAX_SEEDS = 10_000


def comma_list(key: str, text: str) -> list[str]:
    """Return the items of a comma list; InputError if one is empty or given twice."""
    items = [item.strip() for item in text.split(",")]
    for number, item in enumerate(items):
        if not item:
            raise InputError(f"{key}={text}: an item between the commas is empty")
        if item in items[:number]:
            raise InputError(f"{key}={text}: {item!r} is given twice")
    return items


def match_name(text: str, names: Sequence[str], kind: str) -> str:
    """Return the name that the text means: itself, with its suite's prefix left out, or its unique start.

    A task may be spelt as others do: `BankHeist`, `ALE/Alien-v5`.
    """
    if text in names:
        return text
    if kind == "task" and (name := match_task(text, names)):
        return name
    for hits in ([n for n in names if n.partition("_")[2] == text], [n for n in names if n.startswith(text)]):
        if len(hits) == 1:
            return hits[0]
        if hits:
            raise InputError(f"{kind} {text!r} could mean {', '.join(hits)}; write the whole name")
    raise InputError(nearest(kind, text, names))


def select(patterns: Sequence[str], names: Sequence[str], kind: str) -> list[str]:
    """Return the names that the patterns mean, in the order of `names`; without patterns, all."""
    chosen = {match_name(pattern, names, kind) for pattern in patterns}
    return [name for name in names if name in chosen] if patterns else list(names)


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of `5` (0..4), `0..4` or `1,3`; `0` is seed 0. InputError for anything else."""
    advice = "allowed: a count (5 means 0..4), a range 0..4, or a list 1,3"
    if re.fullmatch(r"[0-9]{1,9}", text):
        return list(range(_limited(text, max(int(text), 1))))
    seeds: list[int] = []
    for part in comma_list("seeds", text.rstrip(",")):
        match = re.fullmatch(r"([0-9]{1,9})(?:\.\.([0-9]{1,9}))?", part)
        if match is None:
            raise InputError(f"seeds={text}: {part!r} is not a seed; {advice}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(f"seeds={text}: the range {part!r} runs backwards; did you mean '{last}..{first}'?")
        _limited(text, last - first + 1)
        seeds += range(first, last + 1)
    return sorted(set(seeds))


def _limited(text: str, count: int) -> int:
    if count > MAX_SEEDS:
        raise InputError(f"seeds={text}: {count} seeds; at most {MAX_SEEDS} are allowed")
    return count
