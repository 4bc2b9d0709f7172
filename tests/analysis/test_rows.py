"""A statistic or a benchmark that is added as analysis/README.md says: in everything it belongs to, by that alone."""

import json
import re
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
