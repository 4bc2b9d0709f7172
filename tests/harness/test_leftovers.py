"""What jobs on the local pool leave in the machine's temporary folder, however they end."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from harness import launch
from harness.study.folder import Study
from tests.harness.local import Capture, behave, states, wait_for


def test_a_pool_whose_jobs_were_killed_leaves_nothing(tree: Path, grid: str, tmp_path: Path, capsys: Capture) -> None:
    runs, run = tmp_path / "runs", "dreamerv3/seed-0"
    behave(runs, run, sleep=0.5)
    words = [f"grid={grid}", f"runs={runs}", "methods=dreamerv3", "seeds=1", "--detach"]
    assert launch.main(words) == 0
    (made,) = Study(runs / "tiny").launches()
    folder = runs / "tiny" / "catch" / run

    def pool() -> dict[str, Any]:
        return json.loads((made.folder / "pool.json").read_text())

    wait_for((folder / "scores.jsonl").exists)
    assert len(list((tmp_path / "machine").glob("harmony-bench-xla-*"))) == 1
    attempt = json.loads((folder / "attempts/1/attempt.json").read_text())
    os.kill(attempt["pid"], signal.SIGSTOP)  # so that its worker does not see it end
    os.kill(int(pool()["jobs"]["0"]["job_id"].removeprefix("local-")), signal.SIGKILL)
    os.kill(attempt["pid"], signal.SIGKILL)
    wait_for(lambda: pool().get("ended") is not None)
    assert list((tmp_path / "machine").glob("harmony-bench-*")) == []
    assert states(f"{grid}", runs, capsys)["dreamerv3/0"] == "killed"


def test_a_scratch_that_cannot_be_written_costs_no_run(tree: Path, grid: str, tmp_path: Path, capsys: Capture) -> None:
    runs = tmp_path / "runs"
    words = [f"grid={grid}", f"runs={runs}", "methods=dreamerv3", "seeds=1", f"cluster.scratch={tmp_path / 'none'}"]
    assert launch.main(words) == 0
    out = (runs / "tiny/catch/dreamerv3/seed-0/attempts/1/stdout.log").read_text()
    assert '"JAX_ENABLE_COMPILATION_CACHE": "false"' in out
