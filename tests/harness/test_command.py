"""The grammar of the command lines."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.words import ConfigError, comma_list, match_name, parse_seeds, spell_seeds, typed_path
from harness.command import Flag, parse, run

FLAGS = {"dry-run": Flag("show the plan"), "state": Flag("states", "LIST")}


def test_settings_and_flags_are_told_apart() -> None:
    command = parse(["grid=demo", "--state", "oom", "agent.actent=1e-3", "--dry-run", "cluster.slurm.x=a=b"], FLAGS)
    assert command.settings == {"grid": "demo"}
    assert command.agent == {"actent": "1e-3"}
    assert command.cluster == {"slurm.x": "a=b"}
    assert command.flags == {"state": "oom", "dry-run": ""}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gird=demo"], r"unknown setting 'gird'; did you mean 'grid'"),
        (["--dry-rnu"], r"unknown flag '--dry-rnu'; did you mean '--dry-run'"),
        (["--seeds=5"], r"--seeds: settings are written key=value, as in seeds=5"),
        (["demo"], r"'demo' is not understood; settings are key=value"),
        (["dry-run"], r"did you mean '--dry-run'"),
        (["seeds=1", "seeds=2"], r"seeds is given twice: '1' and '2'"),
        (["agent.actent=1", "agent.actent=2"], r"agent.actent is given twice"),
        (["tasks="], r"tasks= needs a value"),
        (["--state"], r"--state needs a value: --state LIST"),
        (["--dry-run=yes"], r"--dry-run takes no value, got 'yes'"),
        (["--dry-run", "--dry-run"], r"--dry-run is given twice"),
    ],
)
def test_a_wrong_word_is_named(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(words, FLAGS)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("5", [0, 1, 2, 3, 4]), ("1", [0]), ("0", [0]), ("0..2", [0, 1, 2]), ("3..3", [3]), ("1,3", [1, 3]), ("7,", [7])],
)
def test_seeds_are_counts_ranges_or_lists(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text, count=True) == seeds


@pytest.mark.parametrize(("text", "seeds"), [("5", [5]), ("0", [0]), ("0..2", [0, 1, 2]), ("3..3", [3]), ("7,", [7])])
def test_a_lone_number_that_selects_is_that_seed(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("seeds", "text"),
    [([0], "0..0"), ([3], "3..3"), ([2, 0, 1], "0..2"), ([1, 3], "1,3"), ([0, 1, 4, 5, 6], "0,1,4..6")],
)
def test_seeds_are_spelt_so_that_every_command_reads_the_same(seeds: list[int], text: str) -> None:
    assert spell_seeds(seeds) == text
    assert parse_seeds(text) == parse_seeds(text, count=True) == sorted(seeds)


def test_a_typed_path_knows_home_and_refuses_what_nobody_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert typed_path("runs", "~/x") == Path("/home/me/x")
    with pytest.raises(ConfigError, match=r"^runs=x/\{timestamp\}: nobody fills \{timestamp\} in; write a name"):
        typed_path("runs", "x/{timestamp}")
    with pytest.raises(ConfigError, match=r"^runs=~nobody-here/x: "):
        typed_path("runs", "~nobody-here/x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-1", "'-1' is not a seed"),
        ("3..1", "runs backwards; did you mean '1..3'"),
        ("1,1", "'1' is given twice"),
        ("0..2,2", "'2' is given twice"),
        ("1.5", "'1.5' is not a seed"),
        ("five", "'five' is not a seed"),
        ("1,,2", "'' is not a seed"),
        ("99999999999", "at most 10000"),
        ("99999999999,", "a seed is at most"),
        ("9" * 5000, "is not a seed"),
        ("0..99999999999", "at most 10000"),
    ],
)
def test_a_wrong_seed_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_seeds(text, count=True)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**31 - 1), min_size=2, max_size=20, unique=True))
def test_a_list_of_seeds_reads_back(seeds: list[int]) -> None:
    assert parse_seeds(",".join(map(str, seeds))) == seeds


@settings(deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_seeds_or_a_one_line_error(text: str) -> None:
    try:
        seeds = parse_seeds(text)
    except ConfigError:
        return
    assert seeds
    assert all(seed >= 0 for seed in seeds)


def test_names_match_without_their_suite_or_by_their_start() -> None:
    tasks = ["atari_pong", "metaworld_reach", "metaworld_reach_wall", "dmc_pong"]
    assert match_name("metaworld_reach", tasks, "task") == "metaworld_reach"
    assert match_name("reach", tasks, "task") == "metaworld_reach"
    assert match_name("harmony", ["dreamerv3", "harmony_dreamerv3"], "method") == "harmony_dreamerv3"
    with pytest.raises(ConfigError, match="'pong' could mean atari_pong, dmc_pong"):
        match_name("pong", tasks, "task")
    with pytest.raises(ConfigError, match="did you mean 'atari_pong'"):
        match_name("atari_pnog", tasks, "task")


def test_an_item_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="tasks: 'pong' is given twice"):
        comma_list("tasks", "pong,boxing,pong")


def test_wrong_input_exits_with_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("harness.demo", "A demo.", FLAGS, lambda command: 0, ["grid"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err


def test_help_lists_settings_and_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("harness.demo", "A demo.", FLAGS, lambda command: 1, ["--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("grid=", "agent.KEY=", "--dry-run", "--debug"))
