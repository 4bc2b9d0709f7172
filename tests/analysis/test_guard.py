"""What the report refuses to compare, or says beside the numbers: mixed, unpaired and suspicious runs."""

import re
from pathlib import Path

import pytest

from agent.config import NOT_IDENTITY
from agent.record import RunKey
from analysis import guard, report
from tests.analysis.studies import curve, rows, write_plan, write_run, write_study

pytestmark = pytest.mark.usefixtures("own_folder")
QUICK = ("reps=200", "--no-figures")


def test_unpaired_seeds_withhold_aggregates_and_name_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    keys = write_study(Path("runs/gap"), tasks=("atari_pong", "atari_boxing"), seeds=2)
    write_plan(
        Path("runs/gap"), [*keys, RunKey("atari_pong", "dreamerv3", 2), RunKey("atari_pong", "harmony_dreamerv3", 2)]
    )
    write_run(Path("runs/gap"), RunKey("atari_pong", "harmony_dreamerv3", 2))
    assert report.main(["grid=gap", *QUICK]) == 1
    assert rows("aggregates.csv") == [] and len(rows("per_task.csv")) == 4
    command = "python -m harness.launch grid=gap tasks=atari_pong methods=dreamerv3 seeds=2,"
    assert command in capsys.readouterr().err
    assert "No aggregates and comparisons" in Path("report/index.html").read_text()
    assert report.main(["grid=gap", *QUICK, "--force"]) == 0
    assert "Forced" in Path("report/index.html").read_text() and len(rows("aggregates.csv")) == 10
    for kind in ("md", "tex", "html"):
        for table in Path("report/tables").glob(f"*.{kind}"):
            assert "FORCED: methods were not run on the same seeds" in table.read_text(), table
    assert report.main(["grid=gap", *QUICK, "--paired"]) == 0
    assert {r["n"] for r in rows("per_task.csv")} == {"2"}
    text = "--paired leaves out 1 finished runs: atari_pong/harmony_dreamerv3/seed-2"
    assert text in Path("report/report.md").read_text()
    assert "atari_pong,harmony_dreamerv3,2,done" in Path("report/coverage.csv").read_text()


def test_pairing_does_not_wait_for_a_method_that_has_not_begun_and_refuses_when_nothing_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = write_study(Path("runs/begun"), tasks=("atari_pong",), seeds=2)
    write_plan(Path("runs/begun"), [*keys, *(RunKey("atari_pong", "dreamerv3@actent=1e-3", seed) for seed in (0, 1))])
    assert report.main(["grid=begun", *QUICK, "--paired"]) == 0
    assert {r["n"] for r in rows("per_task.csv")} == {"2"}
    assert "--paired does not wait for dreamerv3@actent=1e-3" in Path("report/report.md").read_text()
    write_run(Path("runs/odd"), RunKey("atari_pong", "dreamerv3", 0))
    write_run(Path("runs/odd"), RunKey("atari_pong", "harmony_dreamerv3", 1))
    assert report.main(["grid=odd", *QUICK, "--paired"]) == 2
    assert "--paired: no task and seed has been finished by all of dreamerv3, harmony_" in capsys.readouterr().err


def test_mixed_configurations_are_refused_with_the_differing_key(capsys: pytest.CaptureFixture[str]) -> None:
    study = Path("runs/mixed")
    write_study(study, tasks=("atari_pong",), seeds=2)
    for method in ("dreamerv3", "harmony_dreamerv3"):
        write_run(study, RunKey("atari_pong", method, 2), overrides={"actent": 1e-3})
    assert report.main(["grid=mixed", *QUICK]) == 1
    error = capsys.readouterr().err
    assert "refused: runs of one method differ in actent" in error and "actent: 0.001 in 2 runs" in error
    assert report.main(["grid=mixed", *QUICK, "seeds=0..1"]) == 0


def test_a_setting_that_goes_with_the_method_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    study = Path("runs/confounded")
    for seed in (0, 1):
        write_run(study, RunKey("atari_pong", "dreamerv3", seed))
        write_run(study, RunKey("atari_pong", "harmony_dreamerv3", seed), overrides={"actent": 1e-3})
    assert report.main(["grid=confounded", *QUICK]) == 0
    assert "note: methods differ in actent too: dreamerv3 has 0.02, harmony_" in capsys.readouterr().err


def test_settings_of_one_task_or_one_method_are_no_mixture() -> None:
    study = Path("runs/per_task")
    for task, steps in (("atari_pong", 1000), ("atari_boxing", 2000)):
        for method in ("dreamerv3", "harmony_dreamerv3"):
            for seed in (0, 1):
                write_run(study, RunKey(task, method, seed), overrides={"run.steps": steps, "jax.prealloc": seed == 0})
    assert report.main(["grid=per_task", *QUICK]) == 0


def test_mixed_code_trees_and_budgets_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    study = Path("runs/trees")
    for seed, (code, evaluations) in enumerate((("tree-a", 4), ("tree-b", 3))):
        for method in ("dreamerv3", "harmony_dreamerv3"):
            write_run(study, RunKey("catch", method, seed), code=code, evaluations=evaluations)
    assert report.main(["grid=trees", *QUICK]) == 1
    error = capsys.readouterr().err
    assert (
        "runs come from 2 different code trees" in error and "finished runs of catch end at different frames" in error
    )


def test_code_that_changed_between_the_attempts_of_a_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    study = Path("runs/moved")
    write_study(study, tasks=("catch",), seeds=1)
    write_run(study, RunKey("catch", "dreamerv3", 1))
    write_run(study, RunKey("catch", "harmony_dreamerv3", 1), attempt_code="tree-b")
    assert report.main(["grid=moved", *QUICK]) == 1
    error = capsys.readouterr().err
    assert "refused: the code changed between attempts: 1 run was continued by another code tree than begun" in error
    assert "catch/harmony_dreamerv3/seed-1: tree-a → tree-b" in error
    assert report.main(["grid=moved", *QUICK, "--force"]) == 0
    assert "forced: the code changed" in capsys.readouterr().err
    assert "the code changed between attempts" in Path("report/index.html").read_text()


def test_twin_seeds_of_a_study_are_flagged_and_constant_ones_are_not() -> None:
    def score(task: str, method: str, seed: int, number: int) -> float:
        return 7.0 if task == "atari_pong" else curve(task, method, 0 if number < 19 else seed, number)

    write_study(Path("runs/twins"), tasks=("atari_pong", "catch"), seeds=2, evaluations=20, planned=20, score=score)
    assert report.main(["grid=twins", *QUICK]) == 0
    text = Path("report/report.md").read_text()
    assert len(re.findall(r"\*\*Suspicious\*\*", text)) == 2
    assert "dreamerv3, catch: seeds 0 and 1 share 18 of 20 evaluations; they differ at 30400, 32000 frames" in text


def test_the_guards_ignored_settings_are_the_agents() -> None:
    assert set(NOT_IDENTITY) == guard.NOT_IDENTITY
