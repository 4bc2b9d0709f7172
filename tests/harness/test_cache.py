"""The shared compilation cache."""

import os
import time
from pathlib import Path

import pytest

from harness.cache import Cache, shared_folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "scratch").mkdir()


def test_entries_travel_from_one_job_to_the_next(tmp_path: Path) -> None:
    first = Cache.open("cpu", str(tmp_path / "scratch"))
    (first.own / "jit_update-cache").write_bytes(b"compiled")
    assert first.publish(settled_s=0) == 1
    assert first.publish(settled_s=0) == 0
    first.close()
    second = Cache.open("cpu", str(tmp_path / "scratch"))
    assert (second.own / "jit_update-cache").read_bytes() == b"compiled"
    second.close()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_an_entry_still_being_written_or_empty_is_not_published(tmp_path: Path) -> None:
    cache = Cache.open("cpu", str(tmp_path / "scratch"))
    (cache.own / "fresh").write_bytes(b"x")
    (cache.own / "empty").write_bytes(b"")
    (cache.own / "settled").write_bytes(b"x")
    past = time.time() - 60
    for name in ("empty", "settled"):
        os.utime(cache.own / name, (past, past))
    assert cache.publish(settled_s=10) == 1
    assert [path.name for path in cache.shared.iterdir()] == ["settled"]


def test_other_devices_have_other_caches() -> None:
    assert shared_folder("cpu") != shared_folder("NVIDIA H100 80GB HBM3")


def test_an_unusable_home_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cache = Cache.open("cpu", str(tmp_path / "scratch"))
    (cache.own / "entry").write_bytes(b"x")
    assert cache.publish(settled_s=0) == 0
    cache.close()


def test_a_copy_left_by_a_killed_job_is_removed_in_time(tmp_path: Path) -> None:
    first, second = (Cache.open("cpu", str(tmp_path / "scratch")) for _ in range(2))
    past = time.time() - 30 * 86400
    os.utime(first.own, (past, past))
    third = Cache.open("cpu", str(tmp_path / "scratch"))
    assert sorted((tmp_path / "scratch").iterdir()) == sorted([second.own, third.own])
