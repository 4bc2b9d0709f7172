"""The training command line, as its user types it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from agent import train
from agent.contract import files
from agent.contract.config import make_config
from agent.contract.run_folder import RunDir

TINY = ["--configs", "debug", "--task", "catch", "env.catch.size=8"]
QUICK = [*TINY, "run.steps=120", "run.eval_every=60"]


def errors(capsys, *words):
    assert train.main(list(words)) == train.WRONG_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--harmony", "maybe"], "harmony: 'maybe' is not True or False"),
        (["--rssm.detre", "3"], "unknown key 'rssm.detre'; did you mean 'rssm.deter'"),
        (["--lodgir", "x"], "unknown key 'lodgir'; did you mean 'logdir'?"),
        (["--seed", "-1"], "seed: -1 is refused"),
        (["--seed", "one"], "seed: 'one' is not a whole number"),
        (["--model_opt.lr", "fast"], "model_opt.lr: 'fast' is not a number"),
        (["--seed", "1", "seed=2"], "seed is given twice: '1' and '2'"),
        (["--configs", "atari100"], "unknown preset 'atari100'; did you mean 'atari100k'"),
        (["--rssm", "3"], "'rssm' is a section; name one of its keys, as in 'rssm.deter'"),
        (["--seed"], "--seed: a value is missing"),
        (["atari"], "'atari': expected --KEY VALUE or KEY=VALUE"),
        (
            ["--jax.precision", "float16"],
            "jax.precision: 'float16' is refused: input should be 'float32' or 'bfloat16'",
        ),
        (["--actor.minstd", "2.0"], "actor.minstd: 2.0 exceeds actor.maxstd 1.0"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(capsys, tmp_path, words, message):
    folder = tmp_path / "run"
    assert message in errors(capsys, "--configs", "debug", "--task", "catch", "--logdir", str(folder), *words)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("atari_pnog", "unknown task 'atari_pnog'; did you mean 'atari_pong'"),
        ("metaworld_levr_pull", "did you mean 'metaworld_lever_pull'"),
        ("atari_../../x", "only letters, digits"),
        ("chess", "unknown task 'chess'"),
    ],
)
def test_a_task_that_does_not_exist_is_named_with_its_neighbours(capsys, tmp_path, task, message):
    assert message in errors(capsys, "--configs", "debug", "--task", task, "--logdir", str(tmp_path / "run"))


def test_a_folder_that_cannot_be_written_is_named(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    words = [*QUICK, "--seed", "0", "--logdir", str(tmp_path / "file" / "run")]
    assert "cannot be written (Not a directory)" in errors(capsys, *words)


def test_missing_logdir_and_task_show_the_usage(capsys):
    assert "--logdir is missing: python -m agent.train" in errors(capsys, "--task", "catch")
    assert "--task is missing" in errors(capsys, "--logdir", "x")


def test_another_configuration_in_the_same_folder_is_refused_with_its_differences(capsys, tmp_path):
    from agent.contract import config as configuration

    run = RunDir(tmp_path)
    saved = make_config(["debug"], {"task": "catch", "actent": 1e-3, "harmony": False})
    configuration.dump_yaml(saved, run.config)
    message = errors(capsys, *QUICK, "--logdir", str(tmp_path))
    assert "method: 'dreamerv3' → 'harmony_dreamerv3'" in message
    assert "actent: 0.001 → 0.0003" in message
    assert not run.status.exists()


def test_settings_that_leave_the_numbers_alone_may_change(tmp_path):
    plain = make_config(["debug"], {"task": "catch"})
    moved = make_config(
        ["debug"], {"task": "catch", "jax.prealloc": "False", "run.log_every": 7, "env.atari.length": 99}
    )
    train.refuse_other(moved, plain, RunDir(tmp_path))


def test_runs_of_a_pack_may_differ_in_seed_and_method_only(capsys, tmp_path):
    from agent.contract import config as configuration

    folders = []
    for name, settings in {
        "a": {},
        "b": {"seed": 1, "harmony": False},
        "c": {"actent": 0.1},
        "e": {"jax.conv": "lax"},
    }.items():
        (tmp_path / name).mkdir()
        config = make_config(["debug"], {"task": "catch", **settings})
        configuration.dump_yaml(config, tmp_path / name / "config.yaml")
        folders.append(str(tmp_path / name))
    train._check_pack([(train._saved(RunDir(tmp_path / n)), RunDir(tmp_path / n)) for n in "ab"])
    assert "differ in seed and method only, not in actent" in errors(capsys, "--runs", *folders)
    told = errors(capsys, "--runs", folders[0], folders[3])
    assert "differ in seed and method only, not in jax.conv: 'auto' → 'lax'" in told
    assert "a folder is given twice" in errors(capsys, "--runs", folders[0], folders[0])
    assert "no such file; --runs takes folders that launch prepared" in errors(capsys, "--runs", str(tmp_path / "d"))


def test_run_folders_with_an_equals_sign_in_their_name_are_taken_as_folders():
    folders = ["runs/s/catch/dreamerv3@actent=0.1/seed-0", "runs/s/catch/dreamerv3@actent=0.1/seed-1"]
    assert train.parse(["--runs", *folders]).runs == folders
    assert train.parse(["--configs", "catch", "debug", "run.steps=3"]).overrides == {"run.steps": "3"}


def command(folder, settings, *words):
    base = [sys.executable, "-m", "agent.train", *settings, "--seed", "0", "--harmony", "True"]
    return [*base, "--logdir", str(folder), *words]


def wait_for(run, env_steps, process):
    """Wait until the run's process has got so far; fail with its output when it ends before."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        rows, _ = files.read_rows(run.metrics)
        if rows and rows[-1]["env_steps"] >= env_steps:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError(f"{run.path} did not reach step {env_steps}")


