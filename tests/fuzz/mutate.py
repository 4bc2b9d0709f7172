"""Mutated text: real input, changed in the ways that break readers."""

import random

NASTY = (
    "",
    "\0",
    "²",
    "٣",
    "\u2028",
    "\ufeff",
    "-1",
    "0",
    "9" * 5000,
    "1e999",
    "NaN",
    "-Infinity",
    "null",
    "true",
    "[",
    "{",
    "]",
    "}",
    '"',
    "'",
    ":",
    "=",
    ",",
    "|",
    "\\",
    "%",
    "&a",
    "*a",
    "!!python/object:os.system",
    "<<: *x",
    "~",
    "../..",
    "/dev/null",
    "{timestamp}",
    "[0-99999999]",
    "_[1-3:0]",
    "_[-]",
    "_[5-]",
    "..",
    "0..99999999999",
    "1,,2",
    "é",
    "\r",
    "\t",
    "\n\n",
    "- - - -",
    "? ",
    "# ",
    "2026-99-99",
    "0001-01-01T00:00:00",
    "Infinity",
    "1_000",
    "0x10",
    "1e5",
    "[" * 2000,
    "{" * 500,
    "a: " * 100,
)


def mutated(text: str, draw: random.Random, other: str) -> str:
    """Return the text with one to four changes; `other` is what pieces are taken from."""
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randint(0, len(text)), draw.choice((1, 1, 2, 8, 40, 400))
        kind = draw.randint(0, 6)
        if kind == 0:
            text = text[:at] + text[at + length :]
        elif kind == 1:
            text = text[:at] + draw.choice(NASTY) + text[at:]
        elif kind == 2:
            text = text[:at] + draw.choice(NASTY) + text[at + length :]
        elif kind == 3:
            text = text[:at] + text[at : at + length] * draw.choice((2, 3, 50)) + text[at + length :]
        elif kind == 4:
            begin = draw.randint(0, len(other))
            text = text[:at] + other[begin : begin + length] + text[at:]
        elif kind == 5:
            text = text[:at]
        else:
            text = text[:at] + chr(draw.choice((draw.randint(1, 127), draw.randint(128, 0xD7FF)))) + text[at + 1 :]
    return text[:200_000]
