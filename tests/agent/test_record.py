import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import record
from agent.record import RecordError, RunDir, RunKey, Status


def test_run_folder_names_its_identity(tmp_path):
    key = RunKey("atari_pong", "harmony_dreamerv3", 3)
    folder = key.folder(tmp_path)
    assert folder.relative_to(tmp_path).as_posix() == "atari_pong/harmony_dreamerv3/seed-3"
    assert RunKey.of(folder) == key


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "$(x)", "a'b", "../up", "-rf", ".hidden", "a..b", "x" * 200])
def test_names_that_could_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(RecordError, match="only letters, digits"):
        RunKey(name, "dreamerv3", 0).folder(tmp_path)


def test_an_interrupted_row_is_reported_and_the_next_one_starts_afresh(tmp_path):
    path = tmp_path / "scores.jsonl"
    record.append_row(path, {"env_steps": 1})
    with open(path, "ab") as file:
        file.write(b'{"env_st')
    rows, problems = record.read_rows(path)
    assert rows == [{"env_steps": 1}]
    assert problems == [f"{path}, line 2: an interrupted write"]
    record.append_row(path, {"env_steps": 2, "loss": float("nan")})
    rows, problems = record.read_rows(path)
    assert rows == [{"env_steps": 1}, {"env_steps": 2, "loss": "nan"}]
    assert problems == [f"{path}, line 2: a damaged line"]


def test_rows_that_are_not_objects_and_endless_lines_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "MAX_LINE", 64)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"[1]\n" + b"x" * 1000 + b'\n{"a":1}\n')
    rows, problems = record.read_rows(path)
    assert rows == [{"a": 1}]
    assert problems == [f"{path}, line 1: an object is expected, got list", f"{path}, line 2: longer than 64 bytes"]


def test_nesting_without_an_end_is_damage_like_any_other(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_bytes(b"[" * 100_000 + b"\n" + b'{"a":' * 100_000 + b"\n" + b'{"a":1}\n')
    rows, problems = record.read_rows(path)
    assert rows == [{"a": 1}]
    assert problems == [f"{path}, line {number}: a damaged line" for number in (1, 2)]
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(RecordError, match=r"scores.jsonl: not JSON \(nested too deeply\)"):
        record.read_json(path)


@given(st.floats(allow_nan=False), st.integers(0, 25))
def test_numbers_are_read_to_the_bit(number, digits):
    import json

    for text in (repr(number), f"{number:.{digits}e}", f"{number:.{digits}f}"[:400]):
        if "inf" not in text:
            assert record._parse(text.encode()) == json.loads(text)


@pytest.mark.parametrize("text", [b'"\\ud800"', b"\xef\xbb\xbf{}", b"NaN", b'{"a":1,"a":2}', b"1e999", b"9" * 400])
def test_odd_texts_are_read_as_python_reads_them(text):
    import json

    assert str(record._parse(text)) == str(json.loads(text))


def test_keep_rows_drops_what_came_after_a_checkpoint(tmp_path):
    path = tmp_path / "scores.jsonl"
    for step in (10, 20, 30):
        record.append_row(path, {"env_steps": step})
    assert record.keep_rows(path, lambda row: row["env_steps"] <= 20) == 1
    assert [row["env_steps"] for row in record.read_rows(path)[0]] == [10, 20]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "status.json"
    record.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.write_json(path, {"a": float("nan")})
    assert record.read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["status.json"]


def test_status_round_trips_and_damage_is_named(tmp_path):
    run = RunDir(tmp_path)
    assert record.read_status(run) is None
    record.write_status(run, Status(state="running", env_steps=7, heartbeat=1.5))
    status = record.read_status(run)
    assert status is not None
    assert (status.env_steps, status.heartbeat) == (7, 1.5)
    run.status.write_text('{"state": "sleeping"}')
    with pytest.raises(RecordError, match="state is 'sleeping'"):
        record.read_status(run)
    run.status.write_text("{")
    with pytest.raises(RecordError, match="not JSON"):
        record.read_status(run)


def test_attempts_are_numbered_without_reuse(tmp_path):
    run = RunDir(tmp_path / "run")
    assert [run.new_attempt()[0] for _ in range(3)] == [1, 2, 3]
    assert run.attempt_numbers() == [1, 2, 3]


def test_find_runs_sorts_seeds_as_numbers(tmp_path):
    for seed in (10, 9):
        (tmp_path / "catch" / "dreamerv3" / f"seed-{seed}").mkdir(parents=True)
    (tmp_path / "catch" / "dreamerv3" / "notes").mkdir()
    assert [folder.name for folder in record.find_runs(tmp_path)] == ["seed-9", "seed-10"]
