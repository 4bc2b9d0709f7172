"""The benchmarks run, and say what they are."""

import json

import jax
import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import device_time, gpu, timing
from tests.benchmarks.record import Record
from tests.benchmarks.suite import benchmarks


def test_every_benchmark_has_a_name_and_a_wrong_one_is_answered_with_the_nearest(capsys):
    assert command.main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(benchmarks())
    assert command.main(["sampling/atari"]) == 2
    assert "did you mean 'sampling/atari100k'" in capsys.readouterr().err


def test_a_time_is_also_given_as_a_multiple_of_the_calibration(monkeypatch):
    monkeypatch.setattr(timing, "SIDE", 64)
    monkeypatch.setattr(timing, "IMAGES", 1)
    row = timing.timed(lambda: jax.numpy.ones(3), timing.Calibration(), repeats=3, calls=2)
    assert row["relative"] > 0 and row["least_ms"] <= row["ms"] and row["calibration_ms"] > 0


def test_hours_of_a_grid_are_those_of_updates_and_evaluations():
    rows = {"update float32 p=10": {"ms_per_run_update": 3.0}, "evaluation p=10": {"env_steps_per_s": 10_000.0}}
    assert gpu.grid_hours(rows) == pytest.approx(260 * (99_900 * 0.003 + 20 * 100 * 1_000 / 10_000) / 3600)
    assert gpu.grid_hours({"update float32 p=1": {"ms_per_run_update": 3.0}}) is None
    assert gpu.NOT_MEASURED in gpu.table(rows, [*rows, "policy p=1"][2:], "cpu", False)


def test_without_a_gpu_the_gpu_benchmark_says_so(capsys):
    if jax.default_backend() != "cpu":
        pytest.skip("there is a GPU")
    assert gpu.main([]) == 2
    assert "no GPU" in capsys.readouterr().err


def test_a_measurement_that_fails_is_named_and_loses_none_of_the_others(tmp_path, capsys):
    def failing():
        raise MemoryError("out of memory\nwhile trying to allocate")

    record = Record("python -m here", ["--json", "FILE"], tmp_path / "made.json")
    record.make("good", lambda: {"ms": 1.0})
    record.make("bad", failing)
    stored = json.loads((tmp_path / "made.json").read_text())
    assert stored["benchmarks"]["good"]["ms"] == 1.0
    assert stored["benchmarks"]["bad"]["error"] == "MemoryError: out of memory"
    assert stored["command"] == "python -m here --json FILE" and record.failed == ["bad"]
    assert "in failing" in capsys.readouterr().err
    assert "failed: MemoryError" in gpu.table(record.rows, ["bad"], "gpu", False)


def test_a_number_that_is_none_fails_and_a_file_that_cannot_be_written_is_refused_at_once(tmp_path, capsys):
    record = Record("python -m here", [], tmp_path / "made.json")
    record.make("odd", lambda: {"ms": float("nan")})
    assert record.failed == ["odd"] and "not JSON compliant" in record.rows["odd"]["error"]
    for main in (lambda argv: gpu.main(["--tiny", *argv]), command.main):
        with pytest.raises(SystemExit, match="2"):
            main(["--json", str(tmp_path / "missing" / "made.json")])
        assert "made.json: No such file or directory" in capsys.readouterr().err


def test_a_failed_measurement_gives_no_hours():
    rows = {"update float32 p=10": {"error": "MemoryError"}, "evaluation p=10": {"env_steps_per_s": 10_000.0}}
    assert gpu.grid_hours(rows) is None


def check_places(row):
    """The trace of a real update names the functions of the agent, for most of the time."""
    assert 0 < row["busy_ms"] <= row["traced_ms"]
    assert {"matrix product", "fusion"} <= {one["kind"] for one in row["by_kind"]}
    times = {one["place"]: one["ms"] for one in row["by_place"]}
    assert {"world_model.Encoder.__call__ (gradient)", "optim.update"} <= set(times)
    assert times[device_time.UNKNOWN] < 0.3 * sum(times.values())


@pytest.mark.slow
def test_the_tiny_gpu_benchmark_takes_the_same_way_on_any_device(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(timing, "SIDE", 64)
    monkeypatch.setattr(timing, "IMAGES", 1)
    assert gpu.main(["--tiny", "--json", str(tmp_path / "gpu.json")]) == 0
    printed = capsys.readouterr().out
    first = printed.split("\n\n")[0]
    assert first.startswith("TINY") and first.endswith(gpu.NOT_MEASURED)
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert list(result["benchmarks"]) == list(gpu.plan(tiny=True))
    for row in result["benchmarks"].values():
        assert row["busy_ms" if "by_kind" in row else "relative"] > 0
    assert "by place" in printed
    check_places(result["benchmarks"]["device time p=1"])


@pytest.mark.gpu
def test_a_full_size_update_on_a_gpu_is_timed(tmp_path):
    if jax.default_backend() == "cpu":
        pytest.skip("JAX found no GPU")
    assert command.main(["update/atari100k/float32/p1", "--json", str(tmp_path / "one.json")]) == 0
    row = json.loads((tmp_path / "one.json").read_text())["benchmarks"]["update/atari100k/float32/p1"]
    assert row["ms"] > 0 and row["memory_bytes"] > 1e9 and row["peak_bytes_of_process"] > 0
