"""Figures hold what is drawn on them."""

import io

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from analysis.output.figure import Look, legend, style
from analysis.output.training_plots import _as_far_as_most, _at_common_frames  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("names", [("short",), ("name",) * 9, ("a rather long name of a method",) * 6, ("w" * 150,)])
def test_a_legend_lies_inside_its_figure(names: tuple[str, ...]) -> None:
    methods = [f"{name} {i}" for i, name in enumerate(names)]
    with style():
        made = plt.figure(figsize=(5, 3), layout="constrained")
        made.add_subplot()
        legend(made, {m: Look("#000000", "-") for m in methods}, methods)
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
