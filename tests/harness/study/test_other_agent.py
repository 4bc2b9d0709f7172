"""Grids that another agent's command trains: what they may say, and what is refused in one sentence."""

from pathlib import Path

import pytest

from agent.contract.words import ConfigError
from harness.command import parse
from harness.study import frozen_code
from harness.study.grid import configure, expand
from harness.study.grid_file import load_grid
from harness.study.other_agent import OtherConfig
from harness.study.run import Run

GRID = "train: [python, play.py]\ntasks: [catch, maze_7]\nmethods: {rival: A rival}\n"
SCHEMA = "lr: 1e-4\nnet: {units: 64, act: silu, widths: [8, 8]}\njit: true\nnote: null\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a grid's command in it, within the code."""
    monkeypatch.setattr(frozen_code, "ROOT", tmp_path)
    folder = tmp_path / "rivals"
    folder.mkdir()
    (folder / "play.py").write_text("")
    (tmp_path / "inside.sh").write_text("")
    (folder / "settings.yaml").write_text(SCHEMA)
    return folder


def runs(folder: Path, text: str = GRID, *words: str) -> list[Run]:
    (folder / "mine.yaml").write_text(text)
    return expand(configure(load_grid(str(folder / "mine.yaml")), parse(words, {})))


def settings(run: Run) -> dict[str, object]:
    assert isinstance(run.config, OtherConfig)
    return run.config.settings


def test_words_that_name_files_beside_the_grid_or_in_the_code_are_paths_from_the_frozen_code(folder: Path) -> None:
    text = GRID.replace("[python, play.py]", "[./play.py, inside.sh, --task, play]")
    (config,) = {run.config.train for run in runs(folder, text) if isinstance(run.config, OtherConfig)}
    assert config == ("./rivals/play.py", "./inside.sh", "--task", "play")


def test_settings_go_through_as_they_are_written(folder: Path) -> None:
    text = GRID + "agent: {net: {widths: [8, 16], name: 'null', rate: 1e-4}, per.task: 3}\n"
    found = runs(folder, text, "agent.net.rate=1e-3", "agent.mode=fast", "agent.jit=True")
    assert settings(found[0]) == {
        "net": {"widths": [8, 16], "name": "null", "rate": 1e-3},
        "per": {"task": 3},
        "mode": "fast",
        "jit": True,
    }


def test_a_comma_list_is_an_axis_and_a_list_in_the_grid_a_value(folder: Path) -> None:
    found = runs(folder, GRID + "agent: {widths: [8, 16]}\n", "agent.lr=1e-3,1e-4", "tasks=maze_7")
    assert [run.name for run in found] == ["maze_7/rival@lr=0.001/seed-0", "maze_7/rival@lr=0.0001/seed-0"]
    assert settings(found[1]) == {"widths": [8, 16], "lr": 1e-4}


def test_with_a_schema_a_list_for_a_single_value_is_an_axis(folder: Path) -> None:
    found = runs(folder, GRID + "schema: settings.yaml\nagent: {lr: [1, 0.1], net: {widths: [1, 2]}, note: x}\n")
    assert {run.method for run in found} == {"rival@lr=1.0", "rival@lr=0.1"}
    assert settings(found[0]) == {"net": {"widths": [1, 2]}, "note": "x", "lr": 1.0}


def test_command_settings_and_method_are_the_identity_of_a_run(folder: Path) -> None:
    def first(text: str) -> str:
        return runs(folder, text)[0].config_hash

    assert first(GRID) == first(GRID + "cluster: local\n")
    changed = [GRID.replace("play.py]", "play.py, --fast]"), GRID + "agent: {lr: 1}\n", GRID.replace("rival:", "riva:")]
    assert len({first(text) for text in [GRID, *changed]}) == 4


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("preset: debug\n", "preset: is for our own agent"),
        ("pack.mode: vmap\n", "pack.mode: is for our own agent"),
        ("agent: {seed: 3}\n", "agent.seed: the grid sets it; use seeds="),
        ("agent: {train: 3}\n", "agent.train: the grid sets it"),
        ("agent: {day: 2020-01-01}\n", "agent.day: datetime.date(2020, 1, 1)"),
        ("agent: {a: 1, a.b: 2}\n", "agent.a.b: 'a' has a value of its own, 1"),
        ("schema: settings.yaml\nagent: {net: {unit: 8}}\n", "did you mean 'net.units'"),
        ("schema: settings.yaml\nagent: {net: {units: 8.5}}\n", "agent.net.units: 8.5 is not a whole number"),
        ("schema: settings.yaml\nagent: {jit: 1}\n", "agent.jit: 1 is not True or False, as settings.yaml has it"),
        ("schema: settings.yaml\nagent: {net: {units: true}}\n", "agent.net.units: True is not a whole number"),
        ("schema: setting.yaml\n", "setting.yaml: cannot be read"),
    ],
)
def test_what_a_grid_may_not_set_is_refused_by_name(folder: Path, more: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        runs(folder, GRID + more)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[python, play.py]", "[python, plya.py]", "there is no file 'plya.py', neither beside the grid"),
        ("[python, play.py]", "[bin/agent]", "there is no file 'bin/agent'"),
        ("[python, play.py]", "python play.py", "'python play.py'; a list of words is expected"),
        ("[python, play.py]", "[python, 3]", "a list of words is expected"),
        ("{rival: A rival}", "{}", "methods: name what the command trains"),
        ("methods: {rival: A rival}", "seeds: 1", "methods: name what the command trains"),
        ("{rival: A rival}", "[dreamerv3]", "methods: dreamerv3 (dreamerv3) is our own agent's"),
        ("{rival: A rival}", "[Rival@1]", "methods: 'Rival@1'; letters a-z"),
        ("maze_7", "atari_pnog", "did you mean 'atari_pong'"),
        ("maze_7", "../maze", "only letters, digits"),
        ("train: [python, play.py]", "schema: settings.yaml", "schema: is for a grid with 'train'"),
    ],
)
def test_a_command_a_method_or_a_task_that_cannot_be_is_refused(folder: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        runs(folder, GRID.replace(old, new))
    assert words in str(caught.value)


@pytest.mark.parametrize("word", ["preset=debug", "pack.mode=vmap"])
def test_what_is_our_agents_alone_is_refused_on_the_command_line(folder: Path, word: str) -> None:
    with pytest.raises(ConfigError, match="is for our own agent"):
        runs(folder, GRID, word)
