"""The grammar of what is typed, the same in every command: comma lists, seeds, names and the nearest valid ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from agent.contract.tasks import ALIASES

SUITE_WORDS = {"ale": "atari", "atari100k": "atari", "atari57": "atari", "dm_control": "dmc"}
PREFIX = re.compile(r"(atari100k|atari57|atari|metaworld|dm_control|dmc|gym|crafter|ale)[_/:-](.+)", re.IGNORECASE)
VERSION = re.compile(r"(noframeskip|deterministic|goalobservable|goalhidden)?-?v[0-9]+$")
MAX_SEEDS = 10_000


class ConfigError(ValueError):
    """The user's input is wrong; the message is one line that says what is allowed."""

    def __init__(self, message: str) -> None:
        """Keep the message on its line, whatever of the input it repeats."""
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


def close(name: str, allowed: Iterable[str]) -> list[str]:
    """Return the one or two allowed names that are nearest, [] where none is near; a suite's prefix may be left out."""
    whole = sorted(allowed, reverse=True)
    pieces = {piece: full for full in whole for piece in full.partition("_")[::2] if piece}
    parts = pieces | {full: full for full in whole}
    return list(dict.fromkeys(parts[piece] for piece in difflib.get_close_matches(name, parts, n=2, cutoff=0.5)))


def nearest(name: str, allowed: Iterable[str], kind: str) -> str:
    """Return `unknown KIND 'NAME'; did you mean …? (the allowed names)`, an error message or the end of one."""
    names = sorted(allowed)
    near = close(name, names)
    hint = f"; did you mean {' or '.join(repr(x) for x in near)}?" if near else ""
    shown = ", ".join(names) if len(names) <= 30 else f"{len(names)} names, from {names[0]} to {names[-1]}"
    return f"unknown {kind} {name!r}{hint} ({shown or 'there is none'})"


def comma_list(key: str, text: str) -> list[str]:
    """Return the items of a comma list; ConfigError if one is empty or given twice."""
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise ConfigError(f"{key}={text}: an item between the commas is empty")
    refuse_repeats(key, items)
    return items


def refuse_repeats(key: str, items: Sequence[object]) -> None:
    """Raise ConfigError if an item of an axis appears twice."""
    repeated = [item for index, item in enumerate(items) if item in items[:index]]
    if repeated:
        raise ConfigError(f"{key}: {str(repeated[0])!r} is given twice")


def typed_path(key: str, text: str) -> Path:
    """Return a path as it is typed, `~` being a home folder.

    Raises: ConfigError for somebody's home that is not there, and for a `{placeholder}`, which nobody fills.
    """
    if match := re.search(r"\{\w*\}", text):
        raise ConfigError(f"{key}={text}: nobody fills {match[0]} in; write a name that the next command finds")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{key}={text}: {error}") from error


def parse_seeds(text: str, *, count: bool = False) -> list[int]:
    """Return the seeds of `0..4`, `3` or `1,3,7..9`, in order; with `count`, a lone `5` is 0..4 and `0` is seed 0.

    Raises: ConfigError for anything negative, backwards, repeated or not whole.
    """
    advice = f"allowed: {'a count (5 means 0..4)' if count else 'a seed 3'}, a range 0..4, or a list 1,3"
    parts = [part.strip() for part in text.split(",")]
    if count and len(parts) == 1 and re.fullmatch(r"[0-9]{1,18}", parts[0]):
        _limit_seeds(text, int(parts[0]))
        return list(range(max(int(parts[0]), 1)))
    seeds: list[int] = []
    for part in parts[:-1] if len(parts) > 1 and not parts[-1] else parts:
        match = re.fullmatch(r"([0-9]{1,18})(?:\.\.([0-9]{1,18}))?", part)
        if match is None:
            raise ConfigError(f"seeds={text}: {part!r} is not a seed; {advice}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ConfigError(f"seeds={text}: the range {part!r} runs backwards; did you mean '{last}..{first}'?")
        _limit_seeds(text, last - first + 1)
        seeds.extend(range(first, last + 1))
    refuse_repeats("seeds", seeds)
    if max(seeds) > 2**31 - 1:
        raise ConfigError(f"seeds={text}: a seed is at most {2**31 - 1}")
    return seeds


def spell_seeds(seeds: Iterable[int]) -> str:
    """Return seeds as every command understands them: `0..4`, `1,3`, `3..3` for seed 3 alone."""
    groups: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if groups and seed == groups[-1][-1] + 1:
            groups[-1].append(seed)
        else:
            groups.append([seed])
    alone = len(groups) == 1
    return ",".join(f"{g[0]}..{g[-1]}" if len(g) > 2 or alone else ",".join(map(str, g)) for g in groups)


def _limit_seeds(text: str, count: int) -> None:
    if count > MAX_SEEDS:
        raise ConfigError(f"seeds={text}: {count} seeds; at most {MAX_SEEDS} are allowed")


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
            raise ConfigError(f"{kind} {text!r} could mean {', '.join(hits)}; write the whole name")
    raise ConfigError(nearest(text, names, kind))


def one_name(task: str) -> str:
    """Return the name that we have for a game of several names."""
    return ALIASES.get(task, task)


def match_task(text: str, known: Sequence[str]) -> str | None:
    """Return the known task that a name means, None where there is none.

    That is the name itself, or the one that differs in letter case, separators, a suite's prefix or a version alone,
    where not both have one. A name with another suite's prefix means nothing. ConfigError if several are meant.
    """
    text = text.strip()
    if text in known:
        return text
    suite, whole, short = _parts(text)
    parts = {name: _parts(name) for name in known}
    for place, wanted in ((1, whole), (2, short)):
        hits = [name for name, found in parts.items() if found[place] == wanted]
        hits = [name for name in hits if not suite or not parts[name][0] or parts[name][0] == suite]
        if place == 2 and whole != short:  # CartPole-v0 is not CartPole-v1
            hits = [name for name in hits if parts[name][1] == parts[name][2]]
        if len(hits) == 1 and wanted:
            return hits[0]
        if len(hits) > 1 and wanted:
            raise ConfigError(f"task {text!r} could mean {', '.join(hits)}; write the whole name")
    return None


def _parts(name: str) -> tuple[str, str, str]:
    """Return a name's suite ("" where none is named), and its letters and digits with and without a version."""
    match = PREFIX.fullmatch(name.rpartition("/")[2] if "/" in name and not PREFIX.match(name) else name)
    prefix, rest = (match[1].casefold(), match[2]) if match else ("", name.rpartition("/")[2])
    return SUITE_WORDS.get(prefix, prefix), _letters(rest), _letters(VERSION.sub("", rest.casefold()))


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


def matched(texts: Iterable[str], *known: Sequence[str]) -> dict[str, str | None]:
    """Return for each name what it means in the first of several lists that knows it."""
    return {text: next((hit for names in known if (hit := match_task(text, names))), None) for text in texts}


def match_names(patterns: Sequence[str], names: Sequence[str], kind: str) -> list[str]:
    """Return the names that the patterns mean, in the order of `names`; without patterns, all."""
    chosen = {match_name(pattern, names, kind) for pattern in patterns}
    return [name for name in names if name in chosen] if patterns else list(names)
