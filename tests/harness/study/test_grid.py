"""Grid files and the runs they mean."""

from pathlib import Path

import pytest

from agent.contract.methods import methods
from agent.contract.words import ConfigError
from harness.command import parse
from harness.study.grid import configure, expand, ignored
from harness.study.grid_file import GRIDS, load_grid
from tests.harness.local import ours


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def runs_of(grid: str, *words: str) -> list[str]:
    return [run.name for run in expand(configure(load_grid(grid), parse(words, {})))]


@pytest.mark.parametrize("name", sorted(path.stem for path in GRIDS.glob("*.yaml")))
def test_every_bundled_grid_expands(name: str) -> None:
    grid = load_grid(name)
    runs = expand(grid)
    cells = {(run.task, run.method) for run in runs}
    assert {run.method.partition("@")[0] for run in runs} == set(grid.methods)
    assert len(runs) == len(cells) * len(grid.seeds)
    assert len({run.name for run in runs}) == len(runs)
    assert len({run.config_hash for run in runs}) == len(runs)


def test_atari100k_is_the_papers_table() -> None:
    runs = expand(configure(load_grid("atari100k"), parse(["seeds=5"], {})))
    assert len(runs) == 26 * 2 * 5
    limits = {run.task: ours(run).env.atari.length for run in runs}
    assert limits.pop("atari_chopper_command") == 5400
    assert set(limits.values()) == {108000}


def test_methods_are_side_by_side_and_seed_0_comes_first(tmp_path: Path) -> None:
    grid = write(tmp_path, "tasks: [catch, atari_pong]\npreset: debug\nseeds: 2\n")
    assert runs_of(grid) == [
        "catch/dreamerv3/seed-0",
        "catch/harmony_dreamerv3/seed-0",
        "atari_pong/dreamerv3/seed-0",
        "atari_pong/harmony_dreamerv3/seed-0",
        "catch/dreamerv3/seed-1",
        "catch/harmony_dreamerv3/seed-1",
        "atari_pong/dreamerv3/seed-1",
        "atari_pong/harmony_dreamerv3/seed-1",
    ]


def test_selection_narrows_the_grid() -> None:
    names = runs_of("atari100k", "tasks=pong,boxing", "methods=harmony", "seeds=1,3")
    assert len(names) == 4
    assert names[0] == "atari_boxing/harmony_dreamerv3/seed-1"


def test_an_override_reaches_every_run_and_a_list_becomes_an_axis() -> None:
    grid = configure(load_grid("catch"), parse(["agent.actent=1e-3,3e-4", "agent.run.steps=1e3", "seeds=1"], {}))
    runs = expand(grid)
    assert [run.method for run in runs] == [
        "dreamerv3@actent=0.001",
        "dreamerv3@actent=0.0003",
        "harmony_dreamerv3@actent=0.001",
        "harmony_dreamerv3@actent=0.0003",
    ]
    assert {run.steps for run in runs} == {1000}
    assert [ours(run).actent for run in runs[:2]] == [1e-3, 3e-4]


def test_a_method_is_trained_once_where_it_ignores_the_axis_and_that_is_said() -> None:
    words = ["agent.loss_scales.reward=0.1,1", "agent.actent=1e-3,3e-4", "agent.loss_scales.image=2", "seeds=1"]
    grid = configure(load_grid("catch"), parse(words, {}))
    methods = [run.method for run in expand(grid)]
    assert len([name for name in methods if name.startswith("dreamerv3@loss_scales.reward=")]) == 4
    assert methods[-2:] == ["harmony_dreamerv3@actent=0.001", "harmony_dreamerv3@actent=0.0003"]
    assert ignored(grid) == [
        "harmony_dreamerv3 ignores loss_scales.reward: it is trained once, not once for each value",
        "harmony_dreamerv3 ignores loss_scales.image: its losses are weighted as if it were not set",
    ]


def test_every_method_file_can_be_trained_by_a_grid() -> None:
    grid = configure(load_grid("ablation_rectification"), parse(["seeds=1", "tasks=boxing"], {}))
    assert [run.config.method for run in expand(grid)] == list(methods())


