"""The command line of the report: published scores, studies, and wrong input."""

import json
from pathlib import Path

import pytest

from agent.contract.run_folder import RunKey
from analysis import options, report
from tests.analysis.studies import TIDY, rows, write_plan, write_run, write_study

pytestmark = pytest.mark.usefixtures("own_folder")
QUICK = ("reps=200", "--no-figures")


def aggregate(method: str, metric: str) -> float:
    (row,) = [r for r in rows("aggregates.csv") if (r["method"], r["metric"]) == (method, metric)]
    return float(row["estimate"])


def test_without_runs_it_reproduces_the_published_aggregates() -> None:
    assert report.main([*QUICK]) == 0
    harmony, base = "harmony_dreamerv3_published", "dreamerv3_published"
    found = {m: [round(aggregate(m, name), 4) for name in ("mean", "median", "iqm")] for m in (harmony, base)}
    assert found == {harmony: [1.3640, 0.6705, 0.6068], base: [1.0736, 0.4158, 0.4720]}
    assert "seeds 0 and 1 share 19 of 20 evaluations" in Path("report/report.md").read_text()
    assert len(rows("per_task.csv")) == 52


def test_integer_references_give_the_papers_percentages_and_say_so() -> None:
    assert report.main([*QUICK, "--reference", "integer"]) == 0
    assert round(100 * aggregate("harmony_dreamerv3_published", "mean"), 1) == 136.5
    assert round(100 * aggregate("harmony_dreamerv3_published", "median"), 1) == 67.1
    assert "References rounded to integers" in Path("report/report.md").read_text()
    assert report.main([*QUICK, "--reference=exact"]) == 0
    assert round(100 * aggregate("harmony_dreamerv3_published", "mean"), 1) == 136.4


def test_the_report_is_the_same_bytes_each_time() -> None:
    words = ["tasks=pong,boxing", "reps=200"]
    assert report.main([*words, "out=a"]) == report.main([*words, "out=b"]) == 0
    files = sorted(p.relative_to("a") for p in Path("a").rglob("*") if p.is_file())
    assert files == sorted(p.relative_to("b") for p in Path("b").rglob("*") if p.is_file())
    assert [f for f in files if (Path("a") / f).read_bytes() != (Path("b") / f).read_bytes()] == []
    assert {f.suffix for f in files if f.parts[0] == "figures"} == {".png", ".pdf", ".svg"}


def test_literature_columns_come_on_request() -> None:
    assert report.main([*QUICK, "--literature"]) == 0
    header = Path("report/tables/per_task.csv").read_text().splitlines()[0]
    for name in ("SimPLe", "DIAMOND", "REM", "DreamerV3 (2023)", "DreamerV3 (2024)"):
        assert name in header
    table = Path("report/tables/aggregates_human_normalised.md").read_text()
    assert "| EfficientZero | **1.943** | **1.090** | – | – | **14** | – | 26 |" in table
    assert (
        sum(line.count("**") for line in table.splitlines() if line.startswith("|")) == 2 * 5
    )  # one best of each column, wherever it was published
    assert "their runs share no protocol with the others" in table


def test_a_published_method_can_join_and_its_training_episodes_are_scored_by_their_window() -> None:
    assert report.main([*QUICK, "methods=dreamerv3_2024,ppo", "tasks=frostbite,up_n_down"]) == 0
    found = {(r["method"], r["task"]): (int(r["n"]), round(float(r["mean"]))) for r in rows("per_task.csv")}
    assert found["dreamerv3_2024", "atari_frostbite"] == (5, 3377)
    assert found["dreamerv3_2024", "atari_up_n_down"] == (1, 46910)


