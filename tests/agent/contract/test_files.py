import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract import files
from agent.contract.files import RecordError


def test_an_interrupted_row_is_reported_and_the_next_one_starts_afresh(tmp_path):
    path = tmp_path / "scores.jsonl"
    files.append_row(path, {"env_steps": 1})
    with open(path, "ab") as file:
        file.write(b'{"env_st')
    rows, problems = files.read_rows(path)
    assert rows == [{"env_steps": 1}]
    assert problems == [f"{path}, line 2: an interrupted write"]
    files.append_row(path, {"env_steps": 2, "loss": float("nan")})
    rows, problems = files.read_rows(path)
    assert rows == [{"env_steps": 1}, {"env_steps": 2, "loss": "nan"}]
    assert problems == [f"{path}, line 2: a damaged line"]


def test_rows_that_are_not_objects_and_endless_lines_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_LINE", 64)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"[1]\n" + b"x" * 1000 + b'\n{"a":1}\n')
    rows, problems = files.read_rows(path)
    assert rows == [{"a": 1}]
    assert problems == [f"{path}, line 1: an object is expected, got list", f"{path}, line 2: longer than 64 bytes"]


def test_a_file_whose_replacement_breaks_off_stays_as_it_was(tmp_path):
    path = tmp_path / "state.npz"
    files.write_bytes(path, b"before")
    with pytest.raises(OSError, match="full"), files.replacing(path) as file:
        file.write(b"aft")
        raise OSError("full")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_nesting_without_an_end_is_damage_like_any_other(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_bytes(b"[" * 100_000 + b"\n" + b'{"a":' * 100_000 + b"\n" + b'{"a":1}\n')
    rows, problems = files.read_rows(path)
    assert rows == [{"a": 1}]
    assert problems == [f"{path}, line {number}: a damaged line" for number in (1, 2)]
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(RecordError, match=r"scores.jsonl: not JSON \(nested too deeply\)"):
        files.read_json(path)


@given(st.floats(allow_nan=False), st.integers(0, 25))
def test_numbers_are_read_to_the_bit(number, digits):
    import json

    for text in (repr(number), f"{number:.{digits}e}", f"{number:.{digits}f}"[:400]):
        if "inf" not in text:
            assert files.parse_json(text.encode()) == json.loads(text)


@pytest.mark.parametrize("text", [b'"\\ud800"', b"\xef\xbb\xbf{}", b"NaN", b'{"a":1,"a":2}', b"1e999", b"9" * 400])
def test_odd_texts_are_read_as_python_reads_them(text):
    import json

    assert str(files.parse_json(text)) == str(json.loads(text))


def test_keep_rows_drops_what_came_after_a_checkpoint(tmp_path):
    path = tmp_path / "scores.jsonl"
    for step in (10, 20, 30):
        files.append_row(path, {"env_steps": step})
    assert files.keep_rows(path, lambda row: row["env_steps"] <= 20) == 1
    assert [row["env_steps"] for row in files.read_rows(path)[0]] == [10, 20]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "status.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["status.json"]
