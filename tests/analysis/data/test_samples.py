"""Long metrics are read by a sample of their rows that gives the same curves; short ones whole."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from agent.contract import files
from analysis.data import samples, training

FRAMES = 400_000
NAMES = re.compile(rb'"loss/')


def row(number: int, rows: int) -> dict[str, float]:
    """A row of metrics: two names in each but every tenth, one in every hundredth alone."""
    found: dict[str, float] = {"frames": number * FRAMES // rows, "filler/text": 0.0}
    if number % 10:
        found |= {"loss/a": 100 / (1 + number), "loss/period": float(number % 20)}
    if number % 100 == 50:
        found["loss/rare"] = float(number)
    return found | {f"filler/{k}": 1 / 3 for k in range(20)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of 20 000 rows, twice as long as is read whole."""
    text = "".join(json.dumps(row(number, 20_000)) + "\n" for number in range(1, 20_001))
    (tmp_path / "metrics.jsonl").write_text(text)
    assert len(text) > 2 * samples.WHOLE
    return tmp_path / "metrics.jsonl"


def test_a_sample_gives_the_curves_of_all_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage: list[str] = []
    sampled = training.unpack(training.read_training(path, damage))
    read = len(samples.read_sample(path, NAMES)[0])
    assert read == samples.ROWS + 1 and damage == []
    monkeypatch.setattr(samples, "WHOLE", 2**40)
    whole = training.unpack(training.read_training(path, damage))
    for name, spread in (("loss/a", 0.05), ("loss/period", 0.4)):
        assert len(sampled[name][0]) == len(whole[name][0]) == 60
        middle = slice(1, 59)  # the first bin falls by four orders of magnitude
        assert np.abs(sampled[name][1] / whole[name][1] - 1)[middle].max() < spread, name
    assert len(sampled["loss/rare"][0]) > 20


def test_rows_of_interest_are_found_however_rare(path: Path) -> None:
    rows, problems = samples.read_sample(path, re.compile(rb'"loss/rare"'))
    assert [r.get("loss/rare") for r in rows] == [*range(50, 20_001, 100), None] and problems == []
    assert samples.read_sample(path, re.compile(rb'"nowhere"')) == ([row(20_000, 20_000)], [])


def test_no_row_is_counted_twice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "ROWS", 100_000)
    rows, _ = samples.read_sample(path, re.compile(rb'"frames"'))
    assert [r["frames"] for r in rows] == [row(number, 20_000)["frames"] for number in range(1, 20_001)]


@pytest.mark.parametrize(
    ("tail", "reason"),
    [(b'{"frames":400000,"loss/a"', "an interrupted write"), (b'{"frames":9,"loss/a":1}', ""), (b"\n\n", "")],
)
def test_the_end_of_a_long_file_is_looked_at(path: Path, tail: bytes, reason: str) -> None:
    size = path.stat().st_size
    with open(path, "ab") as file:
        file.write(tail)
    rows, problems = samples.read_sample(path, NAMES)
    assert problems == ([f"{path}, byte {size}: {reason}"] if reason else [])
    assert (rows[-1]["frames"] == 9) == tail.endswith(b"}")


def test_a_damaged_line_that_is_met_is_said_and_the_others_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "ROWS", 100_000)
    data = path.read_bytes()
    place = data.index(b"\n", len(data) // 2) + 1
    path.write_bytes(data[:place] + b'{"loss/a":}' + data[place:])
    rows, problems = samples.read_sample(path, NAMES)
    assert problems == [f"{path}, byte {place}: a damaged line"] and len(rows) > 15_000


def test_garbage_without_a_line_costs_no_memory(path: Path) -> None:
    import tracemalloc

    with open(path, "r+b") as file:
        file.truncate(2**30)  # sparse: zeros without a line's end
    tracemalloc.start()
    rows, _ = samples.read_sample(path, NAMES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows and peak < 8 * files.MAX_LINE


def test_a_missing_or_short_file_is_read_as_ever(tmp_path: Path) -> None:
    assert samples.read_sample(tmp_path / "none.jsonl", NAMES) == ([], [])
    (tmp_path / "short.jsonl").write_text('{"frames":1}\n{"fra')
    rows, problems = samples.read_sample(tmp_path / "short.jsonl", NAMES)
    assert rows == [{"frames": 1}] and problems == [f"{tmp_path / 'short.jsonl'}, line 2: an interrupted write"]
