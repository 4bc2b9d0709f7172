"""Slurm's commands failing on demand: what a real Slurm does only on bad days."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.cluster import PAIR, Lab, Stand, check_study, slack, text_of, wait_until

pytestmark = pytest.mark.slurm

TIMED_OUT = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"
SLOW = {"CHEAP": '{"tick_s": 1}'}
FAST = {"CHEAP": '{"tick_s": 0.05}'}


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path / "stand")


def test_jobs_that_slurm_took_though_sbatch_timed_out_are_found_by_their_name(lab: Lab, stand: Stand) -> None:
    stand.answer("sbatch", f'"$real" "$@" >/dev/null; {TIMED_OUT}')
    lab.grid("pair", PAIR)
    launched = lab.run("launch", "grid=pair", "cluster=test", env=FAST | stand.env)
    assert "2 runs in 2 jobs handed to Slurm" in launched.out
    assert stand.calls().count("sbatch") == 1
    lab.wait_all("pair", "done", 60)
    check_study(lab.study("pair"))


def test_a_launch_killed_as_slurm_takes_its_jobs_blocks_nobody_and_they_are_found(lab: Lab, stand: Stand) -> None:
    stand.answer("sbatch", '"$real" --begin=now+8 "$@" >/dev/null; kill -9 $PPID')
    lab.grid("pair", PAIR)
    assert lab.run("launch", "grid=pair", "cluster=test", env=FAST | stand.env, code=None).code == -9
    assert not lab.job_ids("pair")
    stand.calls()
    again = lab.run("launch", "grid=pair", "cluster=test", env=stand.env)
    assert "nothing is missing" in again.out
    assert again.seconds < 5 * slack()
    assert "sbatch" not in stand.calls()
    assert len(lab.job_ids("pair")) == 2
    lab.wait_all("pair", "done", 60)
    check_study(lab.study("pair"))


@pytest.mark.parametrize("asleep_at", ["scontrol", "sbatch"])
def test_a_launch_that_stood_still_for_minutes_submits_nothing_that_another_has(
    lab: Lab, stand: Stand, asleep_at: str
) -> None:
    stop = f"[ -e {stand.folder}/once ] || {{ touch {stand.folder}/once; kill -STOP $PPID; }}"
    real = 'echo "MaxArraySize = 2"' if asleep_at == "sbatch" else '"$real" "$@"'  # two arrays: it stops at the first
    stand.answer("scontrol", real if asleep_at == "sbatch" else f"{stop}; {real}")
    stand.answer("sbatch", f'"$real" --hold "$@"; {stop if asleep_at == "sbatch" else ""}')
    lab.grid("pair", PAIR.replace("seeds: 1", "seeds: 2"))
    command = [sys.executable, "-m", "harness.launch", "grid=pair", "cluster=test"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=lab.tree, env={**lab.env, **stand.env}, **pipes) as first:
        stat = Path(f"/proc/{first.pid}/stat")
        wait_until(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T", 60, "stopped")
        ago = time.time() - 400
        os.utime(lab.study("pair") / ".harness" / "lease.json", (ago, ago))
        second = lab.run("launch", "grid=pair", "cluster=test", env=stand.env)
        first.send_signal(signal.SIGCONT)
        out, err = first.communicate(timeout=60)
    assert first.returncode == 1, out + err
    assert "another one has taken over the study" in err
    assert f"{4 if asleep_at == 'scontrol' else 2} runs in" in second.out
    assert set(lab.labels("pair").values()) == {"queued"}
    queued = text_of("squeue", "--array", "--noheader", "--format=%j").split()
    assert sum(name.startswith("hb-pair-") for name in queued) == 4
    assert "nothing is missing" in lab.run("launch", "grid=pair", "cluster=test").out


def test_a_time_out_without_jobs_is_told_after_looking_and_a_relaunch_submits(lab: Lab, stand: Stand) -> None:
    stand.answer("sbatch", TIMED_OUT)
    lab.grid("pair", PAIR)
    refused = lab.run("launch", "grid=pair", "cluster=test", env=stand.env, code=1)
    assert "nothing was submitted" in refused.err
    assert "Socket timed out" in refused.err
    assert stand.calls().count("squeue") > 5
    lab.run("launch", "grid=pair", "cluster=test", env=FAST)
    lab.wait_all("pair", "done", 60)


def test_jobs_that_slurm_refused_and_keeps_as_failed_are_not_taken_for_submitted(lab: Lab, stand: Stand) -> None:
    stand.answer("sbatch", f'"$real" --mem=500G "$@" >/dev/null; {TIMED_OUT}')
    stand.answer("squeue", "exit 1")
    lab.grid("pair", PAIR)
    assert "Slurm cannot be asked" in lab.run("launch", "grid=pair", "cluster=test", env=stand.env, code=1).err
    stand.answer("sbatch", 'exec "$real" "$@"')
    stand.answer("squeue", 'exec "$real" "$@"')
    launched = lab.run("launch", "grid=pair", "cluster=test", env=FAST | stand.env)
    assert "2 runs in 2 jobs handed to Slurm" in launched.out
    lab.wait_all("pair", "done", 60)
    check_study(lab.study("pair"))


def test_a_submission_in_doubt_is_not_repeated_before_slurm_can_be_asked(lab: Lab, stand: Stand) -> None:
    stand.answer("sbatch", f'"$real" --begin=now+8 "$@" >/dev/null; {TIMED_OUT}')
    stand.answer("squeue", "exit 1")
    lab.grid("pair", PAIR)
    doubt = lab.run("launch", "grid=pair", "cluster=test", env=FAST | stand.env, code=1)
    assert "Slurm cannot be asked whether it took the jobs" in doubt.err
    assert "nothing is submitted twice" in doubt.err
    again = lab.run("launch", "grid=pair", "cluster=test", env=stand.env, code=1)
    assert "Slurm cannot be asked" in again.err
    stand.calls()
    stand.answer("squeue", 'exec "$real" "$@"')
    found = lab.run("launch", "grid=pair", "cluster=test", env=stand.env)
    assert "nothing is missing" in found.out
    assert "sbatch" not in stand.calls()
    lab.wait_all("pair", "done", 60)
    check_study(lab.study("pair"))


def test_a_failed_question_kills_nothing_and_submits_nothing_twice(lab: Lab, stand: Stand) -> None:
    lab.grid("pair", PAIR.replace("400", "4000"))
    lab.run("launch", "grid=pair", "cluster=test", env=SLOW)
    lab.wait_running("pair")
    for broken in (("squeue",), ("sacct",), ("squeue", "sacct")):
        for name in ("squeue", "sacct"):
            stand.answer(name, "exit 1" if name in broken else 'exec "$real" "$@"')
        shown = lab.run("status", "grid=pair", env=stand.env)
        assert "2 running" in shown.out
        assert f"{broken[0]} failed with exit code 1" in shown.out + shown.err
        launched = lab.run("launch", "grid=pair", "cluster=test", env=stand.env)
        resubmitted = lab.run("resubmit", "grid=pair", env=stand.env)
        assert "nothing is missing" in launched.out  # their heartbeats say that they run
        assert "nothing to resubmit" in resubmitted.out
        for answer in (launched, resubmitted):
            assert f"Slurm did not answer ({broken[0]} failed with exit code 1" in answer.err
    assert "sbatch" not in stand.calls()
    lab.run("cancel", "grid=pair")
    lab.wait_all("pair", "cancelled", 60)
    lab.run("resubmit", "grid=pair", "--state", "cancelled", env={"CHEAP": '{"tick_s": 0}'})
    lab.wait_all("pair", "done", 60)
    check_study(lab.study("pair"))


def test_nothing_is_said_to_be_missing_or_not_while_slurm_does_not_answer(lab: Lab, stand: Stand) -> None:
    lab.grid("pair", PAIR)
    lab.run("launch", "grid=pair", "cluster=test", "cluster.slurm.hold=true")
    stand.answer("squeue", "exit 1")
    shown = lab.run("status", "grid=pair", env=stand.env)
    assert "2 unknown" in shown.out
    stand.calls()
    for command in ("launch", "resubmit"):
        for more in ((), ("--dry-run",)):
            words = (command, "grid=pair", "cluster=test", *more)
            answer = lab.run(*words, env=stand.env, code=0 if words[0] == "launch" and more else 1)
            assert "2 runs unknown: Slurm did not say; when it answers, run the same command again" in answer.out
            assert "nothing is missing" not in answer.out
            assert "nothing to resubmit" not in answer.out
            said = "Slurm did not answer (squeue failed with exit code 1: no message)"
            assert answer.err == f"{said}; it has not answered for this study yet\n"
    assert "sbatch" not in stand.calls()


def test_a_hanging_controller_is_given_up_and_said(lab: Lab, stand: Stand) -> None:
    stand.answer("scontrol", "echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1")
    lab.grid("pair", PAIR)
    refused = lab.run("launch", "grid=pair", "cluster=test", env=stand.env, code=1)
    assert "nothing was submitted: scontrol failed with exit code 1" in refused.err
    assert refused.seconds < 5 * slack()
    assert stand.calls() == ["scontrol"]


def test_cancelling_while_slurm_does_not_answer_says_so_and_running_jobs_still_hear_of_it(
    lab: Lab, stand: Stand
) -> None:
    lab.grid("pair", PAIR)
    lab.run("launch", "grid=pair", "cluster=test", env=SLOW)
    lab.wait_running("pair")
    stand.answer("scancel", "echo 'scancel: error: Unable to contact slurm controller' >&2; exit 1")
    failed = lab.run("cancel", "grid=pair", env=stand.env, code=1)
    assert "the runs are marked as cancelled, but cancelling failed: scancel failed" in failed.err
    lab.wait_all("pair", "cancelled", 60)
    lab.run("resubmit", "grid=pair", "--state", "cancelled", env=FAST)
    lab.wait_all("pair", "done", 60)
    check_study(lab.study("pair"))


def test_launching_from_inside_a_job_works(lab: Lab) -> None:
    lab.grid("pair", PAIR)
    inside = {"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "64", "SLURM_MEM_PER_CPU": "999999", "SBATCH_PARTITION": "no"}
    lab.run("launch", "grid=pair", "cluster=test", env=FAST | inside)
    lab.wait_all("pair", "done", 60)
    assert text_of("squeue", "--noheader", "--name=no") == ""
