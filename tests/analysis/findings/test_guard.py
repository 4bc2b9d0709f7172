"""What the report refuses to compare, or says beside the numbers: mixed, unpaired and suspicious runs."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from agent.contract.run_folder import RunKey
from analysis import report
from analysis.data.scores import RunScores
from analysis.findings import guard
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
    command = "python -m harness.launch grid=gap tasks=atari_pong methods=dreamerv3 seeds=2..2"
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
    assert [Path(row["path"]).parent.name for row in rows("problems.csv")] == ["seed-1", "seed-1"]
    assert "seeds 0 and 1 share 18 of 20 evaluations" in rows("problems.csv")[0]["reason"]
    assert "both runs count" in Path("report/index.html").read_text().partition('id="data"')[2]


def runs_of(*curves: Sequence[float], unit: str = "return") -> list[RunScores]:
    """Runs of one task with these curves, one seed each."""
    frames = np.arange(1, len(curves[0]) + 1) * 400
    return [
        RunScores("m", "t", seed, frames, np.array(c, np.float64), unit=unit, folder=Path(f"t/m/seed-{seed}"))
        for seed, c in enumerate(curves)
    ]


RISE, OTHER = [3.1, 4.7, 5.2, 6.6], [2.9, 4.8, 6.1, 7.0]


@pytest.mark.parametrize(
    ("first", "second", "unit"),
    [
        ([-21.0] * 8 + RISE + [21.0] * 8, [-21.0] * 8 + OTHER + [21.0] * 8, "return"),
        ([-21.0] * 18 + RISE[:2], [-21.0] * 18 + RISE[:2], "return"),
        ([0.0, 100.0, *[100.0] * 17, 1500.0], [0.0, *[100.0] * 18, 1400.0], "return"),  # a plateau that is no bound
        ([0.0, 0.3, 0.5, 1.0], [0.0, 0.3, 0.5, 1.0], "success"),
        ([0.0, 0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0, 1.0], [0.0, 0.0, 0.2, 0.3, 0.6, 0.7, 0.8, 1.0, 1.0], "return"),
        ([5.0] * 20, [5.0] * 20, "return"),
        ([1.0], [1.0], "return"),
    ],
)
def test_a_floor_a_ceiling_and_a_plateau_are_no_evidence_of_twins(
    first: list[float], second: list[float], unit: str
) -> None:
    assert guard.duplicates(runs_of(first, second, unit=unit)) == []


@pytest.mark.parametrize(
    "shared",
    [
        [*RISE, *OTHER],
        [0.0, *RISE, *[21.0] * 10],
        [0.0, 0.1, 0.3, 0.2, 0.2, 0.4, 0.3, 0.5, 0.4, 0.6, 0.5, 0.7, 0.6, 0.8, 0.7, 0.9],
    ],
)
@pytest.mark.parametrize("copies", [2, 5])
def test_copies_of_a_curve_are_twins_however_many_there_are(shared: list[float], copies: int) -> None:
    found = guard.duplicates(runs_of(*[shared] * copies))
    assert len(found) == copies * (copies - 1) // 2
    assert {(d.equal, d.points, d.differs_at) for d in found} == {(len(shared), len(shared), ())}


def test_twins_are_one_note_per_task_and_method_and_one_problem_per_pair() -> None:
    notes, problems = guard.suspicious(runs_of(*[[*RISE, *OTHER]] * 3))
    assert [note.text for note in notes] == ["m, t: seeds 0, 1, 2 share most of their evaluations"]
    assert notes[0].details[1] == "seeds 0 and 2 share 8 of 8 evaluations"
    assert [problem.path for problem in problems] == [f"t/m/seed-{seed}/scores.jsonl" for seed in (1, 2, 2)]
    assert problems[0].reason == "seeds 0 and 1 share 8 of 8 evaluations; both runs count"


def test_other_agents_settings_are_not_compared_but_a_method_of_two_agents_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = Path("runs/two")
    keys = write_study(study, tasks=("atari_pong",), seeds=2)
    rival = [RunKey("atari_pong", "rival", seed) for seed in (0, 1)]
    configs = [write_run(study, key, overrides={"method": "dreamerv3"}).config for key in rival]
    for key, config in zip(rival, configs, strict=True):
        text = f"task: atari_pong\nmethod: rival\nseed: {key.seed}\ntrain: [python, rival.py]\nlr: 0.1\n"
        config.write_text(text)
    write_plan(study, [*keys, *rival])
    assert report.main(["study=two", *QUICK]) == 0
    said = capsys.readouterr().err
    assert "another agent trained rival (python rival.py): its settings are not compared" in said
    assert "methods differ in" not in said
    configs[1].write_text(configs[1].read_text().replace("rival.py", "other.py"))
    assert report.main(["study=two", *QUICK]) == 1
    assert "runs of rival were trained by different agents" in capsys.readouterr().err
