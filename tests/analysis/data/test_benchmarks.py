"""Files of benchmarks and references: what they may say, and one line for each thing they may not."""

from pathlib import Path

import pytest

from agent.contract.tasks import ATARI_100K
from agent.contract.words import ConfigError
from analysis.data.benchmarks import (
    Reference,
    at_frames,
    benchmark_of,
    benchmarks,
    read_benchmark,
    read_references,
    references,
    spelt_as,
)


def written(folder: Path, text: str, name: str = "own.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_atari_100k_is_a_file_like_any_other() -> None:
    atari = benchmarks()["atari100k"]
    assert sorted(atari.tasks) == sorted(ATARI_100K) == sorted(atari.references)
    assert (atari.title, atari.frames) == ("Atari 100k", 400_000)
    assert references()["atari_pong"] == Reference(-20.7, 14.6, "human", atari.file)
    rounded = references("integer")
    assert (rounded["atari_breakout"].top, rounded["atari_gopher"].top) == (30.0, 2412.0)
    assert rounded["atari_crazy_climber"].random == 10780.0


def test_remarks_above_the_header_are_read_and_lines_are_counted_with_them(tmp_path: Path) -> None:
    path = written(
        tmp_path, "# title: Walkers\n# by hand\n# frames: 1000\ntask,random,reference\ndmc_walker_run,1.5,900\n"
    )
    found = read_benchmark(path)
    assert (found.title, found.frames, found.tasks) == ("Walkers", 1000, ("dmc_walker_run",))
    assert found.references["dmc_walker_run"].normalise([1.5, 900.0]).tolist() == [0.0, 1.0]
    with pytest.raises(ConfigError, match=r"own\.csv, line 3: random is 'x', a finite number is expected"):
        read_benchmark(written(tmp_path, "# title: W\ntask,random,human\na,x,2\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task,random\na,1\n", "columns are task,random; task,random,human or task,random,reference is expected"),
        ("task,human\na,1\n", "columns are task,human; task,random,human"),
        ("task,random,human,reference\na,1,2,3\n", "columns are task,random,human,reference; task,random,human"),
        ("name,random,human\na,1,2\n", "no column 'task'"),
        ("task,random,human\na,1,1\n", "line 2: random and human are both 1; they must differ"),
        ("task,random,human\na,1,nan\n", "line 2: human is 'nan', a finite number is expected"),
        ("task,random,human\na,1,2\nb,1,2\na,1,3\n", "line 4: a is given twice (line 2)"),
        ("task,random,human\n,1,2\n", "line 2: task must not be empty"),
        ("task,random,human\n", "no rows below the header"),
        ("# frames: many\ntask,random,human\na,1,2\n", "frames is 'many', a whole number is expected"),
    ],
)
def test_what_a_file_may_not_say_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_benchmark(path)
    assert str(path) in str(caught.value) and message in str(caught.value) and "\n" not in str(caught.value)


def test_references_need_the_scores_that_a_benchmark_may_lack(tmp_path: Path) -> None:
    path = written(tmp_path, "task\na\nb\n")
    assert read_benchmark(path).tasks == ("a", "b")
    with pytest.raises(ConfigError, match="no column 'random'; the header must name task,random,human or"):
        read_references(path)


def test_two_benchmarks_may_share_a_task_but_not_differ_on_it(tmp_path: Path) -> None:
    written(tmp_path, "task,random,human\na,1,2\n", "one.csv")
    written(tmp_path, "task,random,human\na,1,2\nb,1,2\n", "two.csv")
    assert list(benchmarks(tmp_path)) == ["one", "two"]
    other = tmp_path / "other"
    other.mkdir()
    for name, top in (("one", 2), ("two", 3)):
        written(other, f"task,random,human\na,1,{top}\n", f"{name}.csv")
    with pytest.raises(ConfigError, match=r"two\.csv: a has other references than in .*one\.csv"):
        benchmarks(other)


def test_given_references_are_matched_to_the_reports_spelling() -> None:
    file = Path("refs.csv")
    one = Reference(0.0, 1.0, "reference", file)
    assert list(spelt_as({"Pong": one, "gym_Other-v1": one}, ["atari_pong"])) == ["atari_pong", "gym_Other-v1"]
    with pytest.raises(
        ConfigError, match=r"references=refs\.csv: none of its tasks is in the report; unknown task 'pnog'"
    ):
        spelt_as({"pnog": one}, ["atari_pong"])
    with pytest.raises(ConfigError, match="references: atari_pong and Pong are both atari_pong"):
        spelt_as({"Pong": one, "atari_pong": one}, ["atari_pong"])


def test_tasks_are_of_the_benchmark_that_has_them_all() -> None:
    found = benchmark_of(["atari_pong"], (400_000, 400_000))
    assert found is not None and found.name == "atari100k"
    assert at_frames(found, (395_000, 410_000)) and not at_frames(found, (389_000, 400_000))
    assert benchmark_of(["atari_pong", "catch"], (1, 1)) is None
