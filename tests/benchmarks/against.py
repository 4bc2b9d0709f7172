"""Compare the CPU time of an update with that of another checkout, both measured alternately.

    git worktree add ../plain 7f43d7f
    python -m tests.benchmarks.against ../plain [--preset atari100k] [--updates 3] [--json FILE]

7f43d7f is the plain form: every step whole in the scan, convolutions as XLA has them. The two processes work in turn,
so that what else the machine does falls on both; a ratio is that of two neighbouring updates. The first update of each,
which touches all memory for the first time, is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("one_update.py")


class Worker:
    """One checkout's agent, compiled and waiting."""

    def __init__(self, checkout: Path, preset: str) -> None:
        environ = {**os.environ, "PYTHONPATH": str(checkout), "JAX_PLATFORMS": "cpu"}
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), preset], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.made = self._answer()
        if not Path(used := self.made.pop("agent")).is_relative_to(checkout):
            raise SystemExit(f"{checkout}: its agent was not used, but {used}")

    def update(self) -> dict[str, Any]:
        """Make one update and return its times and the process's peak memory."""
        assert self._process.stdin is not None
        self._process.stdin.write("update\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker ended with exit code {self._process.wait()}; its message is above")
        return json.loads(line)


def commit(checkout: Path) -> str:
    """Return the checkout's commit, marked where files differ from it."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "not a git checkout"


def compare(other: Path, preset: str, updates: int) -> dict[str, Any]:
    """Return both checkouts' times and the ratios other : ours of neighbouring updates."""
    theirs, ours = Worker(other, preset), Worker(ROOT, preset)
    rows: list[dict[str, Any]] = []
    for index in range(updates + 1):
        row = {"other": theirs.update(), "ours": ours.update()}
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows += [row] if index else []
    theirs.close()
    ours.close()
    ratios = {kind: [row["other"][kind] / row["ours"][kind] for row in rows] for kind in ("cpu_s", "wall_s")}
    return {
        "preset": preset, "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0],
        "commits": {"other": commit(other), "ours": commit(ROOT)},
        "cpu_ratio": statistics.median(ratios["cpu_s"]), "wall_ratio": statistics.median(ratios["wall_s"]),
        "ratios": ratios, "compile": {"other": theirs.made, "ours": ours.made}, "updates": rows,
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Compare and print as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.against", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--preset", default="atari100k")
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    result = compare(given.checkout.resolve(), given.preset, given.updates)
    result["command"] = (
        "python -m tests.benchmarks.against CHECKOUT " + f"--preset {given.preset} --updates {given.updates}"
    )
    text = json.dumps(result, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
