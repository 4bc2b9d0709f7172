"""Options of sbatch in a profile."""

import os
from pathlib import Path

import pytest

from agent.contract.words import ConfigError
from harness.study import sbatch_options
from harness.study.profiles import build


@pytest.fixture(autouse=True)
def no_sbatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbatch_options, "of_this_machine", frozenset)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("mem-per-gpu", "the harness sets it; set cluster.mem_gb= instead"),
        ("mem_per_cpu", "set cluster.mem_gb= instead"),
        ("gpus", "set cluster.gpus=, cluster.gpu_type= or slurm.gres= instead"),
        ("gpus-per-task", "set cluster.gpus="),
        ("G", "set cluster.gpus="),
        ("p", "set cluster.partition= instead"),
        ("ntasks-per-gpu", "one process tree"),
        ("clusters", "could not be followed; launch on a login node of that cluster"),
        ("M", "could not be followed"),
        ("wrap", "the study's own script"),
        ("wait", "status --watch"),
        ("no-requeue", "slurm.requeue=false"),
        ("w", "long names are expected; write cluster.slurm.nodelist= instead"),
        ("--nice", "long names are expected; write cluster.slurm.nice= instead"),
        ("reservaton", "unknown option of sbatch 'reservaton'; did you mean 'reservation'"),
        ("nodes; rm -rf /", "unknown option of sbatch"),
    ],
)
def test_what_contradicts_the_harness_or_is_unknown_is_refused_by_name(option: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"^cluster\.slurm\.") as refused:
        build("a", {}, {f"slurm.{option}": "1"})
    assert message in str(refused.value)
    with pytest.raises(ConfigError, match=r"^slurm\."):
        build("a", {"slurm": {option: 1}}, {})


@pytest.mark.parametrize(
    "option", ["reservation", "nodelist", "mail_type", "gres", "requeue", "signal", "licenses", "nice"]
)
def test_other_options_pass(option: str) -> None:
    assert option in build("a", {}, {f"slurm.{option}": "1"}).slurm


def test_every_short_name_has_a_long_one_of_which_is_said_what_to_do() -> None:
    for long in sbatch_options.SHORT.values():
        assert (long in sbatch_options.OWN) != (long in sbatch_options.PASSED)


def test_an_option_that_this_machines_sbatch_has_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer Slurm has more, and plugins bring their own, such as those that start containers."""
    program = tmp_path / "sbatch"
    program.write_text(
        "#!/bin/sh\necho '      --container-image=[USER@][REGISTRY#]IMAGE   the image  --tres-per-task=list'\n"
    )
    program.chmod(0o755)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    sbatch_options.of_this_machine.cache_clear()
    try:
        assert sbatch_options.of_this_machine() == {"container-image", "tres-per-task"}
        assert build("a", {"slurm": {"container-image": "x"}}, {}).slurm == {"container-image": "x"}
        with pytest.raises(ConfigError, match="did you mean 'container-image'"):
            build("a", {"slurm": {"container-imag": "x"}}, {})
    finally:
        sbatch_options.of_this_machine.cache_clear()
