"""slurm/testcluster itself: started twice, stopped, without accounting, and jobs told apart when ids start again."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import PAIR, RUNS, SCRIPT, Cluster, Lab, check_study, environment, make_tree, slack, wait_until

pytestmark = pytest.mark.slurm


def control(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *words], env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def second(running_cluster: Cluster) -> Iterator[dict[str, str]]:
    """A second cluster beside the first, without accounting, that keeps memory limits by Slurm's own poll."""
    folder = Path(tempfile.mkdtemp(prefix="harmony-bench-second-"))
    env = {
        "HARMONY_BENCH_SLURM_DIR": str(folder),
        "HARMONY_BENCH_SLURM_PORT": "27800",
        "HARMONY_BENCH_SLURM_CGROUP": "none",
        "SLURM_CONF": str(folder / "slurm.conf"),
    }
    started = control("start", "--no-accounting", env=env)
    assert started.returncode == 0, started.stderr
    assert started.stdout == f"export SLURM_CONF={folder}/slurm.conf\n"
    yield env
    control("stop", "--wipe", env=env)
    assert not folder.exists()


def labels_until(lab: Lab, name: str, expected: dict[str, str], seconds: float) -> None:
    wait_until(lambda: lab.labels(name) == expected, seconds, f"{expected}", 1)


def test_starting_what_is_up_changes_nothing_and_status_tells(cluster: Cluster) -> None:
    before = control("status", env={})
    assert before.returncode == 0
    assert before.stdout.count(" up (pid ") == 8
    assert control("start", env={}).returncode == 0
    assert control("status", env={}).stdout.split("PARTITION")[0] == before.stdout.split("PARTITION")[0]


def test_a_daemon_that_died_is_seen_and_started_again(cluster: Cluster) -> None:
    cluster.control("kill", "n3")
    shown = control("status", env={})
    assert shown.returncode == 3
    assert "n3 down" in shown.stdout
    assert control("start", env={}).returncode == 0
    assert control("status", env={}).returncode == 0


def test_wrong_words_are_refused_with_what_is_known() -> None:
    assert control("begin", env={}).returncode == 2
    assert "it takes --no-accounting" in control("start", "--fast", env={}).stderr
    odd = control("start", env={"HARMONY_BENCH_SLURM_CGROUP": "v9", "HARMONY_BENCH_SLURM_DIR": "/nowhere"})
    assert "it can be auto, v1 or none" in odd.stderr


def test_without_accounting_states_and_reasons_still_come_out_right(second: dict[str, str], tmp_path: Path) -> None:
    lab = Lab(make_tree(tmp_path / "tree"), environment() | second)
    lab.grid("pair", PAIR)
    faults = {"CHEAP": '{"tick_s": 0.2, "faults": {"catch/cheap/seed-0": "memory"}}'}
    lab.run("launch", "grid=pair", "cluster=test", "cluster.mem_gb=0.3", env=faults)
    labels_until(lab, "pair", {RUNS[0]: "host_oom", RUNS[1]: "done"}, 60)
    lab.run("resubmit", "grid=pair", "--fix", env={"CHEAP": '{"tick_s": 1}'})
    lab.wait_running("pair", 60)
    lab.run("cancel", "grid=pair")
    labels_until(lab, "pair", {RUNS[0]: "cancelled", RUNS[1]: "done"}, 60)
    lab.run("resubmit", "grid=pair", "--state", "cancelled", env={"CHEAP": '{"tick_s": 0.05}'})
    lab.wait_all("pair", "done", 60)
    check_study(lab.study("pair"))


def test_a_job_of_a_new_cluster_with_an_old_id_is_not_taken_for_ours(second: dict[str, str], tmp_path: Path) -> None:
    lab = Lab(make_tree(tmp_path / "tree"), environment() | second)
    lab.grid("pair", PAIR)
    lab.run("launch", "grid=pair", "cluster=test", "cluster.slurm.hold=true")
    assert set(lab.labels("pair").values()) == {"queued"}
    first = lab.job_ids("pair")[0].partition("_")[0]
    control("stop", "--wipe", env=second)
    assert control("start", "--no-accounting", env=second).returncode == 0
    others = ["sbatch", "--parsable", "--array=0-1", "--output=/dev/null", "--hold", "--wrap=true"]
    stranger = subprocess.run(others, env={**os.environ, **second}, capture_output=True, text=True, check=True)
    assert stranger.stdout.strip() == first
    wait_until(lambda: set(lab.labels("pair").values()) == {"cancelled"}, 60, "told apart", 2)
    lab.run("resubmit", "grid=pair", "--state", "cancelled", "cluster.slurm.hold=false")
    lab.wait_all("pair", "done", 60)
    check_study(lab.study("pair"))


def test_a_job_of_a_new_cluster_with_an_old_id_is_told_apart_in_its_own_study(
    second: dict[str, str], tmp_path: Path
) -> None:
    lab = Lab(make_tree(tmp_path / "tree"), environment() | second)
    lab.grid("pair", PAIR)
    words = ("grid=pair", "cluster=test", "cluster.slurm.hold=true")
    lab.run("launch", *words, "methods=cheap")
    control("stop", "--wipe", env=second)
    assert control("start", "--no-accounting", env=second).returncode == 0
    lab.run("launch", *words, "methods=cheap_too")
    assert len(set(lab.job_ids("pair"))) == 1
    assert lab.labels("pair") == {RUNS[0]: "cancelled", RUNS[1]: "queued"}
    assert "0 of 1 runs cancelled" in lab.run("cancel", "grid=pair", "methods=cheap").out
    lab.run("resubmit", "grid=pair", "--state", "cancelled", "cluster.slurm.hold=false")
    release = ["scontrol", "release", lab.job_ids("pair")[1]]
    subprocess.run(release, env={**os.environ, **second}, capture_output=True, check=True)
    lab.wait_all("pair", "done", 60)
    check_study(lab.study("pair"))


def test_it_starts_within_a_minute(second: dict[str, str]) -> None:
    control("stop", env=second)
    began = time.monotonic()
    assert control("start", env=second).returncode == 0  # with accounting, from nothing: the database is made
    assert time.monotonic() - began < 60 * slack()


def test_a_slurmdbd_that_ends_as_it_starts_is_started_again(running_cluster: Cluster, tmp_path: Path) -> None:
    """As one sometimes does beside a database that has only just come up; here its first start is a stand-in's."""
    folder, programs = Path(tempfile.mkdtemp(prefix="harmony-bench-third-")), tmp_path / "bin"
    programs.mkdir()
    first = programs / "slurmdbd"
    first.write_text(
        f"#!/bin/bash\nif [[ ! -e {tmp_path}/started ]]; then\n"
        f"  touch {tmp_path}/started; echo $BASHPID > {folder}/slurmdbd.pid; echo 'fatal: no answer'; exit 0\n"
        f'fi\nexec {shutil.which("slurmdbd")} "$@"\n'
    )
    first.chmod(0o755)
    env = {
        "HARMONY_BENCH_SLURM_DIR": str(folder),
        "HARMONY_BENCH_SLURM_PORT": "27900",
        "HARMONY_BENCH_SLURM_CGROUP": "none",
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    try:
        started = control("start", env=env)
        assert started.returncode == 0, started.stderr
        assert "slurmdbd ended as it started; starting it again" in started.stderr
        assert "accounting: yes" in started.stderr
    finally:
        control("stop", "--wipe", env=env)
