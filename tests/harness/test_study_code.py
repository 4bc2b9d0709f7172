"""Which code a study's runs get: that of the moment of the launch, whatever is edited meanwhile."""

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.contract.files import RecordError
from agent.contract.lease import Lease
from agent.contract.run_folder import RunDir
from harness import launch, resubmit
from harness.study import frozen_code
from harness.study.folder import Study
from tests.harness.local import Capture, behave, states, wait_for


def test_jobs_run_from_the_code_as_it_was(tree: Path, grid: str, tmp_path: Path, capsys: Capture) -> None:
    runs = tmp_path / "runs"
    behave(runs, "dreamerv3/seed-0", sleep=0.1)
    assert launch.main([f"grid={grid}", f"runs={runs}", "jobs=1", "--detach"]) == 0
    (tree / "agent" / "train.py").write_text("raise SystemExit('the edited code ran')\n")
    wait_for(lambda: set(states(grid, runs, capsys).values()) == {"done"})


def test_code_edited_while_a_launch_waits_for_its_study_is_frozen_as_it_is_then(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(tmp_path / "runs" / "tiny")
    waiting, claim = threading.Event(), Lease.claim

    def claim_or_tell(run: RunDir, **more: Any) -> Lease:
        try:
            return claim(run, **more)
        except RecordError:
            waiting.set()
            raise

    monkeypatch.setattr(Lease, "claim", claim_or_tell)
    words = [f"grid={grid}", f"runs={tmp_path / 'runs'}", "seeds=1", "methods=dreamerv3", "--detach"]
    with study.lock():
        thread = threading.Thread(target=launch.main, args=[words])
        thread.start()
        assert waiting.wait(60)
        (tree / "agent" / "note.txt").write_text("edited\n")
    thread.join()
    (code,) = study.code.iterdir()
    assert code.name == frozen_code.describe()[0].code_tree
    assert (code / "agent" / "note.txt").read_text() == "edited\n"
    wait_for(lambda: set(states(grid, tmp_path / "runs", capsys).values()) == {"done"})


def test_a_plan_names_the_code_that_its_first_runs_get_even_where_the_code_changes_as_it_is_copied(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze = frozen_code.freeze

    note = tree / "agent" / "note.txt"
    note.write_text("as it was described\n")

    def edit_first(*words: Any) -> Path:
        note.write_text("edited\n")
        return freeze(*words)

    monkeypatch.setattr(frozen_code, "freeze", edit_first)
    words = [f"grid={grid}", f"runs={tmp_path / 'runs'}", "seeds=1", "methods=dreamerv3"]
    assert launch.main(words) == 1
    assert "the code was changed while it was being copied; run the same command again" in capsys.readouterr().err
    study = Study(tmp_path / "runs" / "tiny")
    assert not (study.path / "plan.json").exists()
    assert launch.main(words) == 0
    assert "the code has changed since this study began" not in capsys.readouterr().out
    (code,) = study.code.iterdir()
    assert study.plan().code["code_tree"] == code.name == frozen_code.describe()[0].code_tree


def test_a_study_begun_by_an_older_version_goes_on_with_new_code_only(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture
) -> None:
    runs = tmp_path / "runs"
    behave(runs, "dreamerv3/seed-0", fail="it broke")
    words = [f"grid={grid}", f"runs={runs}", "methods=dreamerv3"]
    assert launch.main([*words, "seeds=1"]) == 1
    (code,) = Study(runs / "tiny").code.iterdir()
    shutil.move(code / "harness" / "job" / "worker.py", code / "harness" / "worker.py")
    (tree / "agent" / "note.txt").write_text("the version of today\n")
    behave(runs, "dreamerv3/seed-0")
    capsys.readouterr()
    assert resubmit.main([*words, "--state", "failed"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(str(code)) and line.endswith("from the code as it is now with --new-code")
    assert resubmit.main([*words, "--state", "failed", "--new-code"]) == 0
    assert states(grid, runs, capsys) == {"dreamerv3/0": "done"}
