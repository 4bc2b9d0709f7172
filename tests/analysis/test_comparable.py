"""Only like is put beside like: units, frames, settings of unfinished runs, added methods, variants of a method."""

import shlex
from pathlib import Path

import pytest

from agent.contract.run_folder import RunKey
from analysis import report
from analysis.data import load
from analysis.findings.fill import fill_command
from analysis.findings.tidy import pd
from analysis.output import training_plots
from tests.analysis.studies import rows, write_plan, write_run, write_study

pytestmark = pytest.mark.usefixtures("own_folder")
QUICK = ("grid=study", "reps=200", "--no-figures")
STUDY = Path("runs/study")


def success_study(*more: RunKey) -> None:
    keys = write_study(STUDY, tasks=("metaworld_hammer",), success=True)
    write_plan(STUDY, [*keys, *more])


def test_runs_without_evaluations_do_not_turn_success_rates_into_returns() -> None:
    absent, begun = (RunKey("metaworld_hammer", "harmony_dreamerv3", seed) for seed in (7, 8))
    success_study(absent, begun)
    write_run(STUDY, begun, evaluations=0, state="running", success=True)
    assert report.main([*QUICK]) == 0
    assert {row["unit"] for row in rows("per_task.csv")} == {"success"}
    assert {row["scale"] for row in rows("aggregates.csv")} == {"success"}


def test_an_evaluation_without_success_among_others_is_damage_not_a_return() -> None:
    success_study()
    with open(RunKey("metaworld_hammer", "dreamerv3", 0).folder(STUDY) / "scores.jsonl", "a") as file:
        file.write('{"env_steps":2000,"frames":8000,"mean":950.0,"episodes":[950.0]}\n')
    assert report.main([*QUICK]) == 0
    assert all(float(row["mean"]) <= 1 for row in rows("per_task.csv"))
    assert "scores.jsonl, evaluation 5" in Path("report/problems.csv").read_text()


def test_runs_of_one_task_in_two_units_are_not_averaged(capsys: pytest.CaptureFixture[str]) -> None:
    other = RunKey("metaworld_hammer", "dreamerv3", 5)
    success_study(other)
    write_run(STUDY, other)
    assert report.main([*QUICK]) == 1
    assert "runs of metaworld_hammer count success in part and returns in part" in capsys.readouterr().err
    assert rows("aggregates.csv") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"code": "tree-b"}, "runs come from 2 different code trees"),
        ({"overrides": {"actent": 1e-2}}, "runs of one method differ in actent"),
    ],
)
def test_unfinished_runs_of_another_kind_do_not_join_learning_curves_unsaid(
    options: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = RunKey("atari_pong", "dreamerv3", 5)
    keys = write_study(STUDY, tasks=("atari_pong", "atari_boxing"))
    write_plan(STUDY, [*keys, odd])
    write_run(STUDY, odd, state="failed", evaluations=2, **options)  # pyright: ignore[reportArgumentType]
    assert report.main([*QUICK]) == 1
    assert message in capsys.readouterr().err


def test_raw_returns_get_no_signed_rank_test() -> None:
    write_study(STUDY, tasks=("catch",))
    assert report.main([*QUICK]) == 0
    assert "signed_rank_p" not in {row["quantity"] for row in rows("comparisons.csv")}
    assert "No signed-rank test" in Path("report/report.md").read_text()


def test_gap_commands_name_variants_as_the_harness_selects_them() -> None:
    methods = [
        f"{m}@actent={v},run.train_ratio=64" for m in ("dreamerv3", "harmony_dreamerv3") for v in ("0.001", "0.003")
    ]
    keys = [RunKey("catch", method, seed) for method in methods for seed in (0, 1)]
    STUDY.mkdir(parents=True)
    write_plan(STUDY, keys)
    for key in keys[:-2]:
        write_run(STUDY, key)
    write_run(STUDY, keys[-2], state="failed")
    found = load.load_study(STUDY)
    launch, resubmit = fill_command(keys[-2:], found.runs, "my grids/a.yaml").split(" && ")
    axes = ["agent.actent=0.001,0.003", "agent.run.train_ratio=64"]
    start = ["grid=my grids/a.yaml", "methods=harmony_dreamerv3"]
    assert shlex.split(launch) == ["python", "-m", "harness.launch", *start, *axes, "seeds=1..1"]
    resubmit_words = ["python", "-m", "harness.resubmit", *start, "agent.actent=0.003", "seeds=0..0"]
    assert shlex.split(resubmit) == resubmit_words
    settings = "preset=catch,debug agent.run.steps=64"
    both = fill_command(keys[-2:], found.runs, "my grids/a.yaml", "runs=far", settings).split(" && ")
    more = ["runs=far", "preset=catch,debug", "agent.run.steps=64"]
    assert shlex.split(both[0])[3:] == [start[0], *more, start[1], *axes, "seeds=1..1"]
    assert shlex.split(both[1])[3:] == [start[0], "runs=far", *resubmit_words[4:]]


def test_the_mean_curve_is_of_the_runs_that_got_farthest_whatever_they_skipped() -> None:
    points = [("dreamerv3", seed, frames) for seed in range(3) for frames in (10, 20, 30) if (seed, frames) != (1, 20)]
    frame = pd.DataFrame(points, columns=["method", "seed", "frames"]).assign(score=1.0)
    kept = training_plots._as_far_as_most(frame)
    assert sorted(set(kept.seed)) == [0, 1, 2]
    assert sorted(set(kept.frames)) == [10, 30]


@pytest.mark.parametrize("options", [{"overrides": {"actent": 1e-2}}, {"evaluations": 3}, {"success": True}])
def test_runs_of_different_kinds_are_refused_a_mean(options: dict[str, object]) -> None:
    write_study(STUDY, tasks=("atari_pong", "atari_boxing"))
    for method in ("dreamerv3", "harmony_dreamerv3"):
        write_run(STUDY, RunKey("atari_pong", method, 2), **options)  # pyright: ignore[reportArgumentType]
    assert report.main([*QUICK]) == 1
    assert {(row["task"], row["mean"] != "") for row in rows("per_task.csv")} == {
        ("atari_pong", False),
        ("atari_boxing", True),
    }
    text = Path("report/tables/per_task.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| Pong")]
    assert row.replace("– (3)", "–") == "| Pong |" + " – |" * (row.count("|") - 2)
    assert "No mean (–) of runs that differ in unit, setting or budget." in text
    assert report.main([*QUICK, "--force"]) == 0
    assert all(row["mean"] for row in rows("per_task.csv"))


def test_unpaired_runs_keep_their_means() -> None:
    write_study(STUDY, tasks=("catch",))
    write_run(STUDY, RunKey("catch", "dreamerv3", 2))
    assert report.main([*QUICK]) == 1
    assert all(row["mean"] for row in rows("per_task.csv"))
