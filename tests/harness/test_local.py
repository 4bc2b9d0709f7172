"""Studies on the local pool, from command line to result; the stand-in takes the place of training."""

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import cancel, launch, logs, resubmit, status
from harness.backend import order, pool
from harness.backend.slot import Slot
from harness.study.folder import Launch, Study
from harness.study.records import LaunchRecord, PoolJob, ProfileRecord
from tests.harness.local import Capture, behave, scores, states, wait_for


def test_a_study_runs_to_its_end_and_relaunching_submits_nothing(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture
) -> None:
    runs = tmp_path / "my runs"
    words = [f"grid={grid}", f"runs={runs}", "jobs=2"]
    assert launch.main(words) == 0
    out = capsys.readouterr().out
    assert "no Slurm on this machine: cluster=local" in out
    assert "4 runs in 4 jobs handed to pool of 2 at once" in out
    assert f"next: python -m analysis.report grid={grid} runs='{runs}'" in out
    assert set(states(grid, runs, capsys).values()) == {"done"}
    assert status.main([f"grid={grid}", f"runs={runs}"]) == 0
    out = capsys.readouterr().out
    assert "2 done" in out
    assert "4 runs: 4 done (100% of all steps)" in out
    assert status.main([f"grid={grid}", f"runs={runs}", "--state", "oomm"]) == 2
    assert "did you mean 'oom'" in capsys.readouterr().err
    assert launch.main(words) == 0
    assert "nothing is missing" in capsys.readouterr().out
    assert len(Study(runs / "tiny").launches()) == 1
    attempt = json.loads((runs / "tiny/catch/dreamerv3/seed-0/attempts/1/attempt.json").read_text())
    assert attempt["reason"] == "done"
    assert attempt["exit_code"] == 0
    out = (runs / "tiny/catch/dreamerv3/seed-0/attempts/1/stdout.log").read_text()
    assert '"JAX_PLATFORMS": "cpu"' in out
    assert f"code {runs}/tiny/.harness/code/" in out


def test_more_seeds_extend_a_study_and_another_configuration_is_refused(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture
) -> None:
    runs = tmp_path / "runs"
    words = [f"grid={grid}", f"runs={runs}", "methods=harmony", "jobs=2"]
    assert launch.main([*words, "seeds=1"]) == 0
    capsys.readouterr()
    (tree / "agent" / "note.txt").write_text("edited\n")
    assert launch.main([*words, "seeds=2"]) == 0
    assert "the code has changed since this study began" in capsys.readouterr().out
    assert states(grid, runs, capsys) == {"harmony_dreamerv3/0": "done", "harmony_dreamerv3/1": "done"}
    assert launch.main([f"grid={grid}", f"runs={runs}", "agent.actent=0.1"]) == 2
    error = capsys.readouterr().err
    assert "actent: 0.0003 → 0.1" in error
    assert "study=tiny-2" in error
    assert error.count("\n") == 1


def test_a_failure_is_isolated_named_once_and_left_by_resubmit(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture
) -> None:
    runs = tmp_path / "runs"
    for seed in (0, 1):
        behave(runs, f"dreamerv3/seed-{seed}", fail=f"seed {seed} is broken")
    assert launch.main([f"grid={grid}", f"runs={runs}", "jobs=2", "pack=4", "pack.mode=process"]) == 1
    out = capsys.readouterr().out
    assert out.count("Traceback") == 1
    assert "code_error" in out
    found = states(grid, runs, capsys)
    assert found["dreamerv3/0"] == found["dreamerv3/1"] == "code_error"
    assert found["harmony_dreamerv3/0"] == found["harmony_dreamerv3/1"] == "done"
    assert resubmit.main([f"grid={grid}", f"runs={runs}"]) == 1
    assert "nothing to resubmit" in capsys.readouterr().out
    (tree / "agent" / "note.txt").write_text("the cause is removed\n")
    for seed in (0, 1):
        (runs / f"tiny/catch/dreamerv3/seed-{seed}/behave.json").unlink()
    assert resubmit.main([f"grid={grid}", f"runs={runs}", "--new-code", "jobs=2"]) == 0
    wait_for(lambda: set(states(grid, runs, capsys).values()) == {"done"})
    assert len(list((runs / "tiny/.harness/code").iterdir())) == 2


