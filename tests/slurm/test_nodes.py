"""Nodes and the controller that die under running jobs, and jobs that take more memory than they were given."""

import os
import signal
from pathlib import Path

import pytest

from tests.slurm.cluster import ONE, PAIR, RUNS, Cluster, Lab, check_study, slow, state_of, text_of, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("beside")]


def processes_of(study: Path, job: str) -> list[int]:
    """Return the processes that work for a study, and Slurm's own for its job."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            ours = str(study).encode() in words and (b"submitit" in words or b"cheap_train" in words)
            if ours or f"slurmstepd: [{job}".encode() in words:
                found.append(int(entry.name))
    return found


def test_a_dead_node_is_named_and_left_out_and_a_run_given_up_alive_keeps_one_writer(
    lab: Lab, cluster: Cluster
) -> None:
    lab.grid("dead", ONE)
    lab.run(
        "launch", "grid=dead", "cluster=test", "cluster.exclude=n1,n3,n4", "cluster.slurm.requeue=false", env=slow()
    )
    lab.grid("alive", ONE.replace("400", "1000"))
    lab.run("launch", "grid=alive", "cluster=test", "cluster.slurm.nodelist=n2", env=slow())
    for name in ("dead", "alive"):
        lab.wait_running(name, 60)
    alive = lab.job_ids("alive")[0]
    job = text_of("squeue", "--noheader", f"--jobs={lab.job_ids('dead')[0]}", "--format=%A").strip()
    doomed = processes_of(lab.study("dead"), job)
    cluster.control("kill", "n2")
    for pid in sorted(doomed, key=lambda pid: b"slurmstepd" not in Path(f"/proc/{pid}/cmdline").read_bytes()):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: state_of(alive) == "PENDING", 60, "requeued by Slurm", 1)
    text_of("scontrol", "update", f"jobid={alive}", "reqnodelist=n3")
    wait_until(lambda: lab.labels("dead")[RUNS[0]] == "node_failure", 90, "node failure", 2)
    fixed = lab.run("resubmit", "grid=dead", "--fix", "cluster.exclude=n1", env=slow(0.05))
    assert "node_failure: exclude n1 → n1,n2 (1 run)" in fixed.out
    wait_until(lambda: state_of(alive) != "PENDING", 60, "started again beside the first", 0.5)
    for name in ("dead", "alive"):
        lab.wait_all(name, "done", 120)
        check_study(lab.study(name))


def test_slurmctld_may_stop_and_come_back_at_submission_and_while_jobs_run(lab: Lab, cluster: Cluster) -> None:
    lab.grid("pair", PAIR)
    lab.run("launch", "grid=pair", "cluster=test", "agent.run.steps=1000", env=slow(1))
    lab.wait_running("pair")
    cluster.control("down", "slurmctld")
    shown = lab.run("status", "grid=pair", code=None)
    assert "Slurm did not answer (squeue failed with exit code 1" in shown.out + shown.err
    assert "2 runs: 2 running" in shown.out
    lab.grid("other", PAIR)
    refused = lab.run("launch", "grid=other", "cluster=test", code=None)
    assert refused.code == 1
    assert "nothing was submitted: scontrol failed" in refused.err
    again = lab.run("launch", "grid=pair", "cluster=test", "agent.run.steps=1000", code=None)
    assert "handed to" not in again.out
    cluster.control("up", "slurmctld")
    lab.run("launch", "grid=other", "cluster=test", env=slow(0.05))
    for name in ("pair", "other"):
        lab.wait_all(name, "done", 90)
        check_study(lab.study(name))
        assert len(lab.job_ids(name)) == 2


def test_a_job_over_its_memory_is_named_and_given_more(lab: Lab) -> None:
    lab.grid("pair", PAIR)
    words = ("grid=pair", "cluster=test", "cluster.mem_gb=0.3")
    lab.run("launch", *words, env=slow(0.2, **{RUNS[0]: "memory"}))
    wait_until(lambda: lab.labels("pair")[RUNS[0]] == "host_oom", 60, "out of memory", 1)
    fixed = lab.run("resubmit", "grid=pair", "--fix", env=slow(0.05))
    assert "host_oom: mem_gb 0.3 → 1 (1 run)" in fixed.out
    lab.wait_all("pair", "done", 60)
    check_study(lab.study("pair"))
