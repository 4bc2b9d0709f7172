"""A study under the product's own commands, called as a user would type them."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.contract.run_folder import RunDir
from harness import launch, resubmit, status
from tests.campaign.cases import Case
from tests.slurm.cluster import slack

ENDED, LIVE = ("ended", "planned", "damaged"), ("queued", "running", "unknown")


@dataclass(frozen=True)
class Study:
    """One launch of a case: its folder `runs/NAME` and the grid it was launched from."""

    grid: Path
    runs: Path
    backend: str

    @classmethod
    def of(cls, case: Case, folder: Path, backend: str) -> Study:
        """Return the study of a case in a folder of its own; nothing is launched yet."""
        folder.mkdir(parents=True)
        return cls(case.write_grid(folder), folder / "runs", backend)

    @property
    def path(self) -> Path:
        """The study's folder."""
        return self.runs / self.grid.stem

    def command(self, module: Any, *words: str) -> tuple[int, str]:
        """Run one of the harness's commands and return its exit code and everything it printed."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = module.main([f"grid={self.grid}", f"runs={self.runs}", *words])
        return code, out.getvalue()

    def launch(self, *words: str) -> None:
        """Launch it, without waiting for it."""
        where = ("cluster=local", "--detach") if self.backend == "local" else ("cluster=test",)
        code, text = self.command(launch, *where, *words)
        if code != 0:
            raise RuntimeError(f"launch ended with {code}: {text}")

    def resubmit(self) -> tuple[bool, str]:
        """Resubmit plainly what ended undone; return whether anything was, and what was said."""
        before = self._launches()
        code, text = self.command(resubmit, *(("--detach",) if self.backend == "local" else ()))
        return self._launches() > before, f"resubmit ended with {code}: {text}"

    def _launches(self) -> int:
        return len(list(self.path.glob(".harness/launches/*")))

    def states(self) -> list[dict[str, Any]]:
        """Return what status says of every run."""
        code, text = self.command(status, "--json")
        try:
            return json.loads(text[text.index("{") : text.rindex("}") + 1])["runs"]
        except ValueError:
            raise RuntimeError(f"status ended with {code}: {text}") from None

    def run_folders(self) -> dict[str, RunDir]:
        """Return the run folders by their name inside the study."""
        plan = json.loads((self.path / "plan.json").read_text())
        names = [f"{run['task']}/{run['method']}/seed-{run['seed']}" for run in plan["runs"]]
        return {name: RunDir(self.path / name) for name in names}

    def looks(self, seconds: float) -> Iterator[list[dict[str, Any]]]:
        """Yield the states again and again, until so many seconds have passed (more on a busy machine)."""
        until = time.monotonic() + seconds * slack()
        while time.monotonic() < until:
            yield self.states()
            time.sleep(0.3 if self.backend == "local" else 1.0)
