"""Measure what a paper's grid costs on this GPU, within ten minutes.

    python -m tests.benchmarks.gpu [--json FILE] [--budget-s 540] [--tiny]

Prints a table: milliseconds per update of one run and per run-update of a pack of ten, evaluation, and from them
GPU-hours for 260 runs of Atari 100k; then where an update's time goes on the device. What the budget has no time left
to begin is named as not measured, what failed as failed; the file is whole after each measurement. `--tiny` goes the
same way with the smallest model on whatever device there is: its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

RUNS, UPDATES, EVALUATIONS, EPISODES = 260, 99_900, 20, 100
# An assumption, not a measurement: steps of an average episode over the 26 games.
EPISODE_STEPS = 1_000
NOT_MEASURED = "not measured"
# To be tried: whole loops launched as CUDA graphs, not only what they consist of.
LOOPS = "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION,CONDITIONAL,WHILE"


def plan(tiny: bool) -> dict[str, Callable[..., dict[str, Any]]]:
    """Return the measurements by name, the most telling first."""
    from tests.benchmarks import device_time, measures

    preset, many = ("debug", 2) if tiny else ("atari100k", 10)
    update = partial(measures.update, preset=preset, repeats=3)
    graphs = None if tiny else {"xla_gpu_enable_command_buffer": LOOPS}
    task, short = ("catch", {}) if tiny else ("atari_pong", {"env.atari.length": 2000})
    evaluation = partial(measures.evaluation, preset=preset, task=task, episodes=10, **short)
    where = partial(device_time.measure, preset=preset, precision="float32", updates=5)
    return {
        f"update float32 p={many}": partial(update, precision="float32", pack=many),
        "update float32 p=1": partial(update, precision="float32", pack=1),
        f"evaluation p={many}": partial(evaluation, pack=many),
        "device time p=1": lambda calibration: where(pack=1),
        "loops as graphs p=1": partial(update, precision="float32", pack=1, options=graphs),
        f"update bfloat16 p={many}": partial(update, precision="bfloat16", pack=many),
        f"device time p={many}": lambda calibration: where(pack=many),
        "policy p=1": partial(measures.policy, preset=preset, pack=1),
    }


def grid_hours(rows: dict[str, dict[str, Any]]) -> float | None:
    """Return GPU-hours of the 260 runs in packs, evaluation included, None where a part was not measured.

    Updates and evaluations follow each other; environment steps of training are hidden behind updates. An evaluation's
    steps per second are those of all the pack's environments together.
    """
    made = {name: row for name, row in rows.items() if "error" not in row}
    update = next(
        (row for name, row in made.items() if name.startswith("update float32 p=") and name[-3:] != "p=1"), None
    )
    evaluation = next((row for name, row in made.items() if name.startswith("evaluation")), None)
    if update is None or evaluation is None:
        return None
    learning_s = UPDATES * update["ms_per_run_update"] / 1e3
    playing_s = EVALUATIONS * EPISODES * EPISODE_STEPS / evaluation["env_steps_per_s"]
    return RUNS * (learning_s + playing_s) / 3600


def table(rows: dict[str, dict[str, Any]], names: list[str], device: str, tiny: bool) -> str:
    """Return the short table."""
    lines = [f"{'TINY, says nothing about speed: ' if tiny else ''}{device}"]
    for name in names:
        row = rows.get(name)
        value = NOT_MEASURED
        if row is not None and "error" in row:
            value = f"failed: {row['error']}"
        elif row is not None and "busy_ms" in row:
            value = f"{row['busy_ms']:8.2f} ms busy of {row['traced_ms']:.2f} while traced, {row['ms']:.2f} untraced"
        elif row is not None and "ms_per_run_update" in row:
            value = f"{row['ms_per_run_update']:8.2f} ms per run-update, {row['memory_bytes'] / 1e9:.1f} GB"
        elif row is not None and "env_steps_per_s" in row:
            value = f"{row['env_steps_per_s']:8.0f} env steps/s, {row['episodes_per_min']:.0f} episodes/min"
        elif row is not None:
            value = f"{row['ms']:8.2f} ms"
        lines.append(f"{name:26} {value}")
    hours = grid_hours(rows)
    shown = NOT_MEASURED if hours is None else f"{hours:8.1f} (episodes of {EPISODE_STEPS} steps assumed)"
    return "\n".join([*lines, f"{'GPU-hours for 260 runs':26} {NOT_MEASURED if tiny else shown}"])


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 1 where a measurement failed, 2 where there is no GPU and `--tiny` was not asked for."""
    title = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=title)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--budget-s", type=float, default=540.0, help="begin nothing after so many seconds")
    parser.add_argument("--tiny", action="store_true", help="the smallest model, on any device")
    given = parser.parse_args(argv)
    began = time.monotonic()

    import jax

    from tests.benchmarks.device_time import shown
    from tests.benchmarks.record import Record
    from tests.benchmarks.timing import Calibration

    if jax.default_backend() == "cpu" and not given.tiny:
        print("JAX found no GPU; --tiny shows the way on a CPU", file=sys.stderr)
        return 2
    try:
        record = Record("python -m tests.benchmarks.gpu", argv, given.json)
    except OSError as error:
        parser.error(f"--json {given.json}: {error.strerror}")
    planned, calibration = plan(given.tiny), Calibration()
    for name, work in planned.items():
        # A measurement that needs as long as the longest before it should still end within the budget.
        longest = max((row["took_s"] for row in record.rows.values()), default=0.0)
        if time.monotonic() - began + longest > given.budget_s:
            break
        record.make(name, partial(work, calibration))
    record.save(tiny=given.tiny, gpu_hours=grid_hours(record.rows))
    print(table(record.rows, list(planned), record.content["machine"]["device"], given.tiny))
    for row in record.rows.values():
        if "by_kind" in row:
            print(f"\n{shown(row, 12)}")
    return 1 if record.failed else 0


if __name__ == "__main__":
    sys.exit(main())