def saved_steps(run):
    return (files.read_json(run.checkpoint / "latest.json") or {"env_steps": 0})["env_steps"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGKILL])
def test_a_signalled_run_continues_where_it_was(tmp_path, number):
    run = RunDir(tmp_path / "run")
    environ = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path.parent / "cache")}
    long = [*TINY, "run.steps=20000", "run.checkpoint_every_s=0.2", "run.eval_every=100"]
    process = subprocess.Popen(command(run.path, long), env=environ, stdout=-1, stderr=-1, text=True)
    wait_for(run, 200, process)
    while number == signal.SIGKILL and saved_steps(run) < 100:  # checkpoints are written beside training
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    if number == signal.SIGKILL:
        assert process.returncode == -9
        assert run.lease.exists()
    else:
        assert process.returncode == train.STOPPED, err
        assert f"received {number.name}: writing a checkpoint" in err
    saved = saved_steps(run)
    assert saved >= 100
    process = subprocess.Popen(command(run.path, long), env=environ, stdout=-1, stderr=-1, text=True)
    wait_for(run, saved + 100, process)
    process.terminate()
    process.communicate(timeout=120)
    rows, problems = files.read_rows(run.scores)
    steps = [row["env_steps"] for row in rows]
    assert steps == sorted(set(steps))
    assert steps == [60, *range(100, steps[-1] + 1, 100)]
    assert problems == []


@pytest.mark.slow
def test_the_command_of_the_readme_runs_to_its_end_and_answers_when_repeated(tmp_path):
    run = RunDir(tmp_path / "run")
    first = subprocess.run(
        command(run.path, QUICK, "--jax.prealloc", "False"), capture_output=True, text=True, check=True
    )
    assert f"{run.path}: complete at 120 steps, final score" in first.stdout
    provenance = files.read_json(run.provenance)
    assert provenance is not None
    assert provenance["packages"]["jax"]
    assert provenance["device"] == "cpu"
    again = subprocess.run(command(run.path, QUICK), capture_output=True, text=True, check=True)
    assert again.stdout == first.stdout
    assert len(run.attempt_numbers()) == 1
