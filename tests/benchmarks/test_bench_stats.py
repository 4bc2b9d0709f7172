"""The statistics against rliable in an environment of its own, named by HARMONY_BENCH_RLIABLE (its Python)."""

import os

import pytest

from tests.benchmarks import bench_stats

PYTHON = os.environ.get("HARMONY_BENCH_RLIABLE", "")


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="set HARMONY_BENCH_RLIABLE to a Python with rliable 1.2 and pandas<3")
def test_the_statistics_equal_rliables_and_take_a_small_part_of_its_time() -> None:
    found = bench_stats.compare(PYTHON)
    assert found["points"] < 1e-12
    assert found["ends"] < 0.0084  # six Monte-Carlo standard deviations of the widest interval's end
    assert found["ratio"] >= 20  # about a hundred on a quiet machine: a time is no number to hold within a fifth
