"""Figures hold what is drawn on them."""

import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from agent.contract import files
from agent.contract.run_folder import RunKey
from analysis.data.load import load_study
from analysis.output.figure import Look, legend, looks, method_lines, style
from analysis.output.training_plots import (
    _as_far_as_most,  # pyright: ignore[reportPrivateUsage]
    _at_common_frames,  # pyright: ignore[reportPrivateUsage]
    losses_plots,
    together,
    weights_plot,
)
from tests.analysis.studies import write_run


@pytest.mark.parametrize("names", [("short",), ("name",) * 9, ("a rather long name of a method",) * 6, ("w" * 150,)])
def test_a_legend_lies_inside_its_figure(names: tuple[str, ...]) -> None:
    methods = [f"{name} {i}" for i, name in enumerate(names)]
    with style():
        made = plt.figure(figsize=(5, 3), layout="constrained")
        made.add_subplot()
        legend(made, method_lines({m: Look("#000000", "-") for m in methods}, methods))
        made.savefig(io.BytesIO(), format="png")
        box, width = made.legends[0].get_window_extent(), made.get_figwidth() * made.dpi
    assert [t.get_text() for t in made.legends[0].get_texts()] == methods
    assert box.x0 >= -1 and box.x1 <= width + 1


def test_the_mean_of_runs_that_share_no_frame_rests_on_several_of_them() -> None:
    rows = [("m", "t", seed, 1000 * step + 7 * seed, float(seed)) for seed in range(5) for step in range(1, 21)]
    frame = pd.DataFrame(rows, columns=["method", "task", "seed", "frames", "score"])
    kept = _as_far_as_most(_at_common_frames(frame))
    assert kept.groupby("frames").seed.nunique().min() == 5
    assert len(kept.frames.unique()) >= 15
    regular = frame.assign(frames=frame.frames - 7 * frame.seed)
    pd.testing.assert_frame_equal(_at_common_frames(regular), regular)


def test_a_mean_over_runs_is_drawn_where_all_have_begun_and_none_has_ended() -> None:
    early = np.array([0.0, 10.0, 20.0]), np.array([0.0, 10.0, 20.0])
    late = np.array([5.0, 15.0, 40.0]), np.array([105.0, 115.0, 140.0])
    frames, values = together([early, late])
    assert (frames[0], frames[-1]) == (5.0, 20.0)
    np.testing.assert_allclose(values, [frames, frames + 100.0])
    frames, values = together([early, (np.array([30.0, 40.0]), np.array([1.0, 1.0]))])
    assert len(frames) == values.shape[1] == 0
    frames, values = together([early, (np.array([20.0, 40.0]), np.array([1.0, 1.0]))])
    assert frames.tolist() == [20.0] and values.tolist() == [[20.0], [1.0]]


def test_weights_and_losses_of_different_tasks_are_never_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs whose rows stand at other frames and other levels: each line keeps its run's level, without a zigzag."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    levels = {"catch": 1.5, "atari_pong": 3.0}
    for task, level in levels.items():
        for seed in range(2):
            run = write_run(tmp_path / "study", RunKey(task, "harmony_dreamerv3", seed))
            for step in range(20):
                at = {"env_steps": step, "frames": 400 * step + int(100 * level) + 7 * seed}
                files.append_row(run.metrics, at | {"harmony/reward_weight": level, "loss/image": 100 * level})
    runs = load_study(tmp_path / "study").runs
    weights = weights_plot(runs)
    (losses,) = losses_plots(runs, looks(["harmony_dreamerv3"]))
    assert weights is not None and losses.name == "losses_image"
    for plot, factor in ((weights, 1), (losses, 100)):
        panels = {axes.get_title(): axes for axes in plot.figure.axes if axes.get_visible()}
        assert list(panels) == ["Pong", "Catch"]
        for task, level in (("Catch", 1.5), ("Pong", 3.0)):
            drawn = [line.get_ydata() for line in panels[task].lines]
            assert len(drawn) == 1 and np.allclose(drawn[0], factor * level)
