"""`python -m tests.campaign.soak --runs N`: many short runs in a local pool, some killed; nothing may pile up.

Looks again and again at the pool's processes, descriptors and memory, at shared memory, and at a temporary folder of
its own. Prints figures; exits with 1 when something grew or was left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.campaign.cases import Case
from tests.campaign.kills import KILL, TERM
from tests.campaign.study import LIVE, Study
from tests.campaign.trial import environment
from tests.slurm.cluster import slack

JOBS = 2
KILLED = 0.3  # kills for each run
RSS_MB = 4.0
SHORT = {"steps": 60, "prefill": 40, "eval_every": 40, "checkpoint_every_s": 1.0}


@dataclass(frozen=True)
class Look:
    """What there is at one moment."""

    processes: int
    descriptors: int
    rss_mb: float
    temporary: int
    shared: int


@dataclass
class Soak:
    """A soak under way: its study, the looks at each of its pools, and the kills so far."""

    study: Study
    runs: int
    temporary: Path
    dice: random.Random
    looks: list[list[Look]] = field(default_factory=list[list[Look]])
    kills: int = 0

    def run(self) -> None:
        """Launch the study, and go on until every run is complete."""
        until = time.monotonic() + (120 + 20 * self.runs) * slack()
        self.study.launch(f"seeds={self.runs}", f"jobs={JOBS}")
        while True:
            self._watch(self._pool(), until)
            rows = self.study.states()
            if all(row["state"] == "done" for row in rows):
                return
            if not any(row["state"] in LIVE for row in rows) and not self.study.resubmit()[0]:
                raise RuntimeError(f"a plain resubmit does not go on: {rows}")
            if time.monotonic() > until:
                raise RuntimeError(f"not done in time: {rows}")
            time.sleep(0.5)

    def _pool(self) -> psutil.Process | None:
        latest = max(self.study.path.glob(".harness/launches/*/pool.json"))
        try:
            return psutil.Process(json.loads(latest.read_text())["pid"])
        except psutil.NoSuchProcess:
            return None

    def _watch(self, pool: psutil.Process | None, until: float) -> None:
        """Look at a pool until it has ended, and kill one of its processes now and then."""
        looks: list[Look] = []
        strike = time.monotonic()
        while pool is not None and pool.is_running() and time.monotonic() < until:
            try:
                if pool.status() == psutil.STATUS_ZOMBIE:
                    break
                below = pool.children(recursive=True)
                looks.append(self._look(pool, below))
                if below and self.kills < KILLED * min(self.runs, self._attempts()) and time.monotonic() > strike:
                    self.dice.choice(below).send_signal(self.dice.choice((KILL, TERM)))
                    self.kills += 1
                    strike = time.monotonic() + self.dice.uniform(0.0, 3.0)
            except psutil.NoSuchProcess:
                continue
            time.sleep(0.3)
        self.looks.append(looks)

    def _attempts(self) -> int:
        return len(list(self.study.path.glob("*/*/*/attempts/*")))

    def _look(self, pool: psutil.Process, below: list[psutil.Process]) -> Look:
        rss_mb = pool.memory_info().rss / 2**20
        return Look(len(below), pool.num_fds(), rss_mb, len(os.listdir(self.temporary)), len(os.listdir("/dev/shm")))

    def left_behind(self) -> list[str]:
        """Return the command lines of the study's processes that outlive it, after some seconds of patience."""
        until = time.monotonic() + 10 * slack()
        while (found := [" ".join(p) for p in self._ours()]) and time.monotonic() < until:
            time.sleep(0.2)
        return found

    def _ours(self) -> list[list[str]]:
        """Return the command lines of all processes, but this one, that were given the soak's temporary folder."""
        found: list[list[str]] = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get("TMPDIR") == str(self.temporary):
                    found.append(process.cmdline())
            except psutil.Error:
                continue
        return found


def grown(looks: list[Look]) -> list[str]:
    """Return what grew from the first third of the looks at a pool to the last."""
    third = len(looks) // 3
    if third < 5:
        return []
    first, last = looks[third // 5 : third], looks[-third:]
    found: list[str] = []
    for name in ("processes", "descriptors", "temporary", "shared"):
        before, after = (max(getattr(look, name) for look in part) for part in (first, last))
        if after > before + (0 if name == "shared" else JOBS):
            found.append(f"{name}: {before}, then {after}")
    before, after = (statistics.median(look.rss_mb for look in part) for part in (first, last))
    return [*found, *([f"rss_mb: {before:.1f}, then {after:.1f}"] if after > before + RSS_MB else [])]


def soak(runs: int, seed: int, work: Path) -> dict[str, Any]:
    """Return the figures of a soak; `bad` is empty when nothing grew and nothing was left behind."""
    temporary = work / "tmp"
    temporary.mkdir(mode=0o700, parents=True)
    shared = len(os.listdir("/dev/shm"))
    began = time.monotonic()
    settings = {"XDG_CACHE_HOME": str(work / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    with environment(TMPDIR=str(temporary), **settings):
        study = Study.of(Case("soak", "catch", run=SHORT), work / "study", "local")
        made = Soak(study, runs, temporary, random.Random(seed))
        made.run()
    bad = [what for looks in made.looks for what in grown(looks)]
    bad += [f"a process is left: {words}" for words in made.left_behind()]
    left = sorted(os.listdir(temporary))
    bad += [f"temporary files are left: {', '.join(left)}"] if len(left) > JOBS else []
    bad += ["shared memory is left"] if len(os.listdir("/dev/shm")) > shared else []
    longest = max(made.looks, key=len)
    return {
        "runs": runs, "kills": made.kills, "pools": len(made.looks), "seconds": round(time.monotonic() - began),
        "looks": len(longest), "first": asdict(longest[len(longest) // 4]), "last": asdict(longest[-1]),
        "most": {name: max(getattr(look, name) for look in longest) for name in asdict(longest[0])},
        "temporary left": left, "bad": bad,
    }  # fmt: skip


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="decides the kills")
    given = parser.parse_args(words)
    work = Path(tempfile.mkdtemp(prefix="soak-"))
    figures = soak(given.runs, given.seed, work)
    print(json.dumps(figures, indent=1))
    if not figures["bad"]:
        shutil.rmtree(work)
    return 1 if figures["bad"] else 0


if __name__ == "__main__":
    sys.exit(main())
