import pytest

from agent.contract import run_folder
from agent.contract.files import RecordError
from agent.contract.run_folder import RunDir, RunKey, Status


def test_run_folder_names_its_identity(tmp_path):
    key = RunKey("atari_pong", "harmony_dreamerv3", 3)
    folder = key.folder(tmp_path)
    assert folder.relative_to(tmp_path).as_posix() == "atari_pong/harmony_dreamerv3/seed-3"
    assert RunKey.of(folder) == key


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "$(x)", "a'b", "../up", "-rf", ".hidden", "a..b", "x" * 200])
def test_names_that_could_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(RecordError, match="only letters, digits"):
        RunKey(name, "dreamerv3", 0).folder(tmp_path)


def test_status_round_trips_and_damage_is_named(tmp_path):
    run = RunDir(tmp_path)
    assert run_folder.read_status(run) is None
    run_folder.write_status(run, Status(state="running", env_steps=7, heartbeat=1.5))
    status = run_folder.read_status(run)
    assert status is not None
    assert (status.env_steps, status.heartbeat) == (7, 1.5)
    run.status.write_text('{"state": "sleeping"}')
    with pytest.raises(RecordError, match="state is 'sleeping'"):
        run_folder.read_status(run)
    run.status.write_text("{")
    with pytest.raises(RecordError, match="not JSON"):
        run_folder.read_status(run)


def test_attempts_are_numbered_without_reuse(tmp_path):
    run = RunDir(tmp_path / "run")
    assert [run.new_attempt()[0] for _ in range(3)] == [1, 2, 3]
    assert run.attempt_numbers() == [1, 2, 3]


def test_find_runs_sorts_seeds_as_numbers(tmp_path):
    for seed in (10, 9):
        (tmp_path / "catch" / "dreamerv3" / f"seed-{seed}").mkdir(parents=True)
    (tmp_path / "catch" / "dreamerv3" / "notes").mkdir()
    assert [folder.name for folder in run_folder.find_runs(tmp_path)] == ["seed-9", "seed-10"]
