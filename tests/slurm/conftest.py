"""The real Slurm of slurm/testcluster: started once where it can be, and the tests skip where it cannot."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.slurm.cluster import PAIR, PROGRAMS, SCRIPT, Cluster, Lab, environment, make_tree


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.skip("the test cluster's daemons need root")
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; run slurm/testcluster install")
    with pytest.MonkeyPatch.context() as patch:
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        if number:  # beside the first worker's cluster; nodes of one name would share their cgroups
            patch.setenv("HARMONY_BENCH_SLURM_DIR", f"/tmp/harmony-bench-slurm-{number}")
            patch.setenv("HARMONY_BENCH_SLURM_PORT", str(26800 + 100 * number))
            patch.setenv("HARMONY_BENCH_SLURM_CGROUP", "none")
        was_up = subprocess.run([SCRIPT, "status"], capture_output=True, check=False).returncode == 0
        started = subprocess.run([SCRIPT, "start"], capture_output=True, text=True, check=False)
        assert started.returncode == 0, started.stderr
        patch.setenv("SLURM_CONF", started.stdout.strip().removeprefix("export SLURM_CONF="))
        yield Cluster()
        if not was_up:
            subprocess.run([SCRIPT, "stop"], capture_output=True, check=True)


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with all daemons up, and an empty queue afterwards."""
    running_cluster.control("start")
    yield running_cluster
    running_cluster.control("start")
    running_cluster.clear()


@pytest.fixture
def lab(cluster: Cluster, tmp_path: Path) -> Lab:
    """A copy of the code with the cheap training beside it."""
    return Lab(make_tree(tmp_path), environment())


@dataclass(frozen=True)
class Beside:
    """Studies whose events take minutes of waiting: launched before all tests, looked at by the last."""

    lab: Lab


@pytest.fixture(scope="session")
def beside(running_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Beside:
    """Two studies on n4 that reach their time limit of a minute, one hearing the signal before it and one not, and one
    that is held, the first element of its array cancelled while it waits.
    """
    lab = Lab(make_tree(tmp_path_factory.mktemp("beside")), environment())
    words = ("cluster=test", "cluster.walltime_min=1", "cluster.slurm.nodelist=n4")
    for name, tick_s, more in (
        ("beside-graceful", 4, "cluster.partition=short"),
        ("beside-hard", 12, "cluster.slurm.signal=B:URG@1"),  # a signal that says nothing to the job
    ):
        lab.grid(name, PAIR)
        lab.run("launch", f"grid={name}", *words, more, env={"CHEAP": json.dumps({"tick_s": tick_s})})
    lab.grid("beside-held", PAIR)
    lab.run("launch", "grid=beside-held", "cluster=test", "cluster.slurm.hold=true")
    subprocess.run(["scancel", lab.job_ids("beside-held")[0]], check=True)
    return Beside(lab)
