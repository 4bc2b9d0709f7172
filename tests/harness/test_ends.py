"""However a run of the real agent ends, its end has a name, and a plain resubmit goes on with it."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import launch, resubmit, status
from harness.study import profiles
from tests.harness.local import Capture, wait_for

STEPS = 1500
TRAINING, WORKER, POOL = "agent.train", "submitit.core._submit", "harness.backend.pool"


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "have_slurm", lambda: False)


def process(word: str, runs: Path) -> int | None:
    """Return the process of the study under `runs` whose command line has the word."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if word in line and str(runs) in line and int(folder.name) != os.getpid():
            return int(folder.name)
    return None


def signalled(word: str, number: signal.Signals) -> Callable[[Path, Path], None]:
    """Return an end: the signal reaches the process as soon as there is one, before it has run a line of ours."""

    def end(runs: Path, run: Path) -> None:
        deadline = time.monotonic() + 60
        while (found := process(word, runs)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(found, number)

    return end


def vanished(runs: Path, run: Path) -> None:
    """The run's folder is gone while it trains, as on a file system that was unmounted, and comes back."""
    wait_for((run / "checkpoint/latest.json").exists, 300)
    aside = run.with_name("aside")
    run.rename(aside)
    wait_for(lambda: process(TRAINING, runs) is None, 120)
    if run.exists():  # what was written meanwhile
        run.rename(run.with_name("meanwhile"))
    aside.rename(run)


ENDS = {
    "the worker is killed as it starts": (signalled(WORKER, signal.SIGKILL), {"killed", "lost", "not_started"}),
    "training is killed as it starts": (signalled(TRAINING, signal.SIGKILL), {"killed"}),
    "training is interrupted as it starts": (signalled(TRAINING, signal.SIGINT), {"stopped", "killed"}),
    "training is told to stop as it starts": (signalled(TRAINING, signal.SIGTERM), {"stopped", "killed"}),
    "the folder vanishes": (vanished, {"record", "lost", "killed", "code_error"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDS)
def test_an_end_is_named_and_a_plain_resubmit_goes_on(name: str, tmp_path: Path, capsys: Capture) -> None:
    end, reasons = ENDS[name]
    grid, runs = tmp_path / "short.yaml", tmp_path / "runs"
    grid.write_text(
        "tasks: [catch]\npreset: debug\nmethods: [harmony_dreamerv3]\nseeds: 1\n"
        f"agent: {{run: {{steps: {STEPS}, eval_every: 500, checkpoint_every_s: 0.3}}}}\n"
    )
    words = [f"grid={grid}", f"runs={runs}"]
    run = runs / "short/catch/harmony_dreamerv3/seed-0"
    assert launch.main([*words, "--detach"]) == 0
    end(runs, run)
    wait_for(lambda: process(WORKER, runs) is None and process(POOL, runs) is None, 120)
    capsys.readouterr()
    assert status.main([*words, "--json"]) == 1
    row = json.loads(capsys.readouterr().out)["runs"][0]
    assert row["state"] == "ended" and row["reason"] in reasons, row
    assert resubmit.main(words) == 0
    assert status.main(words) == 0
    rows = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    assert [row["env_steps"] for row in rows] == [60, 500, 1000]
