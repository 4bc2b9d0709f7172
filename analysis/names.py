"""Names of tasks as others spell them: `alien`, `Alien`, `BankHeist`, `ALE/Alien-v5`, `atari_jamesbond`."""

import re
from collections.abc import Iterable, Sequence

from analysis.errors import InputError

SUITES = {"ale": "atari", "atari100k": "atari", "atari57": "atari", "dm_control": "dmc"}
PREFIX = re.compile(r"(atari100k|atari57|atari|metaworld|dm_control|dmc|gym|crafter|ale)[_/:-](.+)", re.IGNORECASE)
VERSION = re.compile(r"(noframeskip|deterministic|goalobservable|goalhidden)?-?v[0-9]+$")


ALIASES = {"atari_jamesbond": "atari_james_bond"}  # a test holds them equal to the agent's


def one_name(task: str) -> str:
    """Return the name that we have for a game of several names."""
    return ALIASES.get(task, task)


def match_task(text: str, known: Sequence[str]) -> str | None:
    """Return the known task that a name means, None where there is none.

    That is the name itself, or the one that differs in letter case, separators, a suite's prefix or a version alone,
    where not both have one. A name with another suite's prefix means nothing. InputError if several are meant.
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
            raise InputError(f"task {text!r} could mean {', '.join(hits)}; write the whole name")
    return None


def _parts(name: str) -> tuple[str, str, str]:
    """Return a name's suite ("" where none is named), and its letters and digits with and without a version."""
    match = PREFIX.fullmatch(name.rpartition("/")[2] if "/" in name and not PREFIX.match(name) else name)
    prefix, rest = (match[1].casefold(), match[2]) if match else ("", name.rpartition("/")[2])
    return SUITES.get(prefix, prefix), _letters(rest), _letters(VERSION.sub("", rest.casefold()))


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


def matched(texts: Iterable[str], *known: Sequence[str]) -> dict[str, str | None]:
    """Return for each name what it means in the first of several lists that knows it."""
    return {text: next((hit for names in known if (hit := match_task(text, names))), None) for text in texts}
