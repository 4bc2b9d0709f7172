"""Bootstrap indices and quantiles that are the same bits on every machine.

Indices come from the raw stream of PCG64, which NumPy promises never to change (its bounded-integer routines carry no
such promise), are exactly uniform (surplus bytes are thrown away, not folded), and are one byte each, so a chunk of
replicates stays in cache. Everything computed from them uses sorting, selection, and sums of exact integers or sums
in a fixed order; where BLAS is used, whose order of additions depends on the processor, the summands are whole numbers.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

CHUNK = 2048  # replicates at a time: 5 × 26 indices of them are 266 kB, which a second-level cache holds
LARGEST_CHUNK = 2**21  # indices at a time, 16 MB of them, so that many runs of many tasks fit into memory


class Stream:
    """An endless source of exactly uniform small integers, determined by `seed` and `key` alone."""

    def __init__(self, seed: int, *key: int) -> None:
        if seed < 0:
            raise ValueError(f"a bootstrap seed is a whole number from 0 on, not {seed}")
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, *key]))

    def integers(self, n: int, count: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Return `count` draws, uniform on 0 … n-1.

        Bytes at or above the largest multiple of n are rejected, the rest reduced modulo n.
        """
        if not 1 <= n <= 2**15:
            raise ValueError(f"the bootstrap resamples 1 to 32768 runs of a task, not {n}")
        if n == 1:
            return np.zeros(count, np.uint8)
        width = np.dtype("<u1" if n <= 128 else "<u2")
        values = 256**width.itemsize
        limit = values - values % n
        found: list[NDArray[np.uint8] | NDArray[np.uint16]] = []
        missing = count
        while missing > 0:
            ask = int(missing * values / limit * 1.01) + 64
            raw = np.asarray(self._bits.random_raw(-(-ask * width.itemsize // 8)))
            draws = raw.astype("<u8", copy=False).view(width)
            kept = draws[draws < limit] if limit < values else draws
            found.append(kept[:missing])
            missing -= len(found[-1])
        accepted = found[0] if len(found) == 1 else np.concatenate(found)
        return np.take(np.arange(values, dtype=width) % width.type(n), accepted)


def stratified_indices(sizes: Sequence[int], reps: int, stream: Stream, chunk: int = CHUNK) -> Iterator[Indices]:
    """Yield chunks [≤ chunk, sum(sizes)] of indices into the concatenated strata, each stratum resampled by itself.

    Strata of one size are drawn together; with equal sizes a chunk is a single draw.
    """
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)
    columns = {
        n: np.concatenate([np.arange(n) + start for start, m in zip(starts, sizes, strict=True) if m == n])
        for n in sorted(set(sizes))
    }
    chunk = max(1, min(chunk, LARGEST_CHUNK // sum(sizes)))
    for first in range(0, reps, chunk):
        rows = min(chunk, reps - first)
        if len(columns) == 1:
            (n,) = columns
            yield stream.integers(n, rows * sum(sizes)).reshape(rows, -1) + np.repeat(starts, sizes)
            continue
        block = np.empty((rows, sum(sizes)), np.intp)
        for n, where in columns.items():
            block[:, where] = stream.integers(n, rows * len(where)).reshape(rows, -1)
        yield block + np.repeat(starts, sizes)


def quantiles(values: Floats, probabilities: Sequence[float]) -> Floats:
    """Return quantiles [len(probabilities), ...] along the first axis, linear between order statistics."""
    positions = np.asarray(probabilities) * (len(values) - 1)
    below = np.floor(positions).astype(np.intp)
    above = np.minimum(below + 1, len(values) - 1)
    ordered = np.partition(values, np.unique(np.concatenate([below, above])), axis=0)
    weight = (positions - below).reshape(-1, *[1] * (ordered.ndim - 1))
    step = weight * (ordered[above] - ordered[below])
    return ordered[below] + step


def percentile_bounds(replicates: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the lower and upper ends [...] of the central `level` of the replicates [reps, ...]."""
    if not 0 < level < 1:
        raise ValueError(f"an interval's level lies between 0 and 1, not at {level}")
    low, high = quantiles(replicates, [(1 - level) / 2, (1 + level) / 2])
    return low, high
