"""Checkpoints: what they hold, and what becomes of them when something happens to their files."""

import contextlib
import json
import re
import shutil
import subprocess
import threading
from typing import Any

import numpy as np
import pytest

from agent.contract import files, run_folder, sealed
from agent.run import checkpoint
from agent.run.loop import Loop
from agent.run.member import Member
from tests.agent.loops import config_of, same_arrays, scores_of, state_of, train
from tests.agent.run.test_overlap import Held


class SlowDisk:
    """A disk that, once held, writes no checkpoint before it is let go."""

    def __init__(self, monkeypatch):
        self.let_go = threading.Event()
        self.let_go.set()
        monkeypatch.setattr(sealed, "replacing", self.replacing)

    @contextlib.contextmanager
    def replacing(self, path):
        self.let_go.wait(60)
        with files.replacing(path) as file:
            yield file


@pytest.mark.parametrize("overlap", ["on", "off"])
def test_a_checkpoint_on_a_slow_disk_holds_the_moment_at_which_it_was_made(programs, tmp_path, monkeypatch, overlap):
    """Training goes on for four episodes, an evaluation's score and a row of metrics, before the writer gets on."""
    configs = [config_of(overlap=overlap, more={"run.log_every": 100})]
    with monkeypatch.context() as patch:
        if overlap == "on":
            Held(patch)
        _, expected = train(programs, tmp_path / "stopped", configs, stop_at=83)
    assert bool(scores_of(expected[0])) == (overlap == "off")
    original = Loop._round

    def round_(loop):
        member = loop.active[0]
        if member.steps == 83:
            member.await_checkpoint()  # the one before the first round
            disk.let_go.clear()
            loop._checkpoint([member])
            unreported.extend(member.tally.ended)
            if held:
                held.let_go.set()
                loop.playing.evaluation.wait(lambda: False)
        if member.steps == 115:
            disk.let_go.set()
            raise KeyError("a hard kill")
        original(loop)

    unreported = []
    held = Held(monkeypatch) if overlap == "on" else None
    disk = SlowDisk(monkeypatch)
    monkeypatch.setattr(Loop, "_round", round_)
    outcomes, members = train(programs, tmp_path / "killed", configs)
    assert outcomes == ["failed"]
    assert (members[0].steps, len(scores_of(members[0])), members[0].metrics.count) == (115, 1, 1)
    assert unreported
    (arrays, values), (others, wanted) = state_of(members[0]), state_of(expected[0])
    assert arrays.keys() == others.keys()
    for name in others:
        np.testing.assert_array_equal(arrays[name], others[name], err_msg=name)
    assert timeless(values) == timeless(wanted)


CLOCK = ("walltime_s", "logged", "rows", "seal", "state")


def timeless(values):
    """Return a checkpoint's values without those that a clock made."""
    plain = {name: value for name, value in values.items() if name not in CLOCK}
    for name in ("last_score", "evaluating"):
        plain[name] = {k: v for k, v in (values[name] or {}).items() if k not in ("walltime_s", "evaluation_s")}
    return plain


@pytest.fixture(scope="module")
def stopped(programs, tmp_path_factory):
    """A run stopped twice: its checkpoint at step 90 and the one before, at 83."""
    folder = tmp_path_factory.mktemp("stopped")
    for step in (83, 90):
        assert train(programs, folder, [config_of()], stop_at=step)[0] == ["stopped"]
    return folder


def resumed(programs, folder) -> tuple[str, Member, Any, list[Any]]:
    """Train a run to its end and return its outcome, its member, its last status and what it noted of damage."""
    outcomes, members = train(programs, folder, [config_of()])
    status = run_folder.read_status(members[0].run)
    noted = (files.read_json(members[0].run.provenance) or {}).get("damaged", [])
    return outcomes[0], members[0], status, noted


