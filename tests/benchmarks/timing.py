"""Times that compare across machines: measured alternately with fixed arithmetic, and given as its multiple."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

SIDE = 2048
IMAGES, DEPTH, FILTERS = 64, 32, 64


class Calibration:
    """A float32 product of 2048×2048 matrices, and a 4×4 stride-2 convolution of 64 64×64×32 images to 64 channels."""

    def __init__(self) -> None:
        matrix = jnp.full((SIDE, SIDE), 1 / SIDE, jnp.float32)
        images = jnp.full((IMAGES, 64, 64, DEPTH), 0.5, jnp.float32)
        kernel = jnp.full((4, 4, DEPTH, FILTERS), 0.01, jnp.float32)

        def conv(images: jax.Array, kernel: jax.Array) -> jax.Array:
            numbers = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(images, kernel, (2, 2), "SAME", dimension_numbers=numbers)

        product, convolution = jax.jit(jnp.matmul), jax.jit(conv)
        self._calls = 1 if jax.default_backend() == "cpu" else 50
        self._work = lambda: [product(matrix, matrix), convolution(images, kernel)]
        jax.block_until_ready(self._work())

    def seconds(self) -> float:
        """Return how long both take together; a GPU's are queued, as those of an update are."""
        began = time.perf_counter()
        jax.block_until_ready([self._work() for _ in range(self._calls)])
        return (time.perf_counter() - began) / self._calls


def timed(work: Callable[[], Any], calibration: Calibration, *, repeats: int, calls: int = 1) -> dict[str, Any]:
    """Return median and least milliseconds of `work`, and the median ratio to the calibration measured before each.

    `work` begins `calls` pieces of work and returns what shows that they are done; the first time is not counted.
    """
    jax.block_until_ready(work())
    rows: list[tuple[float, float, float]] = []
    for _ in range(repeats):
        reference = calibration.seconds()
        began, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(work())
        rows.append((reference, (time.perf_counter() - began) / calls, (time.process_time() - cpu) / calls))
    seconds = [row[1] for row in rows]
    return {
        "ms": 1e3 * statistics.median(seconds),
        "least_ms": 1e3 * min(seconds),
        "cpu_ms": 1e3 * statistics.median(row[2] for row in rows),
        "calibration_ms": 1e3 * statistics.median(row[0] for row in rows),
        "relative": statistics.median(row[1] / row[0] for row in rows),
        "repeats": repeats,
    }
