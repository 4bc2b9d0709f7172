"""What tests on the local pool share: a study's states, and how the stand-in for training behaves."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from agent.contract.config import Config
from harness import status
from harness.study.run import Run

Capture = pytest.CaptureFixture[str]


def ours(run: Run) -> Config:
    assert isinstance(run.config, Config)
    return run.config


def study_json(grid: str, runs: Path, capsys: Capture) -> dict[str, Any]:
    capsys.readouterr()
    status.main([f"grid={grid}", f"runs={runs}", "--json"])
    return json.loads(capsys.readouterr().out)


def states(grid: str, runs: Path, capsys: Capture) -> dict[str, str]:
    rows = study_json(grid, runs, capsys)["runs"]
    return {f"{row['method']}/{row['seed']}": row["reason"] or row["state"] for row in rows}


def behave(runs: Path, run: str, **words: Any) -> None:
    folder = runs / "tiny" / "catch" / run
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "behave.json").write_text(json.dumps(words))


def wait_for(what: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def scores(runs: Path, run: str) -> list[int]:
    lines = (runs / "tiny" / "catch" / run / "scores.jsonl").read_text().splitlines()
    return [json.loads(line)["env_steps"] for line in lines]