def test_a_demo_like_study_is_reported_with_raw_and_normalised_scores(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(Path("runs/demo"))
    assert report.main(["grid=demo", *QUICK]) == 0
    assert "aggregate human-normalised score over 2 tasks at 6.4k frames" in capsys.readouterr().out.lower()
    table = {(r["method"], r["task"]): r for r in rows("per_task.csv")}
    assert table["dreamerv3", "catch"]["normalised"] == "" and table["dreamerv3", "atari_pong"]["normalised"] != ""
    assert {r["n"] for r in table.values()} == {"2"}
    text = Path("report/report.md").read_text()
    assert "not comparable with Atari 100k figures" in text
    assert "estimated 1.50 when planned (2 runs not measured); spent 0.12; wasted 0" in text
    assert Path("report/index.html").read_text().count('class="cell done"') >= 12


def test_a_study_of_success_rates_is_averaged_without_references() -> None:
    write_study(Path("runs/mw"), tasks=("metaworld_hammer", "metaworld_lever_pull"), success=True)
    assert report.main(["grid=mw", *QUICK]) == 0
    assert {(r["scale"], r["metric"]) for r in rows("aggregates.csv")} == {
        ("success", m) for m in ("mean", "median", "iqm")
    }
    assert "80.0% (2)" in Path("report/tables/per_task.md").read_text().replace(" ± 0.00", "")


def test_one_seed_has_no_interval() -> None:
    write_study(Path("runs/one"), seeds=1)
    assert report.main(["grid=one", *QUICK]) == 0
    assert {(r["low"], r["high"]) for r in rows("aggregates.csv")} == {("", "")}
    assert "No interval where one seed" in Path("report/report.md").read_text()


def test_failed_runs_are_named_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    study = Path("runs/part")
    write_study(study, tasks=("catch",), seeds=2)
    for method in ("dreamerv3", "harmony_dreamerv3"):
        write_run(study, RunKey("catch", method, 2), state="failed", evaluations=2, reason="gpu out of memory")
    assert report.main(["grid=part", *QUICK]) == 0
    error = capsys.readouterr().err
    assert "2 of 6 runs are not finished (2 failed); leaving out failed runs can bias what remains" in error
    assert "2 × gpu out of memory" in error and "python -m harness.resubmit grid=part seeds=2..2" in error
    assert {r["n"] for r in rows("per_task.csv")} == {"2"}
    assert "wasted 0.02 gpu out of memory" in Path("report/report.md").read_text()


def test_a_study_without_a_finished_run_is_still_a_report() -> None:
    write_plan(
        Path("runs/new").absolute() if Path("runs/new").mkdir(parents=True) is None else Path(),
        [RunKey("catch", "dreamerv3", 0)],
    )
    assert report.main(["grid=new", *QUICK]) == 0
    assert rows("per_task.csv") == []
    write_run(Path("runs/new"), RunKey("catch", "dreamerv3", 0), state="running", evaluations=1)
    assert report.main(["grid=new", "reps=200"]) == 0
    assert Path("report/figures/tasks.png").exists()


def test_a_tidy_csv_joins_a_study() -> None:
    write_study(Path("runs/demo"), tasks=("atari_pong",))
    Path("mine.csv").write_text(
        "method,task,seed,frames,score,note\nmine,atari_pong,0,6400,3\nmine,atari_pong,1,6400,5,x\n"
    )
    assert report.main(["grid=demo", "extra=mine.csv", *QUICK]) == 0
    (row,) = [r for r in rows("per_task.csv") if r["method"] == "mine"]
    assert (row["n"], row["mean"]) == ("2", "4.0")
    assert any("mine" in (r["x"], r["y"]) for r in rows("comparisons.csv"))


def test_what_an_added_method_lacks_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(Path("runs/demo"))
    Path("mine.csv").write_text("method,task,seed,frames,score\nmine,atari_pong,0,6400,3\nmine,atari_pong,1,6400,5\n")
    assert report.main(["grid=demo", "extra=mine.csv", *QUICK]) == 0
    error = capsys.readouterr().err
    assert "mine has no finished run of atari_boxing: left out of everything across tasks (human_normalised)" in error
    assert {r["n_tasks"] for r in rows("aggregates.csv")} == {"1"}


def test_json_on_stdout_is_the_whole_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([*QUICK, "--json", "tasks=pong"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["tasks"] == ["atari_pong"] and data["aggregates"][0]["metric"] == "mean"


def test_of_an_earlier_report_nothing_is_left_where_it_names_its_files() -> None:
    assert report.main([*QUICK, "tasks=pong,boxing", "--literature"]) == 0
    Path("report/stray.txt").write_text("of a report that did not name its files yet")
    marker = Path("report/report.json")
    old = json.loads(marker.read_text())
    marker.write_text(json.dumps({name: old[name] for name in ("title", "provenance")}))
    assert report.main([*QUICK, "tasks=pong"]) == 2  # it cannot tell its files from the reader's
    assert Path("report/stray.txt").exists()
    marker.write_text(json.dumps(old))
    assert report.main(["reps=200", "tasks=pong"]) == 0
    assert report.main([*QUICK, "tasks=pong"]) == 0
    assert list(Path("report/figures").iterdir()) == []
    assert [p.name for p in Path().iterdir() if p.name.startswith(".report")] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grid=demmo"], "unknown study 'demmo'; did you mean 'demo'"),
        (["grid=demo"], "nothing has been run yet; start it with: python -m harness.launch grid=demo"),
        (["grid=small", "tasks=pnog"], "unknown task 'pnog'; did you mean 'atari_pong'"),
        (["grid=small", "tasks=atari"], "could mean atari_boxing, atari_pong"),
        (["grid=small", "tasks=pong,pong"], "'pong' is given twice"),
        (["grid=small", "methods=harmoni"], "did you mean 'harmony_dreamerv3'"),
        (["methods=curl"], "unknown method 'curl'"),
        (["grid=small", "seeds=-1"], "'-1' is not a seed"),
        (["grid=small", "seeds=3..1"], "did you mean '1..3'"),
        (["grid=small", "seeds=7,8"], "no run has seeds=7,8"),
        (["extra=far.csv"], "far.csv, line 2: frames is '99999999999999999999', a whole number from 0 on"),
        (["extra=large.csv"], "large.csv, line 2: score is '1e308', a finite number is expected"),
        (["out=thesis"], "holds files that are not a report's"),
        (["gird=small"], "unknown setting 'gird'; did you mean 'grid'"),
        (["grid=small", "grid=demo"], "grid is given twice"),
        (["small"], "'small' is not understood; settings are key=value"),
        (["--forse"], "did you mean '--force'"),
        (["--grid=small"], "settings are written key=value: grid=small"),
        (["--reference", "rounded"], "unknown reference 'rounded'"),
        (["--reference"], "unknown reference '--no-figures'"),
        (["reps=5"], "reps=5: a whole number from 100 on"),
        (["reps=1e5"], "reps=1e5: a whole number"),
        (["grid=."], "grid=.: names no grid"),
        (["grid=.."], "grid=..: names no grid"),
        (["out="], "out= needs a value"),
        (["out=nowhere/report"], "does not exist"),
        (["out=."], "out=.: is the folder this command runs in"),
        (["out=.."], "out=..: is the folder this command runs in, or around it"),
        (["out=runs"], "holds files that are not a report's"),
        (["out=good.csv"], "is not a folder"),
        (["extra=absent.csv"], "absent.csv: cannot be read"),
        (["extra=header.csv"], "header.csv: no column 'frames'"),
        (["extra=score.csv"], "score.csv, line 3: score is 'nan', a finite number is expected"),
        (["extra=seed.csv"], "seed.csv, line 2: seed is '-1', a whole number from 0 on"),
        (["extra=short.csv"], "short.csv, line 2: fewer columns"),
        (["extra=comma.csv"], "comma.csv, line 2: more columns than the header's 5; a decimal point is expected"),
        (["extra=empty.csv"], "empty.csv: no rows below the header"),
        (["grid=small", "extra=label.csv"], "extra: DreamerV3 is the name of another method"),
        (["extra=known.csv"], "extra: iris is the name of another method"),
        (["extra=twice.csv"], "twice.csv, line 3: a second score of m, t, seed 0 at 4 frames"),
        (["extra=binary.csv"], "binary.csv: not a CSV file"),
        (["extra=good.csv,good.csv"], "'good.csv' is given twice"),
        (["grid=small", "extra=taken.csv"], "extra: dreamerv3 is there already; give the added method another name"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line_and_nothing_is_written(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for task in ("atari_pong", "atari_boxing"):
        for method in ("dreamerv3", "harmony_dreamerv3"):
            write_run(Path("runs/small"), RunKey(task, method, 0))
    Path("good.csv").write_text(TIDY + "m,t,0,4,1\n")
    Path("header.csv").write_text("method,task,seed,score\nm,t,0,1\n")
    Path("score.csv").write_text(TIDY + "m,t,0,4,1\nm,t,0,8,nan\n")
    Path("seed.csv").write_text(TIDY + "m,t,-1,4,1\n")
    Path("short.csv").write_text(TIDY + "m,t,0\n")
    Path("comma.csv").write_text(TIDY + "m,t,0,400,1,5\n")
    Path("empty.csv").write_text(TIDY)
    Path("label.csv").write_text(TIDY + "DreamerV3,t,0,400,1\n")
    Path("known.csv").write_text(TIDY + "iris,t,0,400,1\n")
    Path("twice.csv").write_text(TIDY + "m,t,0,4,1\nm,t,0,4,2\n")
    Path("taken.csv").write_text(TIDY + "dreamerv3,atari_pong,0,4,1\n")
    Path("binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    Path("far.csv").write_text(TIDY + "m,t,0,99999999999999999999,1\n")
    Path("large.csv").write_text(TIDY + "m,t,0,4,1e308\n")
    Path("thesis").mkdir()
    Path("thesis/report.json").write_text("{}")
    before = sorted(Path().rglob("*"))
    assert report.main([*words, "--no-figures"]) == 2
    output = capsys.readouterr()
    assert message in output.err and output.err.count("\n") == 1 and output.out == ""
    assert [p for p in sorted(Path().rglob("*")) if "cache" not in p.parts] == before


def test_help_names_every_setting_and_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"{key}=" in text for key in options.KEYS) and all(f"--{flag}" in text for flag in options.FLAGS)


def test_files_of_your_own_stay_in_the_folder_and_are_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(Path("runs/demo"))
    assert report.main(["grid=demo", *QUICK, "--literature"]) == 0
    first = {str(p) for p in Path("report").rglob("*") if p.is_file()}
    Path("report/notes.md").write_text("mine")
    Path("report/tables/drafts").mkdir()
    Path("report/tables/drafts/a.tex").write_text("mine too")
    Path("report/link").symlink_to("nowhere")
    assert report.main(["grid=demo", *QUICK]) == 0
    assert Path("report/notes.md").read_text() == "mine" and Path("report/link").is_symlink()
    assert Path("report/tables/drafts/a.tex").read_text() == "mine too"
    assert sorted(p.name for p in Path().glob(".report*")) == []
    marker = json.loads(Path("report/report.json").read_text())
    assert {f"report/{name}" for name in marker["files"]} == first
    Path("report/figures").mkdir(exist_ok=True)
    mine = Path("report/figures/profile_human_normalised.png")
    mine.write_text("my own picture")
    before = Path("report/index.html").read_bytes()
    assert report.main(["grid=demo", "reps=200"]) == 2
    assert "figures/profile_human_normalised.png is not the earlier report's; move it" in capsys.readouterr().err
    assert mine.read_text() == "my own picture" and Path("report/index.html").read_bytes() == before


def test_a_report_that_does_not_name_its_files_loses_none(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(Path("runs/demo"))
    Path("report").mkdir()
    Path("report/report.json").write_text('{"title": "mine", "provenance": {}}')
    Path("report/thesis.tex").write_text("mine")
    assert report.main(["grid=demo", *QUICK]) == 0
    assert Path("report/thesis.tex").read_text() == "mine"


def test_json_holds_the_comparisons_that_the_csv_holds(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(Path("runs/demo"))
    assert report.main(["grid=demo", *QUICK, "--json"]) == 0
    given, file = json.loads(capsys.readouterr().out)["comparisons"], rows("comparisons.csv")
    assert given and len(given) == len(file)
    for one, other in zip(given, file, strict=True):
        assert {name: "" if value is None else str(value) for name, value in one.items()} == other


def test_a_score_over_more_evaluations_than_there_are_is_said() -> None:
    write_study(Path("runs/few"), tasks=("atari_pong",))
    assert report.main(["grid=few", *QUICK, "last=5"]) == 0
    text = "last=5: 4 of 4 finished runs have only 4 evaluations; all of them count"
    assert text in Path("report/report.md").read_text()
    assert report.main(["grid=few", *QUICK, "last=4"]) == 0
    assert "have only" not in Path("report/report.md").read_text()


def test_a_run_folder_that_lies_elsewhere_is_read_through_its_link() -> None:
    keys = write_study(Path("runs/far"), tasks=("atari_pong",))
    folder = keys[0].folder(Path("runs/far"))
    folder.rename("moved")
    folder.symlink_to(Path("moved").absolute())
    assert report.main(["grid=far", *QUICK]) == 0
    assert {r["state"] for r in rows("coverage.csv")} == {"done"}
    assert report.main(["grid=far", *QUICK, "--json"]) == 0
