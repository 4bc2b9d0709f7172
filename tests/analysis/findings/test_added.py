"""Added and published scores beside a study's: judged like its own runs, and never taken for one another's."""

from pathlib import Path

import pytest

from agent.contract.run_folder import RunKey
from analysis import report
from tests.analysis.studies import TIDY, rows, write_plan, write_run, write_study

pytestmark = pytest.mark.usefixtures("own_folder")
QUICK = ("grid=study", "reps=200", "--no-figures")
STUDY = Path("runs/study")


def add(*points: tuple[str, str, int, int, float], name: str = "mine.csv") -> str:
    """Write scores of one's own and return the setting that adds them."""
    Path(name).write_text(TIDY + "".join(",".join(map(str, point)) + "\n" for point in points))
    return f"extra={name}"


def test_an_added_method_takes_the_unit_of_the_study(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(STUDY, tasks=("metaworld_hammer",), success=True)
    assert report.main([*QUICK, add(("mine", "metaworld_hammer", 0, 6400, 0.25))]) == 0
    assert {row["unit"] for row in rows("per_task.csv")} == {"success"}
    assert report.main([*QUICK, add(("mine", "metaworld_hammer", 0, 6400, 250))]) == 2
    assert "mine, metaworld_hammer, seed 0 has scores outside 0 to 1" in capsys.readouterr().err


def test_an_added_method_whose_runs_end_at_different_frames_is_not_averaged(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(STUDY, tasks=("atari_pong", "atari_boxing"))
    points = [("mine", "atari_pong", seed, 6400 - 320 * seed, 1.0) for seed in range(2)]
    extra = add(*points, *(("mine", "atari_boxing", seed, 6400, 1.0) for seed in range(2)))
    assert report.main([*QUICK, extra]) == 1
    error = capsys.readouterr().err
    assert "refused: runs of mine end at different frames\n  atari_pong: seed 0 at 6400, seed 1 at 6080" in error
    means = {(row["method"], row["task"]): row["mean"] for row in rows("per_task.csv")}
    assert means["mine", "atari_pong"] == "" and means["mine", "atari_boxing"] and means["dreamerv3", "atari_pong"]
    assert rows("aggregates.csv") == []
    assert report.main([*QUICK, extra, "--force"]) == 0
    frames = {(row["frames_from"], row["frames"]) for row in rows("per_task.csv") if row["method"] == "mine"}
    assert frames == {("6080", "6400"), ("6400", "6400")}
    assert {(row["frames_from"], row["frames"]) for row in rows("aggregates.csv")} == {("6080", "6400")}
    assert {(row["frames_from"], row["frames"]) for row in rows("comparisons.csv")} == {("6080", "6400")}


@pytest.mark.parametrize("words", [["methods=harmony_dreamerv3,iris", "tasks=pong"], ["extra=mine.csv"]])
def test_added_and_published_runs_must_end_where_the_studys_do(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(STUDY, tasks=("atari_pong",))
    add(*(("mine", "atari_pong", seed, 12800, 1.0) for seed in range(2)))
    assert report.main([*QUICK, *words]) == 1
    name, frames = ("iris", 400000) if "iris" in words[0] else ("mine", 12800)
    error = capsys.readouterr().err
    assert "end at different frames of the same tasks" in error
    assert "harmony_dreamerv3 at 6400" in error and f"{name} at {frames}" in error
    assert all(row["mean"] for row in rows("per_task.csv"))


def test_added_runs_are_judged_without_a_study_too(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reps=200", "--no-figures", "tasks=pong"]
    assert report.main([*words, add(("mine", "atari_pong", 0, 200_000, 1.0))]) == 1
    assert "atari_pong: dreamerv3_published at 400000, harmony_dreamerv3_published at 400000, mine at 200000" in (
        capsys.readouterr().err
    )
    assert report.main([*words, add(("mine", "atari_pong", 0, 399_000, 1.0))]) == 0


def test_an_added_method_with_other_seeds_or_tasks_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(STUDY, tasks=("atari_pong",))
    points = [(task, seed) for task, seed in (("atari_pong", 0), ("atari_pong", 7), ("catch", 0))]
    assert report.main([*QUICK, add(*(("mine", task, seed, 6400, 1.0) for task, seed in points))]) == 0
    words = "note: mine is not of the study and has other runs than it: without atari_pong seed 1, with "
    assert words + "atari_pong seed 7, catch seed 0 besides" in capsys.readouterr().err


@pytest.mark.parametrize("paired", [[], ["--paired"]])
def test_planned_runs_without_a_folder_are_of_the_study(paired: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    STUDY.mkdir(parents=True)
    keys = [RunKey("atari_pong", m, seed) for seed in range(3) for m in ("dreamerv3", "harmony_dreamerv3")]
    write_plan(STUDY, keys)
    for key in keys[:3]:
        write_run(STUDY, key)
    report.main([*QUICK, *paired])
    assert "is not of the study" not in capsys.readouterr().err
    assert len(rows("coverage.csv")) == 6
