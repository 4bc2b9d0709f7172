"""The campaign of kills, small; and that it finds what it looks for."""

import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.contract.run_folder import RunDir
from tests.campaign import __main__ as campaign
from tests.campaign import kills, soak
from tests.campaign.compare import differences
from tests.campaign.trial import HOOK, environment

# What a process does whose command line names the training program: three times the moment, told one by one.
STEPS = """
import threading
for n in range(3):
    open("scores.jsonl", "a").write("row")
    play = threading.Thread(target=lambda: None, name="evaluation")
    play.start()
    play.join()
    print(n, flush=True)
"""


def test_the_seed_decides_the_kills_and_every_kind_and_moment_comes_up() -> None:
    for backend, kinds in kills.KINDS.items():
        drawn = [[kills.choose(dice, n, backend) for n in range(500)] for dice in map(random.Random, (7, 7, 8))]
        assert drawn[0] == drawn[1] != drawn[2]
        assert {kill.kind for kill in drawn[0]} == {kind.name for kind in kinds}
        assert {kill.moment for kill in drawn[0]} == {moment.name for moment in kills.MOMENTS}


@pytest.mark.parametrize("moment", ["scores", "evaluation"])
@pytest.mark.parametrize(("nth", "told"), [(1, ""), (3, "0\n1\n"), (4, "0\n1\n2\n")])
def test_a_process_is_killed_in_the_very_step_that_was_ordered(
    tmp_path: Path, moment: str, nth: int, told: str
) -> None:
    kill = kills.Kill(5, "agent KILL", moment, nth, 0.0, kills.AGENT[0].signals, ())
    kill.order(tmp_path)
    with environment(HARMONY_CAMPAIGN=str(tmp_path), PYTHONPATH=str(HOOK)):
        words = [sys.executable, "-c", STEPS, "agent.train"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    struck = nth <= 3
    assert (done.returncode, done.stdout) == (-signal.SIGKILL if struck else 0, told), done.stderr
    assert kills.fired(tmp_path, kill) == (kill if struck else None)


def test_a_process_that_outlives_its_pool_leaves_a_kill_of_the_pool_to_the_next(tmp_path: Path) -> None:
    kill = kills.Kill(5, "pool KILL", "scores", 1, 0.0, kills.POOL[0].signals, ())
    kill.order(tmp_path)
    with environment(HARMONY_CAMPAIGN=str(tmp_path), PYTHONPATH=str(HOOK)):
        subprocess.run([sys.executable, "-c", STEPS, "agent.train"], cwd=tmp_path, capture_output=True, check=True)
    assert kills.fired(tmp_path, kill) is None
    assert (tmp_path / "order.json").exists()


def look(processes: int = 3, descriptors: int = 9, rss_mb: float = 30.0, temporary: int = 2) -> soak.Look:
    return soak.Look(processes, descriptors, rss_mb, temporary, 0)


def test_the_soak_names_what_grows_and_nothing_else() -> None:
    assert soak.grown([look(processes=n % 3, temporary=n % 2) for n in range(60)]) == []
    leaks = [look(descriptors=9 + n, rss_mb=30 + n / 2) for n in range(60)]
    assert [what.partition(":")[0] for what in soak.grown(leaks)] == ["descriptors", "rss_mb"]


@pytest.mark.slow
def test_short_runs_with_kills_leave_nothing_behind(tmp_path: Path) -> None:
    figures = soak.soak(6, 1, tmp_path / "soak")
    assert figures["bad"] == []
    assert figures["kills"] > 0


@pytest.mark.slow
def test_killed_runs_end_as_undisturbed_ones_and_a_changed_bit_is_found(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    words = ["--kills", "3", "--seed", "5", "--cases", "catch", "--work", str(tmp_path), "--json", str(figures)]
    assert campaign.main(words) == 0
    told = json.loads(figures.read_text())
    assert told["kills"] == 3 == sum(told["by moment"].values())
    assert (told["different"], told["stuck"]) == (0, 0)
    whole = RunDir(tmp_path / "whole-catch/runs/catch/catch/harmony_dreamerv3/seed-0")
    other = RunDir(Path(shutil.copytree(whole.path, tmp_path / "other")))
    assert differences(other, whole) == []
    for path, old, new in (
        (other.scores, b'"lengths":[7', b'"lengths":[8'),
        (other.metrics, b'"updates":11', b'"updates":12'),
        (other.result, b'"env_steps": 1000', b'"env_steps": 1001'),
    ):
        text = path.read_bytes()
        path.write_bytes(text.replace(old, new, 1))
        assert len(differences(other, whole)) == 1, path
        path.write_bytes(text)
