"""The configurations that the campaign disturbs: a few hundred steps of a tiny agent each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ruamel.yaml

CATCH = {
    "run": {"steps": 1000, "prefill": 100, "eval_every": 100, "checkpoint_every_s": 0.1},
    "env": {"catch": {"size": 8}},
}
PONG = {
    "run": {"steps": 240, "prefill": 80, "eval_every": 60, "eval_episodes": 2, "checkpoint_every_s": 0.4},
    "env": {"atari": {"length": 240}},
}
BOTH = ("dreamerv3", "harmony_dreamerv3")


@dataclass(frozen=True)
class Case:
    """A study: its task, how its runs share a process, and what is set besides."""

    name: str
    task: str
    pack: int = 1
    mode: str = "vmap"
    run: dict[str, Any] = field(default_factory=dict[str, Any])
    env: dict[str, Any] = field(default_factory=dict[str, Any])
    replay: dict[str, Any] = field(default_factory=dict[str, Any])

    def write_grid(self, folder: Path) -> Path:
        """Write the grid and return its file."""
        base = CATCH if self.task == "catch" else PONG
        agent = {
            "run": {**base["run"], **self.run},
            "env": {**base["env"], **self.env},
            **({"replay": self.replay} if self.replay else {}),
        }
        grid = {
            "preset": "debug",
            "tasks": [self.task],
            "methods": list(BOTH) if self.pack > 1 else [BOTH[1]],
            "seeds": 1,
            "pack": self.pack,
            "pack.mode": self.mode,
            "agent": agent,
        }
        path = folder / f"{self.name}.yaml"
        ruamel.yaml.YAML(typ="safe").dump(grid, path)
        return path


CASES = (
    Case("catch", "catch"),
    Case("catch-process", "catch", 2, "process"),
    Case("catch-vmap", "catch", 2),
    Case("catch-overlap", "catch", run={"eval_overlap": "on", "eval_episodes": 40}),
    Case("catch-host", "catch", replay={"store": "host"}),
    Case("catch-vmap-overlap-host", "catch", 2, run={"eval_overlap": "on"}, replay={"store": "host"}),
    Case("pong", "atari_pong"),
    Case("pong-overlap-host", "atari_pong", run={"eval_overlap": "on"}, replay={"store": "host"}),
    Case("pong-workers", "atari_pong", env={"amount": 2, "processes": "on"}),
    Case("pong-vmap", "atari_pong", 2),
)
