"""Time the agent on this machine.

    python -m tests.benchmarks [NAME ...] [--list] [--json FILE]

Without names: all benchmarks on a GPU, those that a CPU can afford otherwise. A name may hold `*`. Results go to
standard output as one JSON object; every time is also given relative to fixed arithmetic measured alternately with it.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from agent.config import nearest


def machine() -> dict[str, Any]:
    """Return what the times depend on: device, cores, load before the start, and versions."""
    import jax

    device = jax.devices()[0]
    return {
        "platform": device.platform, "device": device.device_kind, "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "jax": jax.__version__,
        "python": platform.python_version(),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """List or make benchmarks; 2 for a name that there is not."""
    title = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=title)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names; * marks what a CPU makes by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args(argv)

    import jax

    from tests.benchmarks.suite import benchmarks
    from tests.benchmarks.timing import Calibration

    known = benchmarks()
    for name in given.names:
        if not fnmatch.filter(known, name):
            print(nearest(name, known, "benchmark"), file=sys.stderr)
            return 2
    if given.list:
        print("\n".join(f"{name}{' *' if one.cheap else ''}" for name, one in known.items()))
        return 0
    everything = jax.default_backend() != "cpu"
    asked = [n for n, one in known.items() if (everything or one.cheap) and not given.names]
    asked += [name for name in known if any(fnmatch.fnmatch(name, pattern) for pattern in given.names)]
    result: dict[str, Any] = {"machine": machine(), "benchmarks": {}}
    calibration = Calibration()
    for name in asked:
        print(name, file=sys.stderr, flush=True)
        result["benchmarks"][name] = known[name].run(calibration)
        if given.json:
            given.json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
