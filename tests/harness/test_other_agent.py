"""Another agent's command in the place of ours, from the grid to its end: a study on the local pool."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from harness import launch, resubmit, status
from harness.job.keeper import ANEW
from harness.study.folder import Study
from tests.harness.local import Capture, study_json, wait_for

COMMAND = Path(__file__).with_name("other_command.py")


class Other:
    """A grid inside the code that other_command.py trains, and its study."""

    def __init__(self, tree: Path, runs: Path, capsys: Capture) -> None:
        self.folder, self.runs, self.capsys = tree / "examples" / "other", runs, capsys
        self.folder.mkdir(parents=True)
        shutil.copy(COMMAND, self.folder)
        self.path = self.folder / "other.yaml"
        self.words = [f"grid={self.path}", f"runs={runs}"]
        self.grid()

    def grid(self, more: str = "", command: str = "[python, other_command.py]", agent: str = "{steps: 20}") -> None:
        lines = f"train: {command}\ntasks: [catch, maze_7]\nmethods: {{rival: A rival}}\nseeds: 1\nagent: {agent}\n"
        self.path.write_text(lines + more)

    def launch(self, *words: str, code: int = 0) -> str:
        assert launch.main([*self.words, *words]) == code
        return self.text()

    def text(self) -> str:
        out, err = self.capsys.readouterr()
        return out + err

    def run(self, task: str = "catch") -> Path:
        return self.runs / "other" / task / "rival" / "seed-0"

    def states(self) -> dict[str, dict[str, Any]]:
        return {row["task"]: row for row in study_json(str(self.path), self.runs, self.capsys)["runs"]}

    def labels(self) -> dict[str, str]:
        return {task: row["reason"] or row["state"] for task, row in self.states().items()}

    def steps(self, folder: Path | None = None) -> list[int]:
        lines = ((folder or self.run()) / "scores.jsonl").read_text().splitlines()
        return [json.loads(line)["env_steps"] for line in lines]


@pytest.fixture
def other(tree: Path, tmp_path: Path, capsys: Capture) -> Other:
    return Other(tree, tmp_path / "runs", capsys)


def test_a_command_trains_a_study_to_its_end_with_the_settings_as_the_grid_gives_them(other: Other) -> None:
    other.grid(agent="{steps: 20, net: {widths: [8, 16], act: silu, rate: 1e-4, name: 'null'}}")
    assert "2 runs in 2 jobs" in other.launch("pack=2")  # of two tasks
    assert other.labels() == {"catch": "done", "maze_7": "done"}
    text = (other.run() / "config.yaml").read_text()
    assert text.startswith(
        "task: catch\nmethod: rival\nseed: 0\ntrain:\n- python\n- ./examples/other/other_command.py\n"
    )
    assert "widths:\n  - 8\n  - 16\n  act: silu\n  rate: 0.0001\n  name: 'null'\n" in text
    attempt = json.loads((other.run() / "attempts/1/attempt.json").read_text())
    assert (attempt["mode"], attempt["reason"], attempt["exit_code"]) == ("process", "done", 0)
    done = json.loads((other.run() / "status.json").read_text())
    assert (done["state"], done["env_steps"], done["total_env_steps"]) == ("done", 20, 20)
    assert not (other.run() / "lease.json").exists()
    assert "nothing is missing" in other.launch()


def test_two_commands_are_two_studies(other: Other, tmp_path: Path) -> None:
    other.launch()
    other.grid(command="[python, other_command.py, --fast]")
    said = other.launch(code=2)
    assert "other_command.py'] → ['python', './examples/other/other_command.py', '--fast']" in said
    assert "study=other-2" in said
    ours = tmp_path / "ours.yaml"
    ours.write_text("tasks: [catch]\npreset: debug\nmethods: [dreamerv3]\nseeds: 1\n")
    assert launch.main([f"grid={ours}", f"runs={other.runs}", "study=other"]) == 0  # beside it, of another method
    assert {row["method"] for row in study_json(str(other.path), other.runs, other.capsys)["runs"]} == {
        "rival",
        "dreamerv3",
    }


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        ("traceback", "code_error", "KeyError: 'reward'"),
        ("result", "damaged", "result.json: frames is missing"),
        ("kill", "killed", "killed by SIGKILL"),
    ],
)
def test_what_goes_wrong_costs_its_own_run_and_is_named(other: Other, fault: str, reason: str, words: str) -> None:
    other.grid(f"per_task: {{catch: {{fault: {fault}}}}}\n")
    assert words in other.launch("pack=2", code=1)
    assert other.labels() == {"catch": reason, "maze_7": "done"}
    assert resubmit.main([*other.words, "--state", reason]) == 0
    assert "begins anew" in other.text()
    assert set(other.labels().values()) == {"done"}
    assert other.steps() == [5, 10, 15, 20]


def test_a_command_that_cannot_be_started_is_named_as_such(other: Other) -> None:
    other.grid(command="[no-such-agent, --logdir]")
    said = other.launch(code=1)
    assert "not_started: the command could not be started: [Errno 2] No such file or directory: 'no-such-agent'" in said
    assert set(other.labels().values()) == {"not_started"}
    assert not (other.run() / "lease.json").exists()


def stop_pool(other: Other) -> None:
    pool = Study(other.runs / "other").launches()[-1].folder / "pool.json"
    os.kill(json.loads(pool.read_text())["pid"], signal.SIGTERM)
    wait_for(lambda: json.loads(pool.read_text())["ended"])


@pytest.mark.parametrize("saves", [False, True])
def test_a_stopped_command_goes_on_from_its_checkpoint_or_begins_anew_and_that_is_said(
    other: Other, saves: bool
) -> None:
    other.grid(agent=f"{{steps: 40, pause: 0.15, saves: {str(saves).lower()}}}")
    other.launch("tasks=catch", "--detach")
    wait_for(lambda: (other.run() / "scores.jsonl").exists() and len(other.steps()) >= 2)
    assert (other.run() / "lease.json").exists()
    stop_pool(other)
    assert other.labels()["catch"] == "stopped"
    then = "continues from its checkpoint" if saves else "begins anew, as it left no checkpoint"
    assert other.states()["catch"]["message"] == f"asked to stop; {then}"
    first = other.steps()
    assert resubmit.main([*other.words, "--detach"]) == 0
    assert ("continues from step" if saves else "begins anew") in other.text()
    wait_for(lambda: (other.run() / "lease.json").exists() and (other.run() / "attempts/2/attempt.json").exists())
    wait_for(lambda: other.labels()["catch"] == "running" and other.states()["catch"]["message"] != "starting")
    assert other.states()["catch"]["message"] == (None if saves else ANEW)
    wait_for(lambda: other.labels()["catch"] == "done")
    assert other.steps() == list(range(5, 41, 5))
    assert (other.run() / "attempts/1/scores.jsonl").exists() != saves
    if not saves:
        assert other.steps(other.run() / "attempts/1") == first


def test_a_command_whose_job_was_killed_is_stopped_too(other: Other) -> None:
    other.grid(agent="{steps: 1000, pause: 0.1}")
    other.launch("tasks=catch", "--detach")
    record = other.run() / "attempts/1/attempt.json"
    wait_for(lambda: record.exists() and json.loads(record.read_text())["pid"])
    command = json.loads(record.read_text())["pid"]
    worker = int(Path(f"/proc/{command}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{command}").exists())
    wait_for(lambda: other.labels()["catch"] not in ("running", "queued"))
    assert resubmit.main([*other.words, "--dry-run"]) == 0
    assert "begins anew" in other.text()


def test_a_file_outside_the_code_is_said_not_to_be_frozen(tree: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.copy(COMMAND, tmp_path)
    grid = tmp_path / "outside.yaml"
    grid.write_text("train: [python, other_command.py]\ntasks: [catch]\nmethods: rival\nagent: {steps: 20}\n")
    assert launch.main([f"grid={grid}", f"runs={tmp_path / 'runs'}"]) == 0
    assert f"note: {tmp_path / 'other_command.py'} is not frozen, as it lies outside {tree}" in capsys.readouterr().err
    assert status.main([f"grid={grid}", f"runs={tmp_path / 'runs'}"]) == 0
