"""Streams of the published environments: ours repeats them, and the comparison notices when ours is altered."""

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from agent.envs import atari
from agent.envs.atari import Atari
from agent.envs.base import record
from agent.envs.metaworld import Simulator
from tests.golden import atari_stream, envs, metaworld_stream
from tests.golden.__main__ import main
from tests.golden.atari_stream import AtariStream
from tests.golden.metaworld_stream import MetaworldStream
from tests.golden.report import FileReport

STREAMS = Path(__file__).parent / "streams"
PUBLIC = Path(os.environ.get("HARMONY_BENCH_GOLDEN", Path(__file__).parents[3] / "shared" / "data")) / "golden_envs"


def atari_streams():
    return [AtariStream.load(path) for path in sorted(STREAMS.glob("atari_*.npz"))]


def compare_atari(stream, make=Atari):
    report = FileReport(stream.game)
    atari_stream.compare(report, stream, atari_stream.play(stream, make))
    return report


@pytest.mark.parametrize("stream", atari_streams(), ids=lambda stream: f"{stream.game}-{stream.limit_frames}")
def test_our_atari_repeats_the_published_stream_bit_for_bit(stream):
    report = compare_atari(stream)
    assert report.passed, report.lines()
    assert report.compared == 11 and report.largest_error == 0


def test_our_metaworld_repeats_the_published_stream_to_a_millionth():
    report = FileReport("metaworld")
    metaworld_stream.compare(report, MetaworldStream.load(STREAMS / "metaworld_lever_pull.npz"))
    assert report.passed and report.compared == 11, report.lines()


class WrongFrames(Atari):
    """Pools the second and the last frame of a step."""

    def step(self, action):
        code, reward, over = self._actions[action], 0, False
        for frame in range(4):
            reward += self._ale.act(code)
            self._frames += 1
            if frame == 1:
                self._ale.getScreenRGB(self._previous)
            over = self._ale.game_over()
            if over:
                break
        self._ale.getScreenRGB(self._newest)
        limit = self._frames >= self._length
        self._running = not (over or limit)
        image = self._shrink(np.maximum(self._newest, self._previous))
        terminal = over or (limit and self._limit_is_terminal)
        return record({"image": image}, float(reward), last=over or limit, terminal=terminal)


class Changed(Atari):
    """Overrides settings."""

    change: ClassVar[dict[str, Any]] = {}

    def __init__(self, *args, **settings):
        super().__init__(*args, **{**settings, **self.change})


def changed(**settings):
    return type("Changed", (Changed,), {"change": settings})


def fails(make, name):
    """Return the names of the arrays of one stream in which an altered environment differs."""
    return {line.split(":")[0] for line in compare_atari(AtariStream.load(STREAMS / f"{name}.npz"), make).failures}


ALTERED = {
    "it pools other frames": (WrongFrames, "atari_pong", "image_sha256_16"),
    "up to 15 no-ops": (changed(noops=16), "atari_pong_len240", "image_sha256_16"),
    "no no-ops": (changed(noops=0), "atari_pong", "image_sha256_16"),
    "sticky actions": (changed(sticky=0.25), "atari_pong", "image_sha256_16"),
    "three frames a step": (changed(repeat=3), "atari_pong", "image_sha256_16"),
    "the limit comes early": (changed(length=236), "atari_pong_len240", "is_last"),
    "the limit comes late": (changed(length=241), "atari_pong_len240", "is_last"),
    "the limit is the end of the game": (changed(limit_is_terminal=True), "atari_pong_len240", "over"),
    "the limit is never terminal": (
        changed(limit_is_terminal=False),
        "atari_pong_len240",
        "is_last (terminal in the published setting)",
    ),
}


@pytest.mark.parametrize(("make", "name", "noticed_by"), ALTERED.values(), ids=ALTERED)
def test_an_altered_atari_is_noticed(make, name, noticed_by):
    assert noticed_by in fails(make, name)


