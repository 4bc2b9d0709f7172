"""Checkpoints: what they hold, and what becomes of them when something happens to their files."""

import contextlib
import threading

import numpy as np
import pytest

from agent import checkpoint, files
from agent.loop import Loop
from tests.agent.loops import config_of, scores_of, state_of, train
from tests.agent.test_overlap import Held


class SlowDisk:
    """A disk that writes no checkpoint before it is let go."""

    def __init__(self, monkeypatch):
        self.let_go = threading.Event()
        monkeypatch.setattr(checkpoint, "replacing", self.replacing)

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
        member = loop.going[0]
        if member.steps == 83:
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
    assert (members[0].steps, len(scores_of(members[0])), members[0].rows["metrics"]) == (115, 1, 1)
    assert unreported
    (arrays, values), (others, wanted) = state_of(members[0]), state_of(expected[0])
    assert arrays.keys() == others.keys()
    for name in others:
        np.testing.assert_array_equal(arrays[name], others[name], err_msg=name)
    assert timeless(values) == timeless(wanted)


def timeless(values):
    """Return a checkpoint's values without those that a clock made."""
    plain = {name: value for name, value in values.items() if name not in ("walltime_s", "logged")}
    for name in ("last_score", "evaluating"):
        plain[name] = {k: v for k, v in (values[name] or {}).items() if k not in ("walltime_s", "evaluation_s")}
    return plain
