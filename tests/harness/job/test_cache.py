"""The shared compilation cache."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.job.cache import Cache, remove_left, shared


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def own(cache: Cache) -> Path:
    assert cache.own is not None
    return cache.own


def shared_names(device: str = "cpu") -> list[str]:
    with shared(device) as folder:
        return sorted(os.listdir(folder))


def test_entries_travel_from_one_job_to_the_next(scratch: Path) -> None:
    first = Cache.open("cpu", str(scratch))
    (own(first) / "jit_update-cache").write_bytes(b"compiled")
    assert first.publish(settled_s=0) == 1
    assert first.publish(settled_s=0) == 0
    first.close()
    second = Cache.open("cpu", str(scratch))
    assert (own(second) / "jit_update-cache").read_bytes() == b"compiled"
    second.close()
    assert list(scratch.iterdir()) == []


def test_an_entry_still_being_written_or_empty_is_not_published(scratch: Path) -> None:
    cache = Cache.open("cpu", str(scratch))
    for name in ("fresh", "settled"):
        (own(cache) / name).write_bytes(b"x")
    past = time.time() - 60
    (own(cache) / "empty").write_bytes(b"")
    for name in ("empty", "settled"):
        os.utime(own(cache) / name, (past, past))
    assert cache.publish(settled_s=10) == 1
    assert shared_names() == ["settled"]
    cache.close()


def test_what_a_killed_job_left_half_published_is_removed_a_day_later(scratch: Path) -> None:
    cache = Cache.open("cpu", str(scratch))
    with shared("cpu") as folder:
        for name, age in ((".0123456789ab.tmp", 2 * 86400), (".ba9876543210.tmp", 60), (".notes", 2 * 86400)):
            os.close(os.open(name, os.O_CREAT, dir_fd=folder))
            os.utime(name, (time.time() - age, time.time() - age), dir_fd=folder)
    cache.publish()
    assert shared_names() == [".ba9876543210.tmp", ".notes"]
    cache.close()


def test_other_devices_have_other_caches() -> None:
    with shared("cpu") as one, shared("NVIDIA H100 80GB HBM3") as other:
        assert os.fstat(one).st_ino != os.fstat(other).st_ino


def test_an_unusable_home_costs_nothing_but_time(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cache = Cache.open("cpu", str(scratch))
    (own(cache) / "entry").write_bytes(b"x")
    assert cache.publish(settled_s=0) == 0
    cache.close()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("kind", ["missing", "a file", "everybody's"])
def test_an_unusable_scratch_costs_the_cache_and_not_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    place = tmp_path / kind
    if kind == "a file":
        place.write_text("")
    if kind == "everybody's":
        place.mkdir()
        place.chmod(0o777)
    cache = Cache.open("cpu", str(place))
    assert cache.own is None
    assert cache.publish(settled_s=0) == 0
    cache.close()
    assert f"scratch={place}: no copy of the compilation cache" in capsys.readouterr().err
    assert not place.is_dir() or list(place.iterdir()) == []


HOLD = """
import subprocess, sys
from harness.job.cache import Cache
cache = Cache.open("cpu", sys.argv[1])
if sys.argv[2] == "child":
    child = subprocess.Popen(["sleep", "600"], pass_fds=(cache.lock,))
    print(child.pid, flush=True)
else:
    print(0, flush=True)
sys.stdin.read()
"""


def hold(scratch: Path, *, child: bool) -> tuple[subprocess.Popen[str], int]:
    job = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(scratch), "child" if child else "alone"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    return job, int(job.stdout.readline())


def test_the_copy_of_a_killed_job_goes_with_the_next_one_and_that_of_a_living_one_stays(scratch: Path) -> None:
    with contextlib.ExitStack() as stack:
        jobs = [hold(scratch, child=child)[0] for child in (False, False)]
        for job in jobs:
            stack.enter_context(job)
            stack.callback(job.kill)
        assert len(list(scratch.iterdir())) == 2
        remove_left(str(scratch))
        assert len(list(scratch.iterdir())) == 2
        jobs[0].kill()
        jobs[0].wait()
        mine = Cache.open("cpu", str(scratch))
        assert len(list(scratch.iterdir())) == 2
        mine.close()
        assert len(list(scratch.iterdir())) == 1


def test_a_copy_is_kept_as_long_as_a_process_of_its_job_lives(scratch: Path) -> None:
    job, child = hold(scratch, child=True)
    with job:
        job.kill()
        job.wait()
        remove_left(str(scratch))
        assert len(list(scratch.iterdir())) == 1
        os.kill(child, 9)
        deadline = time.monotonic() + 10
        while list(scratch.iterdir()) and time.monotonic() < deadline:
            remove_left(str(scratch))
        assert list(scratch.iterdir()) == []


def test_only_copies_that_jobs_have_made_are_removed(scratch: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / ".lock").write_text("")
    (mine / "thesis.tex").write_text("")
    (scratch / "harmony-bench-xla-linked__").symlink_to(mine)
    (scratch / "harmony-bench-xla-nolock__").mkdir()
    (scratch / "harmony-bench-xla-nolock__" / "thesis.tex").write_text("")
    (scratch / "harmony-bench-xla-link_in_").mkdir()
    (scratch / "harmony-bench-xla-link_in_" / ".lock").symlink_to(mine / ".lock")
    full = scratch / "harmony-bench-xla-folders_"
    (full / "chapters").mkdir(parents=True)
    (full / ".lock").write_text("")
    (scratch / "harmony-bench-notes").mkdir()
    before = sorted(scratch.rglob("*"))
    remove_left(str(scratch))
    assert sorted(scratch.rglob("*")) == before
    assert sorted(path.name for path in mine.iterdir()) == [".lock", "thesis.tex"]


def test_an_entry_that_is_a_link_is_not_followed(scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    cache = Cache.open("cpu", str(scratch))
    with shared("cpu") as folder:
        os.symlink(tmp_path / "secret", "jit_a-cache", dir_fd=folder)
    (own(cache) / "jit_b-cache").symlink_to(tmp_path / "secret")
    assert cache.publish(settled_s=0) == 0
    other = Cache.open("cpu", str(scratch))
    assert [path.name for path in own(other).iterdir()] == [".lock"]
    cache.close()
    other.close()
