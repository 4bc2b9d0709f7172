"""A sample of the rows of a long JSON-lines file: enough of them for means in bins, spread evenly over the file.

A hundred thousand rows of metrics per run are gigabytes per study, of which a report shows means in sixty bins. A file
up to `WHOLE` bytes is read whole. Of a longer one some `ROWS` rows are read: the next one with a name of interest after
each of as many places, and its end. What is damaged elsewhere in it is not seen.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from agent.contract import files

WHOLE = 4 * 2**20
ROWS = 3000
PIECE = 2**13
GOLDEN = 0.6180339887498949  # its multiples spread over each step, so that no period of the rows is met


def read_sample(path: Path, wanted: re.Pattern[bytes]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return rows as `files.read_rows` does, all or a sample of those that `wanted` is found in, and the damage met."""
    try:
        size = path.stat().st_size
        if size <= WHOLE:
            return files.read_rows(path)
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return files.read_rows(path)
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    try:
        for first, line in _sample(descriptor, size, wanted):
            row = _parsed(line)
            if row is not None:
                rows.append(row)
            else:
                kind = "a damaged line" if line.endswith(b"\n") else "an interrupted write"
                problems.append(f"{path}, byte {first}: {kind}")
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror})")
    finally:
        os.close(descriptor)
    return rows, problems


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = files.parse_json(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", row) if isinstance(row, dict) else None


def _sample(descriptor: int, size: int, wanted: re.Pattern[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield lines and where they begin, no line twice: one for each place that has one, and the last."""
    end, length = 0, 0
    for step in range(ROWS):
        place = int((step + step * GOLDEN % 1.0) * size / ROWS)
        if place < end:
            continue
        # A place in the line after the last one means that line; where lines are as long as steps, none is left out.
        found = _next(descriptor, end if place < end + length else place, wanted)
        if found is None:
            break
        yield found
        length = len(found[1])
        end = found[0] + length
    begin = size - PIECE
    tail = os.pread(descriptor, PIECE, begin)
    close = tail.rfind(b"\n") + 1
    last = tail.rfind(b"\n", 0, max(0, close - 1)) + 1
    if last and begin + last >= end and tail[last:close].strip():  # whatever it holds: it says how far the file goes
        yield begin + last, tail[last:close]
    if tail[close:].strip() and begin + close >= end:
        yield begin + close, tail[close:]


def _next(descriptor: int, place: int, wanted: re.Pattern[bytes]) -> tuple[int, bytes] | None:
    """Return the first line from a place on that `wanted` is found in, and where it begins; None where there is none.

    Lines longer than MAX_LINE end the search.
    """
    begin, length = max(0, place - 1), PIECE
    while True:
        text = os.pread(descriptor, length, begin)
        start = 0 if begin == place == 0 else text.find(b"\n") + 1
        match = wanted.search(text, start) if start or not begin else None
        if match is not None:
            first, last = text.rfind(b"\n", 0, match.start()) + 1, text.find(b"\n", match.start()) + 1
            if last:
                return begin + first, text[first:last]
        if len(text) < length or length > files.MAX_LINE:
            return None
        last = text.rfind(b"\n")
        if match is None and last > 0:
            begin += last
        else:
            length *= 4
