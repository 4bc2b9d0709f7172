"""A statistic or a benchmark that is added as analysis/README.md says: in everything it belongs to, by that alone."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis import report, stats
from analysis.stats.metrics import METRICS, Metric, Sample
from tests.analysis.studies import rows, write_study

pytestmark = pytest.mark.usefixtures("own_folder")
GAMES = ("atari_pong", "atari_boxing", "atari_alien", "atari_hero", "atari_krull")


def worst(sample: Sample) -> np.ndarray:
    return sample.task_means.min(axis=1)


def test_a_statistic_of_one_row_is_in_every_table_card_file_and_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(METRICS, "worst", Metric("worst", "Worst task", worst))
    write_study(Path("runs/demo"), tasks=GAMES, seeds=3)
    assert report.main(["grid=demo", "reps=200", "--json"]) == 0
    assert {row["metric"] for row in rows("aggregates.csv")} == set(METRICS)
    assert "difference_worst" in {row["quantity"] for row in rows("comparisons.csv")}
    data = json.loads(capsys.readouterr().out)
    assert {"worst"} <= {entry["metric"] for entry in data["aggregates"]}
    assert "difference_worst" in {entry["quantity"] for entry in data["comparisons"]}
    for name in ("aggregates", "comparisons", "leave_one_out", "ranking", "areas"):
        for kind in ("md", "tex", "csv", "html"):
            text = (Path("report/tables") / f"{name}_human_normalised.{kind}").read_text()
            assert "Worst task" in text, (name, kind)
    page = Path("report/index.html").read_text()
    card = page[page.index('class="card"') : page.index("</div>", page.index('class="card"'))]
    assert re.search(r"Worst task −?\d+\.\d{3}", card)
    for name in ("aggregates", "learning"):
        assert "Worst task" in (Path("report/figures") / f"{name}_human_normalised.svg").read_text()


def test_a_statistic_of_one_row_has_intervals_of_its_own_and_a_better_direction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lower = Metric("spread", "Spread", lambda s: np.ptp(s.task_means, axis=1), lower_is_better=True)
    monkeypatch.setitem(METRICS, "spread", lower)
    runs = [[0.1, 0.3, 0.2], [0.9, 1.4, 1.0], [0.5, 0.4, 0.6]]
    assert stats.estimate("spread", runs) == pytest.approx(0.9)
    student, over = (stats.aggregate(runs, ["spread"], reps=500, interval=kind) for kind in ("student", "percentile"))
    for found in (student["spread"], over["spread"]):
        assert found.low is not None and found.high is not None and found.low < found.estimate < found.high
    tasks = [[k * 0.1, k * 0.12] for k in range(6)]
    assert stats.aggregate(tasks, ["spread"], reps=500, interval="tasks")["spread"].low is not None
    write_study(Path("runs/demo"), tasks=GAMES, seeds=3)
    assert report.main(["grid=demo", "reps=200", "--no-figures"]) == 0
    least = min(float(r["estimate"]) for r in rows("aggregates.csv") if r["metric"] == "spread")
    assert f"**{least:.3f}" in Path("report/tables/aggregates_human_normalised.md").read_text()


@pytest.mark.parametrize("name", ["median", "iqm", "optimality_gap"])
def test_a_row_without_what_each_run_adds_falls_back_on_the_bootstrap_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    runs = [rng.normal(k / 4, 0.3, 5) for k in range(8)]
    monkeypatch.setitem(METRICS, "own", Metric("own", "Own", METRICS[name].function))
    found = stats.aggregate(runs, [name, "own"], reps=2000)
    own, known = (found[key] for key in ("own", name))
    assert own.low is not None and own.high is not None and known.low is not None and known.high is not None
    assert own.estimate == known.estimate
    # The degrees of freedom of one task make it wider, where the row of the package has those of all.
    assert (own.high - own.low) >= (known.high - known.low)


def test_references_of_a_file_normalise_any_task_and_stand_in_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(Path("runs/demo"), tasks=("catch", "dmc_walker_walk"), seeds=3)
    file = Path("refs.csv")
    file.write_text("task,random,reference\ncatch,-1,60\nDMC/Walker-Walk,0,50\n")
    assert report.main(["grid=demo", "reps=200", "--no-figures", f"references={file}"]) == 0
    found = rows("aggregates.csv")
    assert {row["scale"] for row in found} == {"normalised"} and {row["metric"] for row in found} == set(METRICS)
    for row in rows("per_task.csv"):
        low, high = {"catch": (-1, 60), "dmc_walker_walk": (0, 50)}[row["task"]]
        assert float(row["normalised"]) == pytest.approx((float(row["mean"]) - low) / (high - low))
    table = Path("report/tables/aggregates_normalised.md").read_text()
    assert "Above reference" in table and "Superhuman" not in table
    assert "Normalised with the random and reference scores of refs.csv." in table
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"Added: refs.csv: sha256 {digest}" in Path("report/report.md").read_text()
    assert f"references={file}" in Path("report/report.md").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task,random\ncatch,1\n", "columns are task,random; task,random,human or task,random,reference is expected"),
        (
            "task,random,human\nkatch,1,2\n",
            "none of its tasks is in the report; unknown task 'katch'; did you mean 'catch'",
        ),
        (None, "cannot be read"),
    ],
)
def test_wrong_references_are_said_in_one_line_before_anything_is_written(
    text: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(Path("runs/demo"), tasks=("catch",), seeds=1)
    if text is not None:
        Path("refs.csv").write_text(text)
    assert report.main(["grid=demo", "references=refs.csv"]) == 2
    err = capsys.readouterr().err
    assert message in err and "refs.csv" in err and err.count("\n") == 1
    assert not Path("report").exists()


BENCHMARK = """# title: Two walkers
# frames: 6400
# source: made up for this test
task,random,human
dmc_walker_walk,0,50
dmc_walker_run,0,60
gym_Other-v1,0,1
"""


def test_a_benchmark_of_one_file_is_taken_up(tmp_path: Path) -> None:
    """In a copy of the project with one more file and no other change."""
    root, copy = Path(report.__file__).parents[1], tmp_path / "copy"
    for name in ("agent", "analysis", "scores"):
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "scores" / "benchmarks" / "walkers.csv").write_text(BENCHMARK)
    write_study(Path("runs/demo"), tasks=("dmc_walker_walk", "dmc_walker_run"), seeds=3)
    words = ["grid=demo", f"runs={Path('runs').absolute()}", f"out={tmp_path / 'report'}", "reps=200", "--no-figures"]
    command = [sys.executable, "-m", "analysis.report", *words]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {row["scale"] for row in rows("aggregates.csv")} == {"human_normalised"}
    table = (tmp_path / "report/tables/aggregates_human_normalised.md").read_text()
    assert "Normalised with the random and human scores of Two walkers." in table
    assert "These are 2 of 3 tasks at 6.4k frames: not comparable with Two walkers figures, which take 3 tasks" in table
    text = (tmp_path / "report/report.md").read_text()
    assert "References: exact (walkers.csv sha256:" in text and "made up for this test" in text
