"""Jobs cancelled, queued again and preempted: they checkpoint, and go on where they were."""

import os
import signal
import time

import pytest

from tests.slurm.cluster import (
    ONE,
    PAIR,
    RUNS,
    Cluster,
    Lab,
    attempts,
    check_study,
    slow,
    state_of,
    steps_of,
    text_of,
    wait_until,
)

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("beside")]

WHOLE_N1 = ("cluster.slurm.nodelist=n1", "cluster.slurm.gres=gpu:fake:4")


def test_a_running_job_that_is_cancelled_keeps_its_checkpoint_and_goes_on_when_resubmitted(lab: Lab) -> None:
    lab.grid("pair", PAIR)
    lab.run("launch", "grid=pair", "cluster=test", env=slow())
    lab.wait_running("pair", 60)
    text_of("scancel", lab.job_ids("pair")[0])
    wait_until(lambda: lab.labels("pair")[RUNS[0]] == "cancelled", 30, "cancelled", 1)
    at = steps_of(lab.study("pair") / RUNS[0])
    assert at >= 60
    lab.run("resubmit", "grid=pair", "--state", "cancelled", env=slow(0.05))
    lab.wait_all("pair", "done", 60)
    assert attempts(lab, "pair", RUNS[0])[1]["env_steps_before"] == at
    check_study(lab.study("pair"))


def test_scancel_during_the_checkpoint_before_a_time_limit_is_final(lab: Lab) -> None:
    lab.grid("one", ONE)
    lab.run("launch", "grid=one", "cluster=test", env=slow(2))  # so long is it deaf to signals
    lab.wait_running("one")
    job = lab.job_ids("one")[0]
    text_of("scancel", "--batch", "--signal=USR2", job)  # as Slurm does before the limit
    text_of("scancel", job)
    wait_until(lambda: attempts(lab, "one", RUNS[0])[0].get("ended"), 30, "ended with a checkpoint")
    assert attempts(lab, "one", RUNS[0])[0]["reason"] == "stopped"
    wait_until(lambda: state_of(job) != "COMPLETING", 30, "no longer completing")
    time.sleep(2)  # a job queued again waits 8 s before it runs, on the test cluster
    assert state_of(job) == "CANCELLED"
    assert lab.labels("one") == {RUNS[0]: "cancelled"}


def test_our_own_cancel_stops_what_was_selected_and_waits_for_its_checkpoint(lab: Lab) -> None:
    lab.grid("pair", PAIR)
    lab.run("launch", "grid=pair", "cluster=test", "agent.run.steps=100", env=slow(7))  # longer than KillWait
    lab.wait_running("pair")
    assert "1 of 1 runs cancelled" in lab.run("cancel", "grid=pair", "methods=cheap").out
    wait_until(lambda: lab.labels("pair")[RUNS[0]] == "cancelled", 30, "cancelled", 1)
    assert lab.labels("pair")[RUNS[1]] in ("running", "done")
    assert attempts(lab, "pair", RUNS[0])[0]["reason"] == "stopped"
    lab.run("resubmit", "grid=pair", "--state", "cancelled", env=slow(0.05))
    lab.wait_all("pair", "done", 60)
    check_study(lab.study("pair"))


def test_a_requeued_job_goes_on_from_its_checkpoint_under_the_same_id(lab: Lab) -> None:
    lab.grid("pair", PAIR)
    lab.run("launch", "grid=pair", "cluster=test", env=slow(0.5))
    lab.wait_running("pair", 60)
    text_of("scontrol", "requeue", lab.job_ids("pair")[0])
    wait_until(lambda: lab.labels("pair")[RUNS[0]] == "queued", 20, "queued again", 0.5)
    lab.wait_all("pair", "done", 90)
    made = attempts(lab, "pair", RUNS[0])
    assert [attempt["restart"] for attempt in made] == [0, 1]
    assert made[1]["env_steps_before"] == made[0]["env_steps_after"]
    assert len(lab.job_ids("pair")) == 2
    check_study(lab.study("pair"))


def test_a_requeued_job_leaves_the_run_that_was_resubmitted_and_goes_on_with_the_other(lab: Lab) -> None:
    lab.grid("pair", PAIR.replace("400", "40000"))
    lab.run("launch", "grid=pair", "cluster=test", "pack=2", env=slow(0.5))
    wait_until(lambda: steps_of(lab.study("pair") / RUNS[0]) >= 40, 60, "the first runs")
    first = attempts(lab, "pair", RUNS[0])[0]
    os.kill(first["pid"], signal.SIGKILL)
    wait_until(lambda: steps_of(lab.study("pair") / RUNS[1]) >= 40, 60, "the other runs")
    assert lab.labels("pair") == {RUNS[0]: "killed", RUNS[1]: "running"}
    (lab.tree / "harness" / "changed.py").write_text("# the cause of it is removed\n")
    lab.run("resubmit", "grid=pair", "--new-code", "--state", "killed", env=slow(0.5))
    wait_until(lambda: len(attempts(lab, "pair", RUNS[0])) == 2, 30, "resubmitted")
    text_of("scontrol", "requeue", first["job_id"])
    wait_until(lambda: len(attempts(lab, "pair", RUNS[1])) == 2, 60, "the other goes on")
    lab.run("cancel", "grid=pair", "methods=cheap")
    wait_until(lambda: attempts(lab, "pair", RUNS[0])[1].get("ended"), 30, "its process has ended")
    at = steps_of(lab.study("pair") / RUNS[1])
    wait_until(lambda: steps_of(lab.study("pair") / RUNS[1]) >= at + 100, 60, "the other goes on training")
    again = attempts(lab, "pair", RUNS[0])
    assert [attempt["job_id"] for attempt in again] == [first["job_id"], lab.job_ids("pair")[-1]]
    assert again[1]["code_tree"] != first["code_tree"]
    assert lab.labels("pair") == {RUNS[0]: "cancelled", RUNS[1]: "running"}


@pytest.mark.parametrize("partition", ["low", "lowgrace"])
def test_a_preempted_job_checkpoints_and_comes_back_by_itself(lab: Lab, cluster: Cluster, partition: str) -> None:
    lab.grid("one", ONE)
    lab.run("launch", "grid=one", "cluster=test", f"cluster.partition={partition}", *WHOLE_N1, env=slow(0.5))
    lab.wait_running("one", 60)
    cluster.submit("sleep 2", "--partition=high", "--nodelist=n1", "--gres=gpu:fake:4", "--mem=100")
    wait_until(lambda: lab.labels("one")[RUNS[0]] == "queued", 40, "queued again", 0.5)
    lab.wait_all("one", "done", 90)
    made = attempts(lab, "one", RUNS[0])
    assert len(made) == 2
    assert made[1]["env_steps_before"] == made[0]["env_steps_after"]
    check_study(lab.study("one"))


def test_a_preempted_job_that_may_not_be_requeued_is_named_and_resubmitted(lab: Lab, cluster: Cluster) -> None:
    lab.grid("one", ONE)
    forbid = "cluster.slurm.requeue=false"
    lab.run("launch", "grid=one", "cluster=test", "cluster.partition=low", forbid, *WHOLE_N1, env=slow(0.5))
    lab.wait_running("one", 60)
    cluster.submit("sleep 2", "--partition=high", "--nodelist=n1", "--gres=gpu:fake:4", "--mem=100")
    wait_until(lambda: lab.labels("one")[RUNS[0]] == "preempted", 40, "preempted", 0.5)
    lab.run("resubmit", "grid=one", env=slow(0.05))
    lab.wait_all("one", "done", 60)
    check_study(lab.study("one"))
