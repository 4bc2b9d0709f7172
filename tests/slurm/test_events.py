"""What happens to jobs on a cluster, caused for real: afterwards every reason is right and the grid completes.

CONTRIBUTING lists each event with what Slurm says of it.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import PAIR, Cluster, Lab, Stand, check_study, steps_of, text_of, wait_until
from tests.slurm.conftest import Beside

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("beside")]

ONE = PAIR.replace("[dreamerv3, harmony_dreamerv3]", "[dreamerv3]")
RUNS = ("catch/dreamerv3/seed-0", "catch/harmony_dreamerv3/seed-0")
WHOLE_N1 = ("cluster.slurm.nodelist=n1", "cluster.slurm.gres=gpu:fake:4")


def slow(seconds: float = 1.0, **faults: str) -> dict[str, str]:
    """Return the environment in which 20 steps take this long, and runs fail as told."""
    return {"CHEAP": json.dumps({"tick_s": seconds, "faults": faults})}


def attempts(lab: Lab, name: str, run: str) -> list[dict[str, object]]:
    """Return the records of a run's attempts."""
    files = (lab.study(name) / run).glob("attempts/*/attempt.json")
    return [json.loads(file.read_text()) for file in sorted(files, key=lambda file: int(file.parent.name))]


def state_of(job: str) -> str:
    """Return Slurm's state of a job or element."""
    return text_of("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip()


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


def test_our_own_cancel_stops_what_was_selected_and_nothing_else(lab: Lab) -> None:
    lab.grid("pair", PAIR)
    lab.run("launch", "grid=pair", "cluster=test", env=slow())
    lab.wait_running("pair")
    assert "1 of 1 runs cancelled" in lab.run("cancel", "grid=pair", "methods=dreamerv3").out
    wait_until(lambda: lab.labels("pair")[RUNS[0]] == "cancelled", 30, "cancelled", 1)
    assert lab.labels("pair")[RUNS[1]] in ("running", "done")
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
    forbid = ("cluster.slurm.requeue=false", "cluster.slurm.no-requeue=true")
    lab.run("launch", "grid=one", "cluster=test", "cluster.partition=low", *forbid, *WHOLE_N1, env=slow(0.5))
    lab.wait_running("one", 60)
    cluster.submit("sleep 2", "--partition=high", "--nodelist=n1", "--gres=gpu:fake:4", "--mem=100")
    wait_until(lambda: lab.labels("one")[RUNS[0]] == "preempted", 40, "preempted", 0.5)
    lab.run("resubmit", "grid=one", env=slow(0.05))
    lab.wait_all("one", "done", 60)
    check_study(lab.study("one"))


def processes_of(study: Path, job: str) -> list[int]:
    """Return the processes that work for a study, and Slurm's own for its job."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            ours = str(study).encode() in words and (b"submitit" in words or b"agent.train" in words)
            if ours or f"slurmstepd: [{job}".encode() in words:
                found.append(int(entry.name))
    return found


def test_a_dead_node_is_named_and_left_out_and_a_run_given_up_alive_keeps_one_writer(
    lab: Lab, cluster: Cluster
) -> None:
    lab.grid("dead", ONE)
    forbid = ("cluster.slurm.requeue=false", "cluster.slurm.no-requeue=true")
    lab.run("launch", "grid=dead", "cluster=test", "cluster.exclude=n1,n3,n4", *forbid, env=slow())
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


FAULTS = {
    "gpu_oom": "gpu_oom",
    "code": "code_error",
    "nan": "nan",
    "disk": "disk_full",
    "graphics": "environment",
    "kill": "killed",
    "segfault": "killed",
    "leave": "code_error",
}


@pytest.mark.parametrize("mode", ["process", "vmap"])
def test_each_way_a_run_fails_by_itself_is_named_and_all_complete_in_the_end(
    lab: Lab, tmp_path: Path, mode: str
) -> None:
    gpu = Stand(tmp_path / "gpu")
    gpu.answer("nvidia-smi", "echo 'Declared GPU, 40960'")
    lab.grid("faults", ONE)
    faults = {f"catch/dreamerv3/seed-{seed}": fault for seed, fault in enumerate(FAULTS)}
    pack = ("pack=3", "pack.mode=process") if mode == "process" else ("pack=1",)
    words = ("grid=faults", "cluster=test", f"seeds={len(FAULTS) + 1}", *pack, "cluster.gpus=1")
    lab.run("launch", *words, env=slow(0.1, **faults) | gpu.env)
    expected = {run: FAULTS[fault] for run, fault in faults.items()} | {f"catch/dreamerv3/seed-{len(FAULTS)}": "done"}
    wait_until(
        lambda: "running" not in (found := lab.labels("faults").values()) and "queued" not in found, 90, "ends", 2
    )
    assert lab.labels("faults") == expected
    shown = lab.run("status", "grid=faults", code=1).out
    assert "KeyError: 'reward'" in shown
    wasted = json.loads(lab.run("status", "grid=faults", "--json", code=1).out)["hours"]
    assert wasted["gpu"]
    assert {"code_error", "killed"} <= set(wasted["wasted"])
    words = ("--state", ",".join({*FAULTS.values(), "failed", "oom"}))
    lab.run("resubmit", "grid=faults", *words, env=slow(0.05) | gpu.env, code=None)
    lab.wait_all("faults", "done", 90)
    check_study(lab.study("faults"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_runs_full_is_named_and_all_goes_on_once_there_is_space(lab: Lab, small_disk: Path) -> None:
    lab.grid("pair", PAIR)
    runs = lab.tree / "runs"
    runs.symlink_to(small_disk)
    lab.run("launch", "grid=pair", "cluster=test", env=slow(0.5))
    lab.wait_running("pair", 60)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    lab.wait_all("pair", "disk_full", 60)
    filler.unlink()
    lab.run("resubmit", "grid=pair", "--state", "disk_full,failed", env=slow(0.05))
    lab.wait_all("pair", "done", 60)
    check_study(lab.study("pair"))


def test_a_job_that_dies_before_python_starts_shows_its_last_words(lab: Lab) -> None:
    lab.grid("pair", PAIR)
    lab.run("launch", "grid=pair", "cluster=test", "cluster.setup=echo no module called cuda >&2; exit 7")
    wait_until(lambda: set(lab.labels("pair").values()) == {"not_started"}, 60, "not started", 1)
    found = lab.states("pair")[RUNS[0]]
    assert found["message"] == "ended before Python started (exit code 7): no module called cuda"
    lab.run("resubmit", "grid=pair", "--state", "not_started", "cluster.setup=true", env=slow(0.05), code=None)
    lab.wait_all("pair", "done", 60)


def test_a_job_that_gets_no_gpu_though_it_was_planned_with_one_says_so_in_one_sentence(
    lab: Lab, tmp_path: Path
) -> None:
    none = Stand(tmp_path / "gpu")
    none.answer("nvidia-smi", "exit 9")
    lab.grid("one", ONE)
    lab.run("launch", "grid=one", "cluster=test", "cluster.gpus=1", env=none.env)
    lab.wait_all("one", "device", 60)
    message = lab.states("one")[RUNS[0]]["message"]
    assert message.endswith("was planned with 1 GPU, but nvidia-smi shows none here (CUDA_VISIBLE_DEVICES=0)")


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
