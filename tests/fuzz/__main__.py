"""`python -m tests.fuzz --seconds N --seed S`: mutated input for every reader of outside input.

A reader returns or says in one line what is wrong. Printed are the texts on which it raised anything else or took
longer than two seconds of the processor; the exit code is 1 when there are any.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from tests.fuzz.mutate import mutated
from tests.fuzz.readers import WRONG, Reader, readers
from tests.harness.test_damage import make

LONGEST_S = 2


class TooSlowError(Exception):
    """A reader did not come back in time."""


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlowError(f"longer than {LONGEST_S} s of the processor")


def outcome(reader: Reader, text: str, folder: Path) -> str:
    """Return `read`, `refused`, or what went wrong."""
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    try:
        reader.read(text, folder)
    except WRONG as error:
        said = str(error)
        return "refused" if said and "\n" not in said else f"says {said[:200]!r}, which is not one line"
    except Exception as error:  # noqa: BLE001 - whatever a reader lets through is what is looked for
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "read"


def fuzz(seconds: float, seed: int, folder: Path) -> tuple[Counter[tuple[str, str]], dict[tuple[str, str], str]]:
    """Return how often each reader came to which outcome, and a text for each that should not be."""
    study = make(folder / "runs")
    draw, counts, bad = random.Random(seed), Counter[tuple[str, str]](), dict[tuple[str, str], str]()
    all_, until = readers(study.path), time.monotonic() + seconds
    signal.signal(signal.SIGPROF, _too_slow)
    while time.monotonic() < until:
        for reader in all_:
            text = mutated(draw.choice(reader.texts), draw, draw.choice(draw.choice(all_).texts))
            found = outcome(reader, text, folder)
            counts[reader.name, found if found in ("read", "refused") else "bad"] += 1
            if found not in ("read", "refused"):
                bad.setdefault((reader.name, found[:60]), f"{found}\n{text[:400]!r}")
    return counts, bad


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        counts, bad = fuzz(given.seconds, given.seed, Path(name))
    for reader in sorted({reader for reader, _ in counts}):
        print(f"{reader:<22}" + "".join(f"{kind} {counts[reader, kind]:<8}" for kind in ("read", "refused", "bad")))
    print(f"{sum(counts.values())} texts, {len(bad)} kinds of failures")
    for (reader, _), told in bad.items():
        print(f"\n{reader}: {told}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
