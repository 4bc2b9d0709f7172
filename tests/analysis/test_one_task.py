"""A report of one task has no task to leave out."""

from pathlib import Path

import pytest

from analysis import report

pytestmark = pytest.mark.usefixtures("own_folder")


def test_a_report_of_one_task_has_everything_but_leave_one_out() -> None:
    assert report.main(["tasks=pong", "reps=200"]) == 0
    assert not list(Path("report").rglob("leave_one_out*"))
    assert (Path("report/tables/comparisons_human_normalised.md")).exists()
