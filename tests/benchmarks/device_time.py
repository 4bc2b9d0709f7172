"""Show where the device's time of one update goes: by kind of work, by place in the agent, by kernel.

    python -m tests.benchmarks.device_time [--preset atari100k] [--pack 1] [--precision float32] [--updates 3]
                                           [--rows 12] [--json FILE]

Some updates are traced with JAX's profiler; the optimised program's text says where an operation was written. *Busy* is
the time in which at least one operation runs: what remains of an update is launching and waiting. Tracing itself costs
time, hence the update is also timed without. On a CPU an operation's work in other threads is not named: pin the
command to one core (`taskset -c 0`).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.kernels import Instruction, read_program

ROOT = Path(__file__).resolve().parents[2]
UNKNOWN = "(not named)"
# Files whose functions serve the whole agent: the function that calls them says more.
GENERAL = {"layers.py", "products.py", "convolution.py", "distributions.py", "recurrence.py"}
# What only encloses other operations; its own time is waiting for them.
ENCLOSING = {"while", "call", "conditional", "async-start"}
# By parts of the names of the libraries' kernels and calls; the first that is found holds.
LIBRARIES = {
    "cudnn": "convolution", "fprop": "convolution", "dgrad": "convolution", "wgrad": "convolution",
    "cublas": "matrix product", "gemm": "matrix product", "nvjet": "matrix product",
}  # fmt: skip


class Event(NamedTuple):
    """One operation on one line (a stream or a thread) of a trace; nanoseconds."""

    line: str
    name: str
    start: float
    end: float


class Operation(NamedTuple):
    """What an operation of the program is, and which function of the agent asked for it."""

    kind: str
    place: str


def frames(text: str) -> dict[str, str]:
    """Return the place in the agent that each stack frame of an HLO module's text stands for, by the frame's number."""

    def section(title: str) -> dict[str, str]:
        found = re.search(rf"^{title}\n((?:\d+ .*\n)+)", text, re.MULTILINE)
        return dict(line.split(" ", 1) for line in found[1].splitlines()) if found else {}

    files, functions = section("FileNames"), section("FunctionNames")
    places = {
        number: (files[ids["file_name_id"]].strip('"'), functions[ids["function_name_id"]].strip('"'))
        for number, line in section("FileLocations").items()
        if (ids := dict(re.findall(r"(\w+)=(\d+)", line)))
    }
    stack = {number: dict(re.findall(r"(\w+)=(\d+)", line)) for number, line in section("StackFrames").items()}
    # A frame without a caller names itself where callers are counted from one, and 0 elsewhere.
    shift = 1 if stack.get("1", {}).get("parent_frame_id") == "1" else 0
    found: dict[str, str] = {}
    for number in stack:
        at, outermost = number, ""
        while at in stack:
            file, function = places[stack[at]["file_location_id"]]
            if ROOT / "agent" in Path(file).parents:
                outermost = f"{Path(file).stem}.{function}"
                if Path(file).name not in GENERAL:
                    break
            at = str(int(stack[at]["parent_frame_id"]) - shift)
        found[number] = outermost or UNKNOWN
    return found


def operations(text: str) -> dict[str, Operation]:
    """Return the operations of an optimised program by their names, in the trace's spelling and in a kernel's."""
    computations, _ = read_program(text)
    where = frames(text)
    found: dict[str, Operation] = {}
    for instruction in (one for body in computations.values() for one in body):
        frame = re.search(r"stack_frame_id=(\d+)", instruction.text)
        place = where.get(frame[1], UNKNOWN) if frame else UNKNOWN
        if place != UNKNOWN and "transpose(" in instruction.text:
            place += " (gradient)"
        operation = Operation(_kind(instruction, computations), place)
        found[instruction.name] = operation
        found.setdefault(re.sub(r"\W", "_", instruction.name), operation)
    return found


def _kind(instruction: Instruction, computations: dict[str, list[Instruction]]) -> str:
    opcode, text = instruction.opcode, instruction.text
    if opcode == "custom-call":
        target = re.search(r'custom_call_target="([^"]+)"', text)
        return _library(target[1] if target else opcode) or f"custom call {target[1] if target else ''}".rstrip()
    if opcode != "fusion":
        return {"dot": "matrix product"}.get(opcode, opcode)
    called = re.search(r"\bcalls=%?([\w.\-]+)", text)
    inner = {one.opcode for one in computations.get(called[1], [])} if called else set()
    return next((f"fusion with a {name}" for name in ("dot", "convolution", "reduce") if name in inner), "fusion")


def _library(kernel: str) -> str | None:
    return next((kind for part, kind in LIBRARIES.items() if part in kernel.lower()), None)


def read_trace(planes: Iterable[Any]) -> list[Event]:
    """Return the operations in a trace's planes: a GPU's streams, or else what a CPU's threads say they execute."""
    planes = list(planes)
    gpus = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    found: list[Event] = []
    for plane in gpus or planes:
        for line in plane.lines:
            if gpus and not line.name.startswith("Stream"):
                continue
            for event in line.events:
                name = dict(event.stats).get("hlo_op") or (event.name if gpus else None)
                if name and not event.name.startswith("end: "):
                    end = event.start_ns + event.duration_ns
                    found.append(Event(f"{plane.name} {line.name}", str(name), event.start_ns, end))
    return found


