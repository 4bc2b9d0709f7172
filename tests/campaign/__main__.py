"""`python -m tests.campaign --kills N --seed S`: kill studies in every way, and compare what becomes of them.

Each study is disturbed a few times, continued by the product's own commands until it is complete, and compared to the
bit with the same study undisturbed. Prints figures; exits with 1 when a run differs or is not carried on.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.campaign import kills, trial
from tests.campaign.cases import CASES, Case
from tests.campaign.study import Study
from tests.campaign.trial import Outcome

KILLS_PER_STUDY = (5, 10)


def parse(words: list[str] | None) -> argparse.Namespace:
    """Return the command line's settings."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--kills", type=int, default=8, help="kills to carry out at least")
    parser.add_argument("--seed", type=int, default=0, help="decides cases, kinds and moments")
    parser.add_argument("--backends", default="local", help="local, slurm, or both as local,slurm")
    parser.add_argument("--cases", default=",".join(names), help=f"of {', '.join(names)}")
    parser.add_argument("--work", type=Path, help="a folder for the studies; what went wrong stays there")
    parser.add_argument("--json", type=Path, help="write the figures here as well, after each study")
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no further study after so long")
    return parser.parse_args(words)


class Campaign:
    """A campaign under way: its settings, its undisturbed studies, and the outcomes so far."""

    def __init__(self, given: argparse.Namespace, work: Path) -> None:
        self.given, self.work, self.outcomes = given, work, list[Outcome]()
        self.dice = random.Random(given.seed)
        self.wholes: dict[str, Study] = {}

    @property
    def killed(self) -> int:
        """Return how many kills were carried out."""
        return sum(len(outcome.kills) for outcome in self.outcomes)

    def run(self) -> bool:
        """Disturb one study after the other until there were kills enough; return whether all went well."""
        until = time.monotonic() + self.given.minutes * 60
        deck: list[tuple[Case, str]] = []
        while self.killed < self.given.kills and time.monotonic() < until:
            if not deck:
                cases = [case for case in CASES if case.name in self.given.cases.split(",")]
                deck = [(case, backend) for case in cases for backend in self.given.backends.split(",")]
                self.dice.shuffle(deck)
            self._one(*deck.pop())
        return self.killed >= self.given.kills and not any(o.different or o.stuck for o in self.outcomes)

    def _one(self, case: Case, backend: str) -> None:
        count = min(self.dice.randint(*KILLS_PER_STUDY), self.given.kills - self.killed)
        folder = self.work / f"study-{len(self.outcomes):03d}-{case.name}-{backend}"
        began = time.monotonic()
        planned = [kills.choose(self.dice, self.killed + n, backend) for n in range(count)]
        study, outcome = trial.disturbed(case, folder, backend, planned)
        if not outcome.stuck:
            trial.compare(study, self._whole(case), outcome)
        self.outcomes.append(outcome)
        bad = outcome.stuck or outcome.different
        print(
            f"{folder.name}: {len(outcome.kills)} kills, {len(outcome.identical)} identical, "
            f"{len(outcome.different)} different{', STUCK' if outcome.stuck else ''}, {time.monotonic() - began:.0f} s",
            flush=True,
        )
        if bad:
            print("\n".join([f"  {kills.as_words(kill)}" for kill in outcome.kills] + [f"  {bad}"]), flush=True)
        else:
            shutil.rmtree(folder)
        if self.given.json:
            self.given.json.write_text(json.dumps(self.figures(), indent=1) + "\n")

    def _whole(self, case: Case) -> Study:
        """Return the undisturbed study of a case, which is made once."""
        if case.name not in self.wholes:
            folder = self.work / f"whole-{case.name}"
            if folder.exists():
                shutil.rmtree(folder)
            self.wholes[case.name] = trial.undisturbed(case, folder, "local")
        return self.wholes[case.name]

    def figures(self) -> dict[str, Any]:
        """Return the campaign's figures."""
        done = [(outcome, kill) for outcome in self.outcomes for kill in outcome.kills]
        return {
            "seed": self.given.seed,
            "kills": len(done),
            "studies": len(self.outcomes),
            "identical": sum(len(outcome.identical) for outcome in self.outcomes),
            "different": sum(len(outcome.different) for outcome in self.outcomes),
            "stuck": sum(bool(outcome.stuck) for outcome in self.outcomes),
            "by backend": dict(Counter(outcome.backend for outcome, _ in done)),
            "by case": dict(Counter(outcome.case for outcome, _ in done)),
            "by kind": dict(Counter(kill.kind for _, kill in done)),
            "by moment": dict(Counter(kill.moment for _, kill in done)),
            "bad": [
                {**asdict(outcome), "kills": [kills.as_words(kill) for kill in outcome.kills]}
                for outcome in self.outcomes
                if outcome.different or outcome.stuck
            ],
        }


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = parse(words)
    work = (given.work or Path(tempfile.mkdtemp(prefix="campaign-"))).absolute()
    own = {name: work / name for name in ("cache", "tmp", "run")}  # not other pools'
    for folder in own.values():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    campaign = Campaign(given, work)
    with trial.environment(
        XDG_CACHE_HOME=str(own["cache"]), XDG_RUNTIME_DIR=str(own["run"]), TMPDIR=str(own["tmp"]),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",  # a start then takes half as long
    ):  # fmt: skip
        well = campaign.run()
    print(json.dumps(campaign.figures(), indent=1))
    if given.work is None and well:
        shutil.rmtree(work)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
