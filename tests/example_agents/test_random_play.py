"""The random player of examples/: trained by a grid's command, and in the report beside our agent."""

import json
from pathlib import Path

import pytest

from agent.contract.run_folder import RunKey
from analysis import report
from harness import launch, status
from harness.study import frozen_code, profiles
from tests.analysis.studies import write_plan, write_run

FOLDER = frozen_code.ROOT / "examples" / "random_play"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(profiles, "have_slurm", lambda: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_it_is_short() -> None:
    assert len((FOLDER / "play.py").read_text().splitlines()) <= 40


@pytest.mark.slow
def test_it_stands_beside_our_agent_under_its_label(tmp_path: Path, capsys: Capture) -> None:
    study = tmp_path / "runs" / "both"
    keys = [RunKey("catch", method, seed) for method in ("dreamerv3", "harmony_dreamerv3") for seed in (0, 1)]
    for key in keys:  # what our agent left: four evaluations, every 400 steps
        write_run(study, key, frames_per_step=1)
    write_plan(study, keys)
    grid = f"grid={FOLDER / 'random_play.yaml'}"
    words = [grid, f"runs={tmp_path / 'runs'}", "study=both"]
    assert launch.main([*words, "agent.run.steps=1700", "agent.run.eval_every=400"]) == 0
    assert status.main([*words, "methods=random_play"]) == 0
    assert launch.main([*words, "agent.run.stps=9"]) == 2
    assert "unknown key of settings.yaml 'run.stps'; did you mean 'run.steps'" in capsys.readouterr().err
    out = tmp_path / "report"
    assert report.main(["study=both", f"runs={tmp_path / 'runs'}", f"out={out}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["methods"]) == {"dreamerv3", "harmony_dreamerv3", "random_play"}
    page = (out / "index.html").read_text()
    assert "DreamerV3 vs Random play" in page
    assert "another agent trained random_play (python ./examples/random_play/play.py)" in page
    assert "methods differ in" not in page
    assert "Random play" in "".join(path.read_text() for path in (out / "tables").glob("*.tex"))
