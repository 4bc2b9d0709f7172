"""The adapter of examples/dreamer_family, with a small agent of that family's command line."""

import json
from pathlib import Path

import pytest

from harness import launch, resubmit
from harness.study import frozen_code, profiles
from tests.harness.local import Capture, study_json

ADAPTER = frozen_code.ROOT / "examples" / "dreamer_family" / "adapter.py"
AGENT = Path(__file__).with_name("small_agent.py")
GRID = f"""
train: [python, {ADAPTER}, python3, {AGENT}]
tasks: [maze_corridor]
methods: {{small: A small agent}}
seeds: 1
agent:
  configs: [defaults, corridor]
  run: {{steps: 4000}}
  explore: 0.1
  pause: 0.5
  die: 0
  adapter: {{every: 1000, frames_per_step: 2}}
"""


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(profiles, "have_slurm", lambda: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def train(folder: Path, *words: str, code: int = 0) -> Path:
    (folder / "small.yaml").write_text(GRID)
    given = [f"grid={folder / 'small.yaml'}", f"runs={folder / 'runs'}"]
    assert launch.main([*given, *words]) == code
    return folder / "runs" / "small" / "maze_corridor" / "small" / "seed-0"


def rows(run: Path) -> list[tuple[int, int, float]]:
    lines = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    return [(row["env_steps"], row["frames"], row["mean"]) for row in lines]


@pytest.mark.slow
def test_what_the_agent_logs_becomes_the_runs_rows_and_a_killed_one_goes_on_to_the_same_end(
    tmp_path: Path, capsys: Capture
) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    run = train(tmp_path / "whole")
    flags = json.loads((run / "logdir" / "flags.json").read_text())
    assert flags == {
        "logdir": [str(run / "logdir")], "task": ["maze_corridor"], "seed": ["0"], "configs": ["defaults", "corridor"],
        "run.steps": ["4000"], "explore": ["0.1"], "pause": ["0.5"], "die": ["0"],
    }  # fmt: skip
    found = rows(run)
    assert [frames for _, frames, _ in found] == list(range(1000, 8001, 1000))
    assert [steps for steps, _, _ in found] == list(range(500, 4001, 500))
    episodes = [json.loads(line) for line in (run / "logdir/scores.jsonl").read_text().splitlines()]
    second = [row["episode/score"] for row in episodes if 1000 < row["step"] <= 2000]
    assert found[1][2] == pytest.approx(sum(second) / len(second), abs=1e-12)
    assert found[-1][2] > 0.85  # it has learned
    result = json.loads((run / "result.json").read_text())
    assert (result["env_steps"], result["frames"], result["final_score"]) == (4000, 8000, found[-1][2])

    killed = train(tmp_path / "killed", "agent.die=2250", code=1)
    words = [f"grid={tmp_path / 'killed/small.yaml'}", f"runs={tmp_path / 'killed/runs'}"]
    (row,) = study_json(words[0].removeprefix("grid="), tmp_path / "killed/runs", capsys)["runs"]
    assert row["reason"] == "killed"
    assert resubmit.main([*words, "--dry-run"]) == 0
    assert "continues from step" in capsys.readouterr().out
    assert resubmit.main(words) == 0
    assert rows(killed) == found
    assert len(list((killed / "attempts").iterdir())) == 2