def test_a_killed_run_continues_and_repeats_no_evaluation_even_where_the_study_moved(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture
) -> None:
    runs = tmp_path / "runs"
    behave(runs, "dreamerv3/seed-0", kill=12)
    assert launch.main([f"grid={grid}", f"runs={runs}", "jobs=2"]) == 1
    assert states(grid, runs, capsys)["dreamerv3/0"] == "killed"
    assert scores(runs, "dreamerv3/seed-0") == [5, 10]
    (runs / "tiny/catch/dreamerv3/seed-0/behave.json").unlink()
    runs = runs.rename(tmp_path / "moved")
    capsys.readouterr()
    assert resubmit.main([f"grid={grid}", f"runs={runs}", "--detach"]) == 0
    assert "catch/dreamerv3/seed-0: was killed; continues from step 10" in capsys.readouterr().out
    wait_for(lambda: set(states(grid, runs, capsys).values()) == {"done"})
    assert scores(runs, "dreamerv3/seed-0") == [5, 10, 15]
    assert len(list((runs / "tiny/catch/dreamerv3/seed-0/attempts").iterdir())) == 2
    assert len(list((runs / "tiny/catch/dreamerv3/seed-1/attempts").iterdir())) == 1


def test_a_stopped_pool_leaves_its_state_and_resubmit_continues(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture
) -> None:
    runs = tmp_path / "runs"
    for method in ("dreamerv3", "harmony_dreamerv3"):
        behave(runs, f"{method}/seed-0", sleep=0.3)
    assert launch.main([f"grid={grid}", f"runs={runs}", "jobs=2", "--detach"]) == 0
    wait_for(
        lambda: all((runs / f"tiny/catch/{m}/seed-0/status.json").exists() for m in ("dreamerv3", "harmony_dreamerv3"))
    )
    made = Study(runs / "tiny").launches()[0]
    state = json.loads((made.folder / "pool.json").read_text())
    os.kill(state["pid"], signal.SIGTERM)
    wait_for(lambda: json.loads((made.folder / "pool.json").read_text())["ended"])
    assert set(states(grid, runs, capsys).values()) == {"stopped"}
    for method in ("dreamerv3", "harmony_dreamerv3"):
        assert (runs / f"tiny/catch/{method}/seed-0/checkpoint/latest.json").exists()
        behave(runs, f"{method}/seed-0")
    assert resubmit.main([f"grid={grid}", f"runs={runs}"]) == 0
    wait_for(lambda: set(states(grid, runs, capsys).values()) == {"done"})