def latest_state(folder):
    return folder / json.loads((folder / "latest.json").read_text())["state"]["name"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def change_a_digit(path):
    path.write_text(path.read_text().replace('"env_steps": 90', '"env_steps": 98'))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "a state cut by a byte": (lambda f: cut(latest_state(f)), r"state-000000090-3\.npz: is \d+ bytes long"),
    "a changed digit": (lambda f: change_a_digit(f / "latest.json"), "latest.json: is not what was written there"),
    "no index": (lambda f: (f / "latest.json").unlink(), "latest.json: cannot be opened"),
    "an empty index": (lambda f: (f / "latest.json").write_bytes(b""), "latest.json: not JSON"),
    "the state before": (
        lambda f: shutil.copy(f / "state-000000083-2.npz", latest_state(f)),
        r"state-000000090-3\.npz: is ",
    ),
    "a flipped bit": (lambda f: flip(latest_state(f)), r"90-3\.npz: is not what its checkpoint has written \(SHA-256"),
    "a missing chunk": (lambda f: max(f.glob("replay/*")).unlink(), "replay/000000083.npz: cannot be opened"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_checkpoint_before_a_damaged_one_is_used_and_the_loss_said(
    whole, programs, stopped, tmp_path, damage, capsys
):
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    spoil, words = DAMAGES[damage]
    spoil(tmp_path / "0-harmony_dreamerv3/checkpoint")
    outcome, member, _, noted = resumed(programs, tmp_path)
    assert outcome == "done"
    assert same_arrays(member, whole)
    assert scores_of(member) == scores_of(whole)
    assert [(event["env_steps"], event["lost_steps"]) for event in noted] == [(83, 7)]
    assert re.search(words, noted[0]["damage"])
    assert "goes on from the checkpoint before, at step 83: 7 steps lost" in capsys.readouterr().err


REFUSED = {
    "both indexes": lambda f: [(f / name).unlink() for name in ("latest.json", "previous.json")],
    "rows": lambda f: (f.parent / "scores.jsonl").write_bytes(b""),
    "no checkpoint folder": lambda f: shutil.rmtree(f),
    "the first chunk": lambda f: cut(min(f.glob("replay/*"))),
    "a linked index": lambda f: [link(f / name) for name in ("latest.json", "previous.json")],
    "an earlier format": lambda f: [
        (f / "previous.json").unlink(),
        (f / "latest.json").write_text('{"format": 1, "state": "state-000000090-1.npz", "chunks": []}'),
    ],
}


def link(path):
    path.rename(path.with_suffix(".aside"))
    path.symlink_to(path.with_suffix(".aside").name)


@pytest.mark.parametrize("damage", REFUSED)
def test_a_run_without_a_usable_checkpoint_is_refused_by_name_and_begins_only_when_told(
    programs, stopped, tmp_path, damage
):
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    run = tmp_path / "0-harmony_dreamerv3"
    REFUSED[damage](run / "checkpoint")
    before = sorted(path.name for path in run.rglob("*.npz"))
    outcome, _, status, _ = resumed(programs, tmp_path)
    assert (outcome, status.reason) == ("failed", "checkpoint")
    assert "no checkpoint before it can be used; to start this run afresh: rm -r " in status.message
    assert sorted(path.name for path in run.rglob("*.npz")) == before
    subprocess.run(["rm", "-rf", *re.findall(r"\S+(?:checkpoint|jsonl)(?=[ ,])", status.message.split("rm -r")[1])])
    outcomes, members = train(programs, tmp_path, [config_of()], stop_at=70)
    assert outcomes == ["stopped"]
    assert state_of(members[0])[1]["number"] == 2  # one before the first round, one at the stop


@pytest.mark.parametrize("other", [config_of(seed=1), config_of(harmony=False)], ids=["seed", "method"])
def test_the_state_of_another_run_is_never_continued(programs, stopped, tmp_path, other):
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    train(programs, tmp_path / "others", [other], stop_at=90)
    ours, theirs = tmp_path / "0-harmony_dreamerv3", next((tmp_path / "others").iterdir())
    shutil.rmtree(ours / "checkpoint")
    shutil.copytree(theirs / "checkpoint", ours / "checkpoint")
    outcome, _, status, _ = resumed(programs, tmp_path)
    assert (outcome, status.reason) == ("failed", "checkpoint")
    assert "latest.json: belongs to another run (task catch, method" in status.message


def test_a_run_whose_result_is_lost_is_completed_from_its_last_checkpoint(whole, programs, tmp_path):
    shutil.copytree(whole.run.path, tmp_path / "0-harmony_dreamerv3")
    (tmp_path / "0-harmony_dreamerv3/result.json").unlink()
    outcome, member, _, _ = resumed(programs, tmp_path)
    assert outcome == "done"
    expected, result = (files.read_json(run.result) or {} for run in (whole.run, member.run))
    assert (result["rows"], result["final_score"]) == (expected["rows"], expected["final_score"])


@pytest.mark.parametrize("what", ["a file of the user's", "a link in the folder's place"])
def test_dropping_replay_deletes_chunks_and_nothing_else(tmp_path, what):
    folder, elsewhere = tmp_path / "checkpoint", tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.mkdir()
    names = ["000000000.npz", "notes.npz"]
    if what == "a file of the user's":
        (folder / "replay").mkdir()
        kept = ["notes.npz"]
    else:
        (folder / "replay").symlink_to(elsewhere)
        kept = names
    for name in names:
        (folder / "replay" / name).write_text("x")
    sealed.write_sealed(folder / "latest.json", {"state": {"name": "state-1.npz"}})
    checkpoint.drop_replay(folder)
    assert sorted(path.name for path in folder.glob("replay/*")) == kept
