"""The real Slurm of slurm/testcluster: started once where it can be, and the tests skip where it cannot."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import PROGRAMS, SCRIPT, Cluster, Lab, environment, make_tree


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


@pytest.fixture
def real_lab(cluster: Cluster, tmp_path: Path) -> Lab:
    """A copy of the code as it is."""
    return Lab(make_tree(tmp_path, cheap=False), environment())