def test_a_pool_that_was_killed_is_noticed(tree: Path, grid: str, tmp_path: Path, capsys: Capture) -> None:
    runs = tmp_path / "runs"
    behave(runs, "dreamerv3/seed-0", sleep=0.2)
    assert launch.main([f"grid={grid}", f"runs={runs}", "jobs=1", "--detach"]) == 0
    wait_for((runs / "tiny/catch/dreamerv3/seed-0/status.json").exists)
    made = Study(runs / "tiny").launches()[0]
    os.kill(json.loads((made.folder / "pool.json").read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: states(grid, runs, capsys)["dreamerv3/1"] == "lost")
    assert states(grid, runs, capsys)["dreamerv3/0"] in ("running", "done")  # its own process goes on
    assert launch.main([f"grid={grid}", f"runs={runs}", "jobs=2"]) == 0
    wait_for(lambda: set(states(grid, runs, capsys).values()) == {"done"})
    assert len(list((runs / "tiny/catch/dreamerv3/seed-0/attempts").iterdir())) == 1


class Terminal(io.StringIO):
    """What somebody types at a terminal."""

    def isatty(self) -> bool:
        return True


def test_cancel_stops_running_and_queued_runs_alone_and_asks_on_a_terminal(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    behave(runs, "dreamerv3/seed-0", sleep=0.5)
    behave(runs, "harmony_dreamerv3/seed-0", sleep=0.2)
    assert launch.main([f"grid={grid}", f"runs={runs}", "jobs=2", "--detach"]) == 0
    wait_for((runs / "tiny/catch/dreamerv3/seed-0/status.json").exists)
    words = [f"grid={grid}", f"runs={runs}", "methods=dreamer"]
    capsys.readouterr()
    assert cancel.main([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[:2]] == ["catch/dreamerv3/seed-0", "catch/dreamerv3/seed-1"]
    assert shown[2] == "2 runs in 2 jobs; nothing was cancelled"
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert cancel.main(words) == 0
    assert "nothing was cancelled" in capsys.readouterr().out
    assert "cancelled" not in states(grid, runs, capsys).values()
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert cancel.main(words) == 0
    assert "2 of 2 runs cancelled" in capsys.readouterr().out
    wait_for(lambda: not {"running", "queued"} & set(states(grid, runs, capsys).values()))
    assert states(grid, runs, capsys) == {
        "dreamerv3/0": "cancelled",
        "dreamerv3/1": "cancelled",
        "harmony_dreamerv3/0": "done",
        "harmony_dreamerv3/1": "done",
    }
    assert resubmit.main([f"grid={grid}", f"runs={runs}", "--state", "cancelled", "--dry-run"]) == 0
    assert "2 runs in 2 jobs would be resubmitted" in capsys.readouterr().out


def test_part_of_a_vmapped_pack_cannot_be_cancelled(tree: Path, grid: str, tmp_path: Path, capsys: Capture) -> None:
    runs = tmp_path / "runs"
    behave(runs, "dreamerv3/seed-0", sleep=0.1)
    assert launch.main([f"grid={grid}", f"runs={runs}", "pack=4", "--detach"]) == 0
    assert cancel.main([f"grid={grid}", f"runs={runs}", "seeds=0"]) == 2
    assert "trains as one computation with" in capsys.readouterr().err
    assert cancel.main([f"grid={grid}", f"runs={runs}"]) == 0
    wait_for(lambda: not {"running", "queued"} & set(states(grid, runs, capsys).values()))


def test_logs_show_the_latest_attempt(tree: Path, grid: str, tmp_path: Path, capsys: Capture) -> None:
    runs = tmp_path / "runs"
    assert launch.main([f"grid={grid}", f"runs={runs}", "seeds=1", "methods=harmony"]) == 0
    capsys.readouterr()
    assert logs.main([f"grid={grid}", f"runs={runs}", "tasks=catch", "seeds=0"]) == 0
    out = capsys.readouterr().out
    assert "catch/harmony_dreamerv3/seed-0 stdout.log" in out
    assert "environment {" in out
    assert logs.main([f"grid={grid}", f"runs={runs}", "--attempt", "7"]) == 2
    assert "has no such attempt (1)" in capsys.readouterr().err


def test_two_launches_at_once_submit_every_run_once(tree: Path, grid: str, tmp_path: Path, capsys: Capture) -> None:
    runs = tmp_path / "runs"
    behave(runs, "dreamerv3/seed-0", sleep=0.2)
    program = "import sys; from harness import launch; sys.exit(launch.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, f"grid={grid}", f"runs={runs}", "cluster=local", "jobs=1", "--detach"]
    shells = [subprocess.Popen(command, cwd=tree, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outs = [shell.communicate(timeout=60)[0] for shell in shells]
    assert sorted("handed to pool" in out for out in outs) == [False, True]
    assert "not submitted again: " in "".join(outs)
    assert sum(len(made.packs) for made in Study(runs / "tiny").launches()) == 4
    assert cancel.main([f"grid={grid}", f"runs={runs}"]) == 0
    wait_for(lambda: not {"running", "queued"} & set(states(grid, runs, capsys).values()))


@pytest.mark.parametrize("other", ["tiny", "other"])
def test_pools_of_one_study_or_two_keep_to_the_limit_together(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture, other: str
) -> None:
    runs = tmp_path / "runs"
    behave(runs, "dreamerv3/seed-0", sleep=0.3)
    words = [f"grid={grid}", f"runs={runs}", "methods=dreamerv3", "jobs=1", "--detach"]
    assert launch.main([*words, "seeds=0"]) == 0
    wait_for((runs / "tiny/catch/dreamerv3/seed-0/status.json").exists)
    assert launch.main([*words, "seeds=1,", f"study={other}"]) == 0

    def told() -> bool:
        status.main([f"grid={grid}", f"runs={runs}", f"study={other}"])
        return "other pools have jobs running here: 1 (1 run)" in capsys.readouterr().out

    wait_for(told)
    ends = [runs / f"{name}/catch/dreamerv3/seed-{k}/attempts/1/attempt.json" for k, name in enumerate(("tiny", other))]
    wait_for(lambda: all(end.exists() and json.loads(end.read_text()).get("ended") for end in ends))
    first, second = (json.loads(end.read_text()) for end in ends)
    assert second["started"] >= first["ended"]


def test_runs_that_wait_for_another_study_are_cancelled_at_once(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture
) -> None:
    runs = tmp_path / "runs"
    behave(runs, "dreamerv3/seed-0", sleep=0.5)
    words = [f"grid={grid}", f"runs={runs}", "methods=dreamerv3", "jobs=1", "--detach"]
    assert launch.main([*words, "seeds=0"]) == 0
    wait_for((runs / "tiny/catch/dreamerv3/seed-0/status.json").exists)
    assert launch.main([*words, "seeds=0..1", "study=other"]) == 0
    assert cancel.main([f"grid={grid}", f"runs={runs}", "study=other"]) == 0
    (made,) = Study(runs / "other").launches()
    wait_for(lambda: json.loads((made.folder / "pool.json").read_text())["ended"])
    assert set(states(grid, runs, capsys).values()) == {"running"}
    capsys.readouterr()
    assert resubmit.main([f"grid={grid}", f"runs={runs}", "study=other", "--dry-run"]) == 0
    assert "2 runs in 2 jobs would be resubmitted" in capsys.readouterr().out
    assert cancel.main([f"grid={grid}", f"runs={runs}"]) == 0
    wait_for(lambda: not {"running", "queued"} & set(states(grid, runs, capsys).values()))


def test_a_pool_takes_the_gpu_and_the_cores_that_other_pools_leave(tree: Path, tmp_path: Path) -> None:
    slots = [Slot((0, 1), 0), Slot((2, 3), 1), Slot((4, 5), 0), Slot((6, 7), 1)]
    data = LaunchRecord(id="1", name="hb", created=0.0, code="/", profile=ProfileRecord(kind="local"), packs=[])
    busy = pool.Pool(Launch(tmp_path, data), slots)
    first, second, third = (
        PoolJob(state="running", gpu=gpu, cores=cores) for gpu, cores in ((0, [4, 5]), (0, [0, 1]), (1, [2, 3]))
    )
    assert busy._slot([first]) == 1
    assert busy._slot([second, third]) == 2
    assert busy._slot([]) == 0


def test_a_job_without_its_gpu_says_so_before_it_trains(tree: Path, grid: str, tmp_path: Path, capsys: Capture) -> None:
    words = [f"grid={grid}", f"runs={tmp_path / 'runs'}", "methods=harmony", "seeds=1"]
    assert launch.main([*words, "cluster=local", "cluster.gpus=1"]) == 1
    out = capsys.readouterr().out
    assert "device: job local-" in out
    assert "was planned with 1 GPU, but nvidia-smi shows none here" in out
    assert not (tmp_path / "runs/tiny/catch/harmony_dreamerv3/seed-0/attempts").exists()


def test_a_run_whose_folder_was_removed_is_launched_again(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture
) -> None:
    runs = tmp_path / "runs"
    words = [f"grid={grid}", f"runs={runs}", "jobs=2"]
    assert launch.main(words) == 0
    gone = runs / "tiny/catch/dreamerv3/seed-0"
    shutil.rmtree(gone)
    assert states(grid, runs, capsys)["dreamerv3/0"] == "planned"
    assert launch.main(words) == 0
    assert (gone / "result.json").is_file()
    assert set(states(grid, runs, capsys).values()) == {"done"}


def test_a_plan_keeps_the_settings_that_shaped_it_and_with_them_more_is_launched(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture
) -> None:
    runs = tmp_path / "runs"
    words = [f"grid={grid}", f"runs={runs}", "methods=dreamerv3", "jobs=2"]
    given = ["agent.actent=0.1", "agent.run.eval_episodes=2,3", "agent.env.atari.noops=0", "preset=catch,debug"]
    assert launch.main([*words, *given, "seeds=1"]) == 0
    settings = Study(runs / "tiny").plan().settings
    assert shlex.split(settings) == ["preset=catch,debug", "agent.actent=0.1", "agent.env.atari.noops=0"]
    assert launch.main([*words, "seeds=2", "agent.run.eval_episodes=2,3"]) == 2
    assert "actent: 0.1 → " in capsys.readouterr().err
    assert launch.main([*words, "seeds=2", "agent.run.eval_episodes=2,3", *shlex.split(settings)]) == 0
    assert len(Study(runs / "tiny").planned()) == 4
    assert Study(runs / "tiny").plan().settings == settings


def test_a_command_that_lost_its_study_starts_no_pool(
    tree: Path, grid: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = order.new_launch

    def lose(study: Study, data: dict[str, Any]) -> Launch:
        made = make(study, data)
        (study.hidden / "lease.json").write_text('{"owner": "another", "pid": 1, "host": "another"}')
        return made

    monkeypatch.setattr(order, "new_launch", lose)
    assert launch.main([f"grid={grid}", f"runs={tmp_path / 'runs'}"]) == 1
    assert "another one has taken over the study" in capsys.readouterr().err
    (made,) = Study(tmp_path / "runs" / "tiny").launches()
    assert not (made.folder / "pool.log").exists()
