"""The benchmarks by name, and which of them a CPU can afford."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from tests.benchmarks import measures
from tests.benchmarks.timing import Calibration

PACKS = (1, 2, 4, 8, 10)


class Benchmark(NamedTuple):
    """A measurement; `cheap` ones are made by default on a CPU, all on a GPU."""

    run: Callable[[Calibration], dict[str, Any]]
    cheap: bool = False


def benchmarks() -> dict[str, Benchmark]:
    """Return every benchmark by its name, in the order in which they are made."""
    found: dict[str, Benchmark] = {}
    for preset, packs in {"debug": (1, 2), "catch_published": (1, 10)}.items():
        for pack in packs:
            work = partial(measures.update, preset=preset, precision="float32", pack=pack)
            found[f"update/{preset}/float32/p{pack}"] = Benchmark(work, cheap=True)
    for preset in ("atari100k", "metaworld"):
        for precision in ("float32", "bfloat16"):
            for pack in PACKS:
                work = partial(measures.update, preset=preset, precision=precision, pack=pack)
                found[f"update/{preset}/{precision}/p{pack}"] = Benchmark(work)
        found[f"policy/{preset}/p1"] = Benchmark(partial(measures.policy, preset=preset, pack=1), cheap=True)
        found[f"policy/{preset}/p10"] = Benchmark(partial(measures.policy, preset=preset, pack=10))
        found[f"sampling/{preset}"] = Benchmark(partial(measures.sampling, preset=preset), cheap=True)
    found["evaluation/catch"] = Benchmark(
        partial(measures.evaluation, preset="debug", task="catch", episodes=100), cheap=True
    )
    pong = partial(measures.evaluation, preset="atari100k", task="atari_pong", episodes=10)
    found["evaluation/pong/p1"] = Benchmark(partial(pong, pack=1))
    found["evaluation/pong/p10"] = Benchmark(partial(pong, pack=10))
    found["run/debug"] = Benchmark(partial(measures.short_run, preset="debug", steps=400), cheap=True)
    return found
