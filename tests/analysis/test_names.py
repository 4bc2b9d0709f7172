"""Tasks as others spell them, in added scores, in selectors and in run folders."""

import html
from pathlib import Path

import pytest

from agent.contract.config import make_config
from agent.contract.run_folder import RunKey
from agent.contract.words import ConfigError, match_name, match_task
from analysis import report
from tests.analysis.studies import TIDY, rows, write_run, write_study

QUICK = ("reps=200", "--no-figures")
KNOWN = [
    "atari_alien", "atari_bank_heist", "atari_james_bond", "catch", "metaworld_drawer_close", "gym_CartPole-v1",
    "gym_Pendulum-v0", "gym_Pendulum-v1", "dmc_walker_walk",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("alien", "atari_alien"),
        (" Alien\t", "atari_alien"),
        ("ALE/Alien-v5", "atari_alien"),
        ("AlienNoFrameskip-v4", "atari_alien"),
        ("atari100k_alien", "atari_alien"),
        ("BankHeist", "atari_bank_heist"),
        ("ALE/BankHeist-v5", "atari_bank_heist"),
        ("bank-heist", "atari_bank_heist"),
        ("atari_jamesbond", "atari_james_bond"),
        ("James Bond", "atari_james_bond"),
        ("drawer-close-v2", "metaworld_drawer_close"),
        ("CartPole-v1", "gym_CartPole-v1"),
        ("CartPole", "gym_CartPole-v1"),
        ("Pendulum-v0", "gym_Pendulum-v0"),
        ("CartPole-v0", None),  # ends after 200 steps, not 500
        ("dmc_alien", None),
        ("alein", None),
        ("atari_", None),
        ("", None),
    ],
)
def test_a_name_means_the_task_that_differs_in_spelling_alone(text: str, task: str | None) -> None:
    assert match_task(text, KNOWN) == task


def test_a_name_that_could_mean_two_tasks_is_refused() -> None:
    with pytest.raises(ConfigError, match="'Pendulum' could mean gym_Pendulum-v0, gym_Pendulum-v1; write the whole"):
        match_task("Pendulum", KNOWN)

    assert make_config(["atari100k"], {"task": "atari_jamesbond"}).task == "atari_james_bond"
    for text in ("atari_jamesbond", "jamesbond", "JamesBond", "james_bond"):
        assert match_name(text, KNOWN, "task") == "atari_james_bond"


@pytest.mark.usefixtures("own_folder")
def test_added_scores_are_compared_however_their_tasks_are_spelt() -> None:
    write_study(Path("runs/study"), tasks=("atari_alien", "atari_bank_heist", "atari_james_bond"))
    spelt = {"first": ("alien", "BankHeist", "atari_jamesbond"), "second": (" ALE/Alien-v5", "bankheist", "James Bond")}
    lines = [f"{m},{t},{seed},6400,{seed}\n" for m, ts in spelt.items() for t in ts for seed in (0, 1)]
    Path("mine.csv").write_text(TIDY + "".join(lines))
    assert report.main(["grid=study", "extra=mine.csv", "tasks=Alien,BankHeist,jamesbond", *QUICK]) == 0
    found = {(r["method"], r["n_tasks"], r["n_runs"]) for r in rows("aggregates.csv")}
    assert found == {(m, "3", "6") for m in ("dreamerv3", "harmony_dreamerv3", "first", "second")}


@pytest.mark.usefixtures("own_folder")
def test_runs_under_a_games_other_name_are_normalised_and_compared() -> None:
    for method in ("dreamerv3", "harmony_dreamerv3"):
        for seed in (0, 1):
            run = write_run(Path("runs/old"), RunKey("atari_james_bond", method, seed))
            old = run.path.parents[1].with_name("atari_jamesbond") / method / f"seed-{seed}"
            old.parent.mkdir(parents=True, exist_ok=True)
            run.path.rename(old)
            config = (old / "config.yaml").read_text()
            (old / "config.yaml").write_text(config.replace("atari_james_bond", "atari_jamesbond"))
    assert report.main(["grid=old", *QUICK]) == 0
    assert {(r["task"], r["normalised"] != "") for r in rows("per_task.csv")} == {("atari_james_bond", True)}
    assert {r["left_out"] for r in rows("coverage.csv")} == {""}


@pytest.mark.usefixtures("own_folder")
def test_what_matches_nothing_is_named_with_its_nearest_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(Path("runs/study"), tasks=("atari_alien", "atari_pong"))
    lines = [f"mine,{task},{seed},6400,1\n" for task in ("alein", "qwxyz") for seed in (0, 1)]
    Path("mine.csv").write_text(TIDY + "".join(lines))
    assert report.main(["grid=study", "extra=mine.csv", *QUICK]) == 0
    unknown = "mine: neither the study nor the references know its task 'alein' (did you mean 'atari_alien'?); neither"
    alone = "mine shares no task with another method: it is compared with none"
    page = html.unescape(Path("report/index.html").read_text())
    for text in (capsys.readouterr().err, Path("report/report.md").read_text(), page):
        assert unknown in text and alone in text


@pytest.mark.usefixtures("own_folder")
def test_added_runs_without_a_score_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["methods=dreamerv3_2024,ppo", "tasks=up_n_down,crazy_climber", *QUICK]) == 0
    error = capsys.readouterr().err
    assert "6 runs without a score, as no episode ends from 390000 to 400000 frames: " in error
    assert "dreamerv3_2024 atari_up_n_down seed" in error


@pytest.mark.usefixtures("own_folder")
def test_spaces_around_names_make_no_second_method() -> None:
    write_study(Path("runs/study"), tasks=("atari_pong",))
    Path("mine.csv").write_text(" method,task ,seed,frames,score\nmine ,atari_pong,0,6400, 1\nmine, pong ,1, 6400,2\n")
    assert report.main(["grid=study", "extra=mine.csv", *QUICK]) == 0
    assert [(r["method"], r["n"]) for r in rows("per_task.csv")][-1] == ("mine", "2")
