"""Wrong input: one line naming the value, exit code 2, nothing written."""

from pathlib import Path

import pytest

from harness import cancel, launch, logs, resubmit, status
from harness.study import profiles


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "have_slurm", lambda: False)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["grid=dmo"], ["dmo", "demo"]),
        (["grid=demo", "tasks=pnog"], ["pnog", "pong"]),
        (["grid=demo", "preset=catsh"], ["catsh", "catch"]),
        (["grid=demo", "methods=dreamer3"], ["dreamer3", "dreamerv3"]),
        (["grid=demo", "agent.rssm.detre=3"], ["agent.rssm.detre", "rssm.deter"]),
        (["grid=demo", "agent.rssm.deter=large"], ["agent.rssm.deter", "large", "whole number"]),
        (["grid=demo", "agent.harmony=maybe"], ["agent.harmony", "methods="]),
        (["grid=demo", "seeds=-1"], ["seeds=-1", "0..4"]),
        (["grid=demo", "seeds=3..1"], ["3..1", "1..3"]),
        (["grid=demo", "tasks=pong,pong"], ["pong", "twice"]),
        (["grid=demo", "seeds=1,1"], ["'1'", "twice"]),
        (["grid=demo", "cluster=locl"], ["locl", "local"]),
        (["grid=demo", "jobs=0"], ["jobs=0"]),
        (["grid=demo", "study=../x"], ["../x"]),
        (["grid=demo", "study=a b"], ["a b"]),
        (["grid=demo", "study=$(touch x)"], ["$(touch x)"]),
        (["grid=demo", "--dryrun"], ["--dryrun", "--dry-run"]),
        ([], ["grid=demo"]),
    ],
)
def test_launch_refuses_and_writes_nothing(
    words: list[str],
    names: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert launch.main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert all(name in captured.err for name in names)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["50%", "r%A", "a\\b", "a\nb"])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_runs_folder_whose_name_slurm_would_change_is_refused(
    name: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profiles, "have_slurm", lambda: True)
    runs = tmp_path / name
    assert launch.main(["grid=demo", "cluster=test", f"runs={runs}", *more]) == 2
    assert "in the path of a log; name another folder with runs=DIR" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_runs_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").write_text("")
    assert launch.main(["grid=demo", f"runs={tmp_path / 'runs'}"]) == 2
    assert "a folder is expected" in capsys.readouterr().err


def test_an_unwritable_runs_folder_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.main(["grid=demo", "runs=/proc/1/runs"]) == 2
    assert "cannot be written; name another folder with runs=DIR" in capsys.readouterr().err


@pytest.mark.parametrize("command", [status, resubmit, cancel, logs])
def test_a_study_that_was_not_launched_gets_the_command_that_does(
    command: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["grid=demo", f"runs={tmp_path}"]) == 2  # pyright: ignore[reportAttributeAccessIssue]
    assert "python -m harness.launch grid=demo" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing_and_ends_with_the_command_that_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch.main(["grid=atari100k", "seeds=5", f"runs={tmp_path / 'runs'}", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "runs: 260 (26 tasks, methods dreamerv3, harmony_dreamerv3, seeds 0..4), 105,040,000 frames" in out
    assert "jobs: 260 on cluster=local" in out
    assert f"python -m harness.launch grid=atari100k seeds=5 runs={tmp_path / 'runs'}" in out
    assert list(tmp_path.iterdir()) == []
