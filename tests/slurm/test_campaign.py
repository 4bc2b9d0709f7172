"""The campaign of kills on the real Slurm, small."""

import json
from pathlib import Path

import pytest

from tests.campaign import __main__ as campaign
from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm


@pytest.mark.slow
def test_runs_killed_and_requeued_on_slurm_end_as_undisturbed_ones(cluster: Cluster, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    words = ["--kills", "4", "--seed", "25", "--cases", "catch", "--backends", "slurm"]
    assert campaign.main([*words, "--work", str(tmp_path / "work"), "--json", str(figures)]) == 0
    told = json.loads(figures.read_text())
    assert told["by backend"] == {"slurm": 4}
    assert (told["different"], told["stuck"]) == (0, 0)