@pytest.mark.parametrize("how", [cv2.INTER_LINEAR, cv2.INTER_NEAREST])
def test_another_interpolation_is_noticed(how, monkeypatch):
    monkeypatch.setattr(atari, "resize_area", lambda image, size: cv2.resize(image, size[::-1], interpolation=how))
    assert "image_sha256_16" in fails(Atari, "atari_pong")


def test_truncating_instead_of_rounding_is_noticed(monkeypatch):
    exact = atari.resize_area
    monkeypatch.setattr(atari, "resize_area", lambda image, size: exact(image, size) - (exact(image, size) % 2 > 0))
    assert "image (frames)" in fails(Atari, "atari_pong")


def test_an_altered_metaworld_is_noticed():
    class Slow(Simulator):
        def step(self, action):
            return super().step(np.float32(0.999) * action)

    class Drifting(Simulator):
        def settle(self):
            self._mujoco.mj_forward(self.model, self.data)

        def reset(self, goal=None):
            observation = super().reset(goal)
            self._mujoco.mj_step(self.model, self.data)
            return observation

    class OneDraw(Simulator):
        def reset(self, goal=None):
            observation = super().reset(goal)
            if goal is None:
                self._env.np_random.uniform()
            return observation

    stream = MetaworldStream.load(STREAMS / "metaworld_lever_pull.npz")
    noticed = {}
    for make in (Slow, Drifting, OneDraw):
        report = FileReport("metaworld")
        metaworld_stream.compare(report, stream, make)
        noticed[make.__name__] = " ".join(report.failures)
    assert "random_observations" in noticed["Slow"] and "random_observations" in noticed["Drifting"]
    assert "seeded_rand_vecs" in noticed["OneDraw"]


def test_showing_a_reset_does_not_change_what_follows():
    """Drawing needs positions that the simulator has not computed yet; computing them must leave no trace."""
    stream = MetaworldStream.load(STREAMS / "metaworld_lever_pull.npz")

    class Shown(Simulator):
        def reset(self, goal=None):
            observation = super().reset(goal)
            self.settle()
            return observation

    episodes = [(stream.goals[0], stream.random_actions[:50]), (stream.goals[1], stream.random_actions[50:100])]
    plain, shown = (metaworld_stream.play(make("lever_pull", 0), episodes) for make in (Simulator, Shown))
    for key in plain:
        np.testing.assert_array_equal(plain[key], shown[key])


def test_a_file_that_is_no_stream_fails_and_so_does_a_broken_one(tmp_path, capsys):
    (tmp_path / "atari_pong.json").write_text("{")
    (tmp_path / "metaworld_reach.npz").write_bytes(b"no archive")
    (tmp_path / "metaworld_reach.json").write_text("{}")
    np.savez(tmp_path / "dmc_walker.npz", a=np.zeros(1))
    reports = {report.file: report for report in envs.check(tmp_path)}
    assert not any(report.passed for report in reports.values()) and len(reports) == 3
    assert main([str(tmp_path)]) == 1
    assert "not compared: no stream of this name is known" in capsys.readouterr().out


@pytest.mark.skipif(not PUBLIC.exists(), reason=f"{PUBLIC} is not there")
def test_the_public_folder_agrees_and_a_changed_copy_of_it_does_not(tmp_path):
    assert main([str(PUBLIC)]) == 0
    theirs = json.loads((PUBLIC / "atari_pong.json").read_text())
    for change in ({"is_last": [3], "reward": [1.0, *theirs["reward"][1:]]}, {"surprise": [1]}):
        (tmp_path / "atari_pong.json").write_text(json.dumps({**theirs, **change}))
        assert main([str(tmp_path)]) == 1, change


@pytest.mark.skipif(not PUBLIC.exists(), reason=f"{PUBLIC} is not there")
def test_the_suites_own_streams_are_those_of_the_public_folder(tmp_path):
    envs.translate(PUBLIC, tmp_path)
    for path in sorted(tmp_path.iterdir()):
        with np.load(path) as made, np.load(STREAMS / path.name) as kept:
            assert made.files == kept.files and all(np.array_equal(made[key], kept[key]) for key in kept.files)
