"""Whole studies through the real Slurm: submitted at once, counted, frozen, never twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.contract.tasks import ATARI_100K
from tests.slurm.cluster import (
    CHEAP,
    ONE,
    PAIR,
    RUNS,
    Cluster,
    Lab,
    Stand,
    check_study,
    run_names,
    slack,
    slow,
    text_of,
    wait_until,
)

pytestmark = pytest.mark.slurm

CATCH = PAIR.replace("seeds: 1", "seeds: 2").replace("400", "160")


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path / "stand")


def test_26_by_2_by_5_runs_are_one_sbatch_call_within_three_seconds_and_all_complete(lab: Lab, stand: Stand) -> None:
    lab.grid("games", CATCH.replace("[catch]", f"[{', '.join(ATARI_100K)}]"))
    words = ("grid=games", "study=paper", "cluster=test", "seeds=5", "pack=10")
    launched = lab.run("launch", *words, env=stand.env)
    assert "260 runs in 26 jobs" in launched.out
    assert stand.calls().count("sbatch") == 1
    assert launched.seconds < 3 * slack()
    lab.wait_all("paper", "done", 180)
    check_study(lab.study("paper"))
    assert len(run_names(lab.study("paper"))) == 260
    shown = lab.run("status", "study=paper")
    assert "260 runs: 260 done (100% of all steps)" in shown.out
    assert "hours spent: 0." in shown.out
    reported = lab.report("paper")
    assert reported["states"]["done"] == sum(reported["states"].values()) == 260
    assert len(reported["tasks"]) == 26
    assert "nothing is missing" in lab.run("launch", *words, env=stand.env).out
    assert "sbatch" not in stand.calls()


def test_status_over_a_thousand_finished_runs_takes_two_seconds_and_two_calls(lab: Lab, stand: Stand) -> None:
    lab.grid("many", CATCH)
    lab.run("launch", "grid=many", "cluster=test", "seeds=500", "pack=50", env={"CHEAP": '{"tick_s": 0}'})
    lab.wait_all("many", "done", 180)
    lab.run("launch", "grid=many", "cluster=test", "seeds=501", "pack=50", "cluster.slurm.hold=true")
    shown = lab.run("status", "grid=many", env=stand.env)
    assert "1002 runs: 1000 done, 2 queued" in shown.out
    assert stand.calls() == ["squeue", "sacct"]
    assert shown.seconds < 2 * slack()


def test_two_launches_at_the_same_moment_submit_every_run_once(lab: Lab, stand: Stand) -> None:
    lab.grid("twice", CATCH)
    command = [sys.executable, "-m", "harness.launch", "grid=twice", "cluster=test"]
    both = [
        subprocess.Popen(command, cwd=lab.tree, env={**lab.env, **stand.env}, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert stand.calls().count("sbatch") == 1
    assert sum("4 runs in 4 jobs handed to Slurm" in words for words in said) == 1
    assert len(lab.job_ids("twice")) == 4
    lab.wait_all("twice", "done", 60)
    check_study(lab.study("twice"))


def test_jobs_run_from_the_code_as_it_was_when_they_were_submitted(lab: Lab) -> None:
    lab.grid("frozen", CATCH)
    lab.run("launch", "grid=frozen", "cluster=test", "cluster.slurm.begin=now+4")
    train = lab.tree / CHEAP
    train.write_text(train.read_text().replace("score = float(self.steps)", "score = -1.0"))
    (lab.tree / "harness" / "job" / "worker.py").write_text("raise SystemExit('edited after submission')")
    results = [lab.study("frozen") / name / "result.json" for name in run_names(lab.study("frozen"))]
    wait_until(lambda: all(result.is_file() for result in results), 60, "all runs done")
    for name in run_names(lab.study("frozen")):
        rows = (lab.study("frozen") / name / "scores.jsonl").read_text().splitlines()
        assert [json.loads(row)["mean"] for row in rows] == [40.0, 80.0, 120.0, 160.0]


def test_an_array_longer_than_the_cluster_allows_is_cut(lab: Lab, stand: Stand) -> None:
    stand.answer("scontrol", 'echo "MaxArraySize            = 3"')
    lab.grid("cut", CATCH)
    lab.run("launch", "grid=cut", "cluster=test", env=stand.env)
    assert stand.calls().count("sbatch") == 2
    ids = lab.job_ids("cut")
    assert [job.partition("_")[2] for job in ids] == ["0", "1", "2", ""]
    lab.wait_all("cut", "done", 60)


def test_a_throttle_and_any_sbatch_option_reach_slurm(lab: Lab) -> None:
    lab.grid("options", CATCH)
    options = ("cluster.array_throttle=2", "cluster.slurm.hold=true", "cluster.slurm.nice=7", "cluster.walltime_min=9")
    planned = lab.run("launch", "grid=options", "cluster=test", *options, "--dry-run").out
    assert "--array=0-3%2" in planned
    assert "--nice=7" in planned
    assert not lab.study("options").exists()
    lab.run("launch", "grid=options", "cluster=test", *options)
    job = lab.job_ids("options")[0].partition("_")[0]
    shown = text_of("scontrol", "show", "job", job)
    for words in (
        "ArrayTaskThrottle=2",
        "Reason=JobHeldUser",
        "Nice=7",
        "TimeLimit=00:09:00",
        "TresPerNode=gres:gpu:fake:1",
    ):
        assert words in shown


def test_the_profile_holds_whatever_the_users_own_sbatch_settings_say(lab: Lab) -> None:
    personal = {"SBATCH_JOB_NAME": "mine", "SBATCH_PARTITION": "low", "SBATCH_TIMELIMIT": "5", "SBATCH_EXPORT": "NONE"}
    lab.grid("one", ONE)
    lab.run("launch", "grid=one", "cluster=test", "cluster.slurm.hold=true", env=personal | slow(0.05))
    (job,) = lab.job_ids("one")
    name, partition, limit = text_of("squeue", "--noheader", f"--jobs={job}", "--format=%j %P %l").split()
    assert name.startswith("hb-one-")
    assert (partition, limit) == ("main", "30:00")
    assert set(lab.labels("one").values()) == {"queued"}
    text_of("scontrol", "release", job)
    lab.wait_all("one", "done", 60)


def test_an_option_that_the_harness_sets_is_refused_with_the_key_to_use(lab: Lab) -> None:
    lab.grid("one", ONE)
    for more in ((), ("--dry-run",)):
        refused = lab.run("launch", "grid=one", "cluster=test", "cluster.slurm.time=5", *more, code=2)
        assert refused.err == "cluster.slurm.time: the harness sets it; set cluster.walltime_min= instead\n"
    assert not lab.study("one").exists()


def test_what_slurm_refuses_is_said_at_once_and_leaves_nothing_behind(lab: Lab) -> None:
    lab.grid("refused", CATCH)
    refused = lab.run("launch", "grid=refused", "cluster=test", "cluster.partition=nowhere", code=None)
    assert refused.code != 0
    assert "invalid partition specified: nowhere" in refused.err
    assert refused.seconds < 5 * slack()
    assert set(lab.labels("refused").values()) == {"planned"}
    lab.run("launch", "grid=refused", "cluster=test")
    lab.wait_all("refused", "done", 60)


def test_what_slurm_refuses_but_keeps_as_a_failed_job_was_not_submitted(lab: Lab) -> None:
    lab.grid("large", CATCH)
    refused = lab.run("launch", "grid=large", "cluster=test", "cluster.mem_gb=500", code=1)
    assert "nothing was submitted" in refused.err
    assert "Requested node configuration is not available" in refused.err
    assert "handed to Slurm" not in refused.out
    assert (
        "FAILED BadConstraints"
        in text_of("squeue", "--states=all", "--noheader", "--format=%j %T %r").split("hb-large")[1]
    )
    assert not lab.job_ids("large")
    assert set(lab.labels("large").values()) == {"planned"}
    lab.run("launch", "grid=large", "cluster=test")
    lab.wait_all("large", "done", 60)


def test_a_refused_resubmission_leaves_a_run_as_it_ended(lab: Lab, stand: Stand) -> None:
    lab.grid("one", ONE)
    lab.run("launch", "grid=one", "cluster=test", env=slow(0.05, **{RUNS[0]: "code"}))
    lab.wait_all("one", "code_error", 60)
    words = ("grid=one", "--state", "code_error")
    for answer in ('exec "$real" "$@"', "exit 1"):  # refused, and failed before Slurm heard of it
        stand.answer("sbatch", answer)
        lab.run("resubmit", *words, "cluster.partition=nowhere", env=stand.env, code=1)
        ended = lab.states("one")[RUNS[0]]
        assert (ended["reason"], ended["job_id"]) == ("code_error", lab.job_ids("one")[0])
        assert "KeyError: 'reward'" in ended["message"]
    stand.calls()
    assert "not submitted again: 1 code_error" in lab.run("launch", "grid=one", "cluster=test", env=stand.env).out
    assert "sbatch" not in stand.calls()
    lab.run("resubmit", *words, env=slow(0.05))
    lab.wait_all("one", "done", 60)
    check_study(lab.study("one"))


HOSTILE = ["a b", "a'b", 'a"b', "$(touch hacked)", "`touch hacked`", "../up", "a/../../b", "-rf", "a;b", "a\nb", ""]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_study_or_task_name_is_refused_and_nothing_is_written(lab: Lab, name: str) -> None:
    lab.grid("plain", CATCH)
    for words in ((f"study={name}",), (f"tasks={name}",), (f"methods={name}",), (f"agent.task={name}",)):
        answer = lab.run("launch", "grid=plain", "cluster=test", *words, code=2)
        assert len(answer.err.strip().splitlines()) <= 2
    assert not list(lab.tree.rglob("hacked"))
    assert not (lab.tree / "runs").exists()


def test_a_hostile_path_is_harmless(lab: Lab, tmp_path: Path) -> None:
    lab.grid("plain", CATCH)
    runs = tmp_path / "my $(touch hacked) 'runs' \"x\" `touch hacked`; touch hacked #"
    lab.run("launch", "grid=plain", "cluster=test", f"runs={runs}")

    def done() -> bool:
        return len(list(runs.glob("plain/*/*/*/result.json"))) == 4

    wait_until(done, 60, "all runs complete in a folder with an odd name")
    assert not list(tmp_path.rglob("hacked"))


def test_an_odd_value_in_a_profile_reaches_no_shell(lab: Lab) -> None:
    lab.grid("plain", CATCH)
    answer = lab.run("launch", "grid=plain", "cluster=test", "cluster.account=$(touch hacked)", code=None)
    assert not list(lab.tree.rglob("hacked"))
    assert answer.code in (0, 1, 2)


def test_folders_of_a_launch_are_private_to_the_user(lab: Lab, cluster: Cluster) -> None:
    lab.grid("private", CATCH)
    lab.run("launch", "grid=private", "cluster=test", "cluster.slurm.hold=true")
    for folder in lab.study("private").glob(".harness/launches/*"):
        for path in (folder, folder / "submitit"):
            assert oct(os.stat(path).st_mode & 0o777) == "0o700"
