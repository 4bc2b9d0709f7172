"""What takes minutes of waiting, in studies begun before all tests: time limits, elements cancelled while they wait."""

import re

import pytest

from tests.slurm.cluster import RUNS, attempts, check_study, slow, steps_of, text_of, wait_until
from tests.slurm.conftest import Beside

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("beside")]


def test_a_time_limit_without_a_word_is_named_and_given_more_time(beside: Beside) -> None:
    lab, name = beside.lab, "beside-hard"
    wait_until(lambda: set(lab.labels(name).values()) == {"timeout"}, 150, "timed out", 3)
    assert steps_of(lab.study(name) / RUNS[0]) >= 40
    fixed = lab.run("resubmit", f"grid={name}", "--fix", env=slow(0.05))
    assert re.search(r"timeout: walltime_min 1 → \d+ \(2 runs\)", fixed.out)
    lab.wait_all(name, "done", 60)
    check_study(lab.study(name))


def test_before_a_time_limit_a_job_checkpoints_and_queues_itself_again(beside: Beside) -> None:
    lab, name = beside.lab, "beside-graceful"
    lab.wait_all(name, "done", 240)
    check_study(lab.study(name))
    assert len(lab.job_ids(name)) == 2
    assert all(attempts(lab, name, run)[-1]["restart"] != 0 for run in RUNS)


def test_array_elements_cancelled_while_they_wait_are_known_as_cancelled(beside: Beside) -> None:
    lab, name = beside.lab, "beside-held"
    wait_until(lambda: lab.labels(name) == {RUNS[0]: "cancelled", RUNS[1]: "queued"}, 60, "cancelled", 2)
    text_of("scontrol", "release", lab.job_ids(name)[1])
    lab.run("resubmit", f"grid={name}", "--state", "cancelled", "cluster.slurm.hold=false", env=slow(0.05))
    lab.wait_all(name, "done", 60)
    check_study(lab.study(name))