def test_a_command_line_override_beats_a_tasks_own_setting(tmp_path: Path) -> None:
    grid = write(tmp_path, "tasks: [catch]\npreset: debug\nper_task: {catch: {run: {steps: 50}}}\n")
    assert expand(load_grid(grid))[0].steps == 50
    command = parse(["agent.run.steps=70"], {})
    assert expand(configure(load_grid(grid), command))[0].steps == 70


def test_a_list_of_heads_is_one_value() -> None:
    runs = expand(configure(load_grid("catch"), parse(["agent.grad_heads=decoder,reward", "seeds=1"], {})))
    assert len(runs) == 2
    assert ours(runs[0]).grad_heads == ("decoder", "reward")


def test_a_grid_file_may_hold_axes_and_seeds_as_a_list(tmp_path: Path) -> None:
    grid = load_grid(write(tmp_path, "tasks: catch\npreset: debug\nseeds: [4]\nagent: {actent: [0.1, 0.2]}\n"))
    assert grid.seeds == (4,)
    assert len(expand(grid)) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tasks=pnog"], "unknown task 'pnog'; did you mean 'atari_pong'"),
        (["tasks=atari_skiing"], "task 'atari_skiing' is not in configs/grids/atari100k.yaml"),
        (["tasks=pong,atari_pong"], "tasks: 'atari_pong' is given twice"),
        (["methods=dramer"], "unknown method 'dramer'"),
        (["methods=harmony,harmony_dreamerv3"], "given twice"),
        (["preset=atari10k"], "unknown preset 'atari10k'; did you mean 'atari100k'"),
        (["agent.rssm.detre=5"], "agent.rssm.detre: unknown key 'rssm.detre'; did you mean 'rssm.deter'"),
        (["agent.rssm=5"], "agent.rssm: 'rssm' is a section"),
        (["agent.batch_size=many"], "agent.batch_size: 'many' is not a whole number"),
        (["agent.batch_size=-1"], "agent.batch_size: -1 is refused"),
        (["agent.seed=3"], "agent.seed: the grid sets it; use seeds="),
        (["agent.actent=1e-3,0.001"], "agent.actent: '0.001' is given twice"),
        (["agent.actent=1e-3,lots"], "agent.actent: 'lots' is not a number"),
        (["agent.jax.compilation_cache=a b,c"], "cannot name a folder"),
        (["pack=0"], "pack=0: a number of runs from 1"),
        (["pack.mode=vamp"], "pack.mode=vamp: unknown mode 'vamp'; did you mean 'vmap'"),
    ],
)
def test_a_wrong_setting_names_itself_and_the_nearest_right_one(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expand(configure(load_grid("atari100k"), parse(words, {})))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: [catch]\npresets: debug\n", "unknown key 'presets'; did you mean 'preset'"),
        ("tasks: [cacth]\n", "unknown task 'cacth'; did you mean 'catch'"),
        ("tasks: [catch, catch]\n", "tasks: 'catch' is given twice"),
        ("tasks: [catch]\npreset: dbug\n", "unknown preset 'dbug'; did you mean 'debug'"),
        ("preset: debug\n", "no tasks"),
        ("tasks: [catch]\nagent: {rssm: {detre: 3}}\n", "agent.rssm.detre: unknown key"),
        ("tasks: [catch]\nagent: 3\n", "agent: a mapping is expected, got 3"),
        ("tasks: [catch]\nper_task: {pong: {}}\n", "per_task: unknown task 'pong'"),
        ("tasks: [catch]\nparts: []\n", "not both"),
        ("tasks: [catch]\nresources: {mem_bg: 3}\n", "resources: unknown key 'mem_bg'; did you mean 'mem_gb'"),
        ("tasks: [catch\n", "malformed YAML"),
        ("- catch\n", "a mapping of names is expected"),
        ("tasks: [catch]\ntasks: [catch]\n", "malformed YAML"),
    ],
)
def test_a_wrong_grid_file_is_named_with_its_fault(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_grid(write(tmp_path, text))
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_or_unreadable_grid_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown grid 'atari10k'; did you mean 'atari100k'"):
        load_grid("atari10k")
    with pytest.raises(ConfigError, match=r"no\.yaml: cannot be read"):
        load_grid(str(tmp_path / "no.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.yaml: cannot be read"):
        load_grid(str(tmp_path / "binary.yaml"))
