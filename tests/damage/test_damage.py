"""A short run of the damage command's cases, and that its judge finds a reader that looks away."""

from pathlib import Path

import pytest

from agent.run import checkpoint
from tests.damage.__main__ import compiled
from tests.damage.judge import HARMLESS, PREVIOUS, REFUSED, SILENT, Subject, copy_of, judge, states, verdict_on
from tests.damage.subject import make


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("damage")
    return make(compiled(folder / "spec"), folder)


def test_no_damage_of_a_hundred_is_read_in_silence(subject: Subject, tmp_path: Path) -> None:
    verdicts = judge(subject, 100, 0, tmp_path)
    assert verdicts.silent == []
    assert {verdict for _, verdict in verdicts.counts} == {PREVIOUS, REFUSED, HARMLESS}


def test_a_reader_that_does_not_look_at_rows_is_found_out(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latest, before = states(subject, tmp_path)
    copy = copy_of(subject.run, tmp_path)
    text = (copy / "metrics.jsonl").read_text()
    (copy / "metrics.jsonl").write_text(text.replace('"env_steps":8', '"env_steps":9', 1))
    assert verdict_on(copy, subject, "metrics.jsonl", latest, before) == REFUSED
    monkeypatch.setattr(checkpoint, "verify_rows", lambda *_, **__: None)
    assert verdict_on(copy, subject, "metrics.jsonl", latest, before) == SILENT
