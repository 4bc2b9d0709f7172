"""The real agent under the harness: killed, continued, packed."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from harness import launch, resubmit, status
from harness.study import profiles

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "have_slurm", lambda: False)


def wait_for(what: object, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():  # pyright: ignore[reportCallIssue]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def evaluations(run: Path) -> list[int]:
    return [json.loads(line)["env_steps"] for line in (run / "scores.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_run_killed_outright_goes_on_from_its_checkpoint(tmp_path: Path, capsys: Capture) -> None:
    grid = tmp_path / "short.yaml"
    grid.write_text(
        "tasks: [catch]\npreset: debug\nmethods: [harmony_dreamerv3]\nseeds: 2\n"
        "agent: {run: {steps: 6000, eval_every: 500, checkpoint_every_s: 0.5}}\n"
    )
    words = [f"grid={grid}", f"runs={tmp_path / 'runs'}"]
    killed, whole = (tmp_path / f"runs/short/catch/harmony_dreamerv3/seed-{seed}" for seed in (0, 1))
    assert launch.main([*words, "--detach"]) == 0
    wait_for((killed / "checkpoint/latest.json").exists, 500)
    os.kill(json.loads((killed / "attempts/1/attempt.json").read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: json.loads((killed / "attempts/1/attempt.json").read_text()).get("ended"), 30)
    wait_for((whole / "result.json").exists, 500)
    capsys.readouterr()
    assert status.main([*words, "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["runs"]
    assert [(row["state"], row["reason"]) for row in rows] == [("ended", "killed"), ("done", None)]
    assert resubmit.main([*words, "--detach"]) == 0
    wait_for((killed / "result.json").exists, 500)
    wait_for(lambda: json.loads((killed / "attempts/2/attempt.json").read_text()).get("ended"), 30)
    assert status.main(words) == 0
    assert evaluations(killed) == evaluations(whole)
    second = json.loads((killed / "attempts/2/attempt.json").read_text())
    assert second["env_steps_after"] == 6000


@pytest.mark.slow
def test_a_pack_of_two_methods_completes_as_one_process(tmp_path: Path) -> None:
    grid = tmp_path / "pack.yaml"
    grid.write_text("tasks: [catch]\npreset: debug\nseeds: 1\npack: 2\n")
    assert launch.main([f"grid={grid}", f"runs={tmp_path / 'runs'}"]) == 0
    for method in ("dreamerv3", "harmony_dreamerv3"):
        run = tmp_path / "runs/pack/catch" / method / "seed-0"
        attempt = json.loads((run / "attempts/1/attempt.json").read_text())
        assert (attempt["pack"], attempt["mode"], attempt["reason"]) == (2, "vmap", "done")
        assert (run / "result.json").exists()