def own_times(events: list[Event]) -> list[tuple[str, float]]:
    """Return the name and the nanoseconds of each event, without those of the events that it encloses on its line."""
    found: list[tuple[str, float]] = []
    stack: list[tuple[Event, float]] = []  # events that enclose the next one, and the time of those inside them

    def close(before: float) -> None:
        while stack and stack[-1][0].end <= before:
            event, inside = stack.pop()
            found.append((event.name, event.end - event.start - inside))

    for event in sorted(events, key=lambda event: (event.line, event.start, -event.end)):
        if stack and stack[-1][0].line != event.line:
            close(float("inf"))
        close(event.start)
        if stack:
            outer, inside = stack[-1]
            stack[-1] = (outer, inside + min(event.end, outer.end) - event.start)
        stack.append((event, 0.0))
    close(float("inf"))
    return found


def busy(events: list[Event]) -> float:
    """Return in how many nanoseconds at least one of the events runs."""
    total, until = 0.0, float("-inf")
    for event in sorted(events, key=lambda event: event.start):
        total += max(event.end - max(event.start, until), 0.0)
        until = max(until, event.end)
    return total


def tables(events: list[Event], known: dict[str, Operation], updates: int) -> dict[str, Any]:
    """Return milliseconds and launches per update by kind, by place and by kernel, most time first."""
    spent: dict[str, dict[str, float]] = {"kind": {}, "place": {}, "kernel": {}}
    launches: dict[str, Counter[str]] = {label: Counter() for label in spent}
    enclosing = {name for name, operation in known.items() if operation.kind in ENCLOSING}
    for name, nanoseconds in own_times(events):
        operation = known.get(name) or Operation(_library(name) or UNKNOWN, UNKNOWN)
        if name not in enclosing:
            for label, key in (("kind", operation.kind), ("place", operation.place), ("kernel", name)):
                spent[label][key] = spent[label].get(key, 0.0) + nanoseconds
                launches[label][key] += 1
    work = [event for event in events if event.name not in enclosing]
    span = max(event.end for event in work) - min(event.start for event in work) if work else 0.0
    return {
        "traced_ms": span / updates / 1e6, "busy_ms": busy(work) / updates / 1e6,
        **{
            f"by_{label}": [
                {label: key, "ms": value / updates / 1e6, "launches": launches[label][key] / updates}
                for key, value in sorted(times.items(), key=lambda item: -item[1])
            ]
            for label, times in spent.items()
        },
    }  # fmt: skip


def measure(preset: str, pack: int, precision: str, updates: int, **settings: Any) -> dict[str, Any]:
    """Time and trace a pack's updates on this process's device. Shapes and data are those of the other benchmarks."""
    import jax

    from tests.benchmarks.workloads import pack_of, short_programs, update_function, workload

    config, spec = workload(preset, **{"jax.precision": precision, **settings})
    programs = short_programs(config, spec)
    state, carry, buffers, transitions = pack_of(config, programs, pack)
    step = update_function(programs).lower(state, carry, buffers, transitions).compile()

    def work() -> None:
        nonlocal state, carry
        finite = None
        for _ in range(updates):
            state, carry, finite, _ = step(state, carry, buffers, transitions)
        jax.block_until_ready(finite)

    work()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            work()
        (trace,) = Path(folder).rglob("*.xplane.pb")
        events = read_trace(jax.profiler.ProfileData.from_file(str(trace)).planes)
    row = {"preset": preset, "pack": pack, "precision": precision, "ms": 1e3 * seconds / updates}
    return row | tables(events, operations(step.as_text() or ""), updates)


def shown(row: dict[str, Any], rows: int) -> str:
    """Return a measurement as text, with so many lines per table."""
    lines = [
        f"{row['preset']}, pack of {row['pack']}, {row['precision']}: {row['ms']:.2f} ms per update; while traced "
        f"{row['traced_ms']:.2f} ms, busy {row['busy_ms']:.2f}"
    ]
    for label in ("kind", "place", "kernel"):
        lines.append(f"{'ms':>10} {'launches':>9}  by {label}")
        table = row[f"by_{label}"]
        lines += [f"{one['ms']:10.3f} {one['launches']:9.0f}  {one[label]}" for one in table[:rows]]
        if rest := table[rows:]:
            lines.append(f"{sum(one['ms'] for one in rest):10.3f} {'':9}  {len(rest)} more")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.device_time", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--preset", default="atari100k", choices=("atari100k", "metaworld", "catch_published", "debug"))
    parser.add_argument("--pack", type=int, default=1)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--rows", type=int, default=12, help="lines of each table")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(argv)
    row = measure(given.preset, given.pack, given.precision, given.updates)
    print(shown(row, given.rows))
    if given.json:
        given.json.write_text(json.dumps(row, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
