"""Time the agent on this machine.

    python -m tests.benchmarks [NAME ...] [--list] [--json FILE]

Without names: all benchmarks on a GPU, those that a CPU can afford otherwise. A name may hold `*`. Results go to
standard output as one JSON object; every time is also given relative to fixed arithmetic measured alternately with it.
A benchmark that fails is named in the result, and the others are still made.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from functools import partial
from pathlib import Path

from agent.contract.words import nearest


def main(argv: list[str] | None = None) -> int:
    """List or make benchmarks; 1 where one failed, 2 for a name that there is not."""
    title = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=title)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names; * marks what a CPU makes by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args(argv)

    import jax

    from tests.benchmarks.record import Record
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
    try:
        record = Record("python -m tests.benchmarks", argv, given.json)
    except OSError as error:
        parser.error(f"--json {given.json}: {error.strerror}")
    calibration = Calibration()
    for name in asked:
        record.make(name, partial(known[name].run, calibration))
    print(record.text)
    if record.failed:
        print(f"failed: {', '.join(record.failed)}", file=sys.stderr)
    return 1 if record.failed else 0


if __name__ == "__main__":
    sys.exit(main())
