"""Links and files of others' in the folder where local pools meet: nothing is followed, nothing but ours is deleted."""

import os
from pathlib import Path

import pytest

from agent.contract.ownership import make_private, opened
from harness import launch
from harness.backend.machine import Machine
from harness.study.folder import Launch
from harness.study.records import LaunchRecord, ProfileRecord
from tests.harness.local import Capture, states

ID = "0000-20260101-000000-abcdef"
NAMES = {"id_ed25519", "known_hosts", "lock", ID}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder of the user's own that nobody may touch."""
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True, mode=0o700)
    for name in NAMES:
        (folder / name).write_text("a private key")
    return folder


def untouched(keys: Path) -> bool:
    return {path.name for path in keys.iterdir() if path.is_file() and path.read_text() == "a private key"} == NAMES


@pytest.mark.parametrize(
    "place", ["machine/harmony-bench-pools-UID", "cache/harmony-bench", "cache/harmony-bench/HERE"]
)
def test_a_launch_works_and_deletes_nothing_behind_a_planted_link(
    tree: Path, grid: str, tmp_path: Path, keys: Path, capsys: Capture, place: str
) -> None:
    machine = Machine.here()
    assert machine is not None
    link = tmp_path / place.replace("UID", str(os.getuid())).replace("HERE", f"pools-{machine.host}")
    make_private(link.parent)
    link.symlink_to(keys)
    runs = tmp_path / "runs"
    assert launch.main([f"grid={grid}", f"runs={runs}", "methods=harmony", "seeds=1"]) == 0
    assert set(states(grid, runs, capsys).values()) == {"done"}
    assert untouched(keys)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = Machine.here()
    assert here is not None
    return here


def made(tmp_path: Path, name: str = ID) -> Launch:
    folder = tmp_path / "study" / ".harness" / "launches" / name
    folder.mkdir(parents=True)
    (folder / "pool.json").write_text('{"pid": 1, "host": "another", "beat": 1.0, "jobs": {}}')
    data = LaunchRecord(id=name, name="hb", created=0.0, code="/", profile=ProfileRecord(kind="local"), packs=[])
    return Launch(folder, data)


def folder_of(machine: Machine) -> Path:
    with machine.folder() as descriptor:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}"))


def test_pools_find_each_other_until_they_leave(machine: Machine, tmp_path: Path) -> None:
    mine, other = made(tmp_path), made(tmp_path, "0001-20260101-000000-abcdef")
    machine.enter(mine)
    machine.enter(other)
    assert {name: state.beat for name, state in machine.others(mine).items()} == {other.id: 1.0}
    machine.leave(other.id)
    assert machine.others(mine) == {}
    assert [path.name for path in folder_of(machine).iterdir()] == [mine.id]


def test_only_a_file_that_a_pool_has_made_is_read_or_removed(machine: Machine, tmp_path: Path, keys: Path) -> None:
    mine, folder = made(tmp_path), folder_of(machine)
    study = tmp_path / "study" / ".harness" / "launches"
    names = [f"{number:04d}-20260101-000000-abcdef" for number in range(2, 9)]
    (folder / names[0]).symlink_to(keys / ID)
    (folder / names[1]).mkdir()
    (folder / names[2]).write_text("notes of my own")
    (folder / names[3]).write_text(str(study / ID))  # another launch's
    os.link(keys / ID, folder / names[4])
    os.mkfifo(folder / names[5])
    (folder / names[6]).write_bytes(b"\0\xff")
    (folder / "notes.txt").write_text(str(study / "notes.txt"))
    assert machine.others(mine) == {}
    for name in [*names, "notes.txt", "../cache", "lock"]:
        machine.leave(name)
    assert len(list(folder.iterdir())) == len(names) + 1
    assert untouched(keys)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_may_write_in_is_not_used(machine: Machine, tmp_path: Path, mode: int) -> None:
    mine, other = made(tmp_path), made(tmp_path, "0001-20260101-000000-abcdef")
    machine.enter(other)
    (tmp_path / "cache" / "harmony-bench").chmod(mode)
    machine.enter(mine)
    machine.leave(other.id)
    assert machine.others(mine) == {}
    with machine.turn():
        pass
    (tmp_path / "cache" / "harmony-bench").chmod(0o700)
    assert [path.name for path in folder_of(machine).iterdir()] == [other.id]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another account")
def test_a_folder_of_another_account_is_not_used(machine: Machine, tmp_path: Path) -> None:
    mine, folder = made(tmp_path), folder_of(machine)
    os.chown(folder, 65534, 65534)
    machine.enter(mine)
    assert list(folder.iterdir()) == []


def test_folders_are_the_users_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(tmp_path / "a" / "b", "c", "d"):
            pass
    finally:
        os.umask(before)
    folders = [tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/c", tmp_path / "a/b/c/d"]
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700] * 4
