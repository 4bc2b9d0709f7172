"""What metrics.jsonl says of losses and Harmony's weights: averaged in bins, packed small enough for 10 000 runs."""

import base64
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.samples import read_sample
from analysis.data.values import MAX_FRAMES, is_finite, is_whole
from analysis.stats.resample import Floats

GROUPS = ("loss/", "harmony/")
NAMES = re.compile(rb'"(?:loss|harmony)/')
BINS = 60

Series = tuple[Floats, Floats]


def read_training(path: Path, damage: list[str]) -> dict[str, Any]:
    """Return the packed series of a metrics.jsonl: the mean in each of at most BINS bins of equal length in frames.

    Of a long file it is the mean of a sample of the rows (`samples.read_sample`).

    `damage` gains a sentence for everything that is left out.
    """
    rows, unreadable = read_sample(path, NAMES)
    damage += unreadable
    good = [row for row in rows if is_whole(row.get("frames"), MAX_FRAMES)]
    if len(good) < len(rows):
        odd = f"frames is not a whole number in {len(rows) - len(good)} of {len(rows)} rows"
        damage.append(f"{path}: {odd}; those are left out")
    if not good:
        return {}
    width = max(1, -(-max(row["frames"] for row in good) // BINS))
    series = _series(path, good, width, damage)
    places = sorted({place for bins in series.values() for place in bins})
    packed = {
        name: _pack([math.fsum(bins[p]) / len(bins[p]) if p in bins else math.nan for p in places])
        for name, bins in sorted(series.items())
    }
    return {"width": width, "bins": places, "series": packed} if packed else {}


def _series(
    path: Path, rows: Sequence[dict[str, Any]], width: int, damage: list[str]
) -> dict[str, dict[int, list[float]]]:
    """Return the values of each series by bin."""
    series: dict[str, dict[int, list[float]]] = {}
    odd: Counter[str] = Counter()
    keys, names = None, list[str]()
    for row in rows:
        if row.keys() != keys:
            keys, names = row.keys(), [name for name in row if name.startswith(GROUPS)]
        place = row["frames"] // width
        for name in names:
            if is_finite(value := row[name]):
                series.setdefault(name, {}).setdefault(place, []).append(float(value))
            else:
                odd[name] += 1
    for name, n in sorted(odd.items()):
        damage.append(f"{path}: {name} is not a finite number in {n} of {len(rows)} rows; those are left out")
    return series


def _pack(values: Sequence[float]) -> str:
    return base64.b64encode(np.array(values, "<f8").tobytes()).decode()


def unpack(packed: Mapping[str, Any], names: Sequence[str] | None = None) -> dict[str, Series]:
    """Return each series of a packed summary (or those named) as frames (centres of bins) and values."""
    if not packed:
        return {}
    centres = (np.array(packed["bins"], np.float64) + 0.5) * packed["width"]
    found: dict[str, Series] = {}
    for name, text in packed["series"].items():
        if names is not None and name not in names:
            continue
        values = np.frombuffer(base64.b64decode(text), "<f8")
        seen = ~np.isnan(values)
        found[name] = (centres[seen], values[seen])
    return found
