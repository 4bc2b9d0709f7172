"""Figures hold what is drawn on them."""

import io

import matplotlib.pyplot as plt
import pytest

from analysis.figure import Look, legend, style


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
