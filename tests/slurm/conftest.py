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
    was_up = subprocess.run([SCRIPT, "status"], capture_output=True, check=False).returncode == 0
    started = subprocess.run([SCRIPT, "start"], capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = started.stdout.strip().removeprefix("export SLURM_CONF=")
    yield Cluster()
    if not was_up:
        subprocess.run([SCRIPT, "stop"], capture_output=True, check=True)
    if before is None:
        del os.environ["SLURM_CONF"]
    else:
        os.environ["SLURM_CONF"] = before


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with all daemons up, and an empty queue afterwards."""
    running_cluster.control("start")
    yield running_cluster
    running_cluster.control("start")
    running_cluster.clear()


@pytest.fixture
def lab(cluster: Cluster, tmp_path: Path) -> Lab:
    """A copy of the code in which training is the cheap stand-in."""
    return Lab(make_tree(tmp_path, cheap=True), environment())


@dataclass(frozen=True)
class Beside:
    """Studies whose events take minutes of waiting: launched before all tests, looked at by the last."""

    lab: Lab


@pytest.fixture(scope="session")
def beside(running_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Beside:
    """Two studies on n4 that reach their time limit of a minute: one hears the signal before it, one does not."""
    lab = Lab(make_tree(tmp_path_factory.mktemp("beside"), cheap=True), environment())
    words = ("cluster=test", "cluster.walltime_min=1", "cluster.slurm.nodelist=n4")
    for name, tick_s, more in (
        ("beside-graceful", 4, "cluster.partition=short"),
        ("beside-hard", 12, "cluster.slurm.signal=B:URG@1"),  # a signal that says nothing to the job
    ):
        lab.grid(name, PAIR)
        lab.run("launch", f"grid={name}", *words, more, env={"CHEAP": json.dumps({"tick_s": tick_s})})
    return Beside(lab)


@pytest.fixture
def real_lab(cluster: Cluster, tmp_path: Path) -> Lab:
    """A copy of the code as it is."""
    return Lab(make_tree(tmp_path, cheap=False), environment())
