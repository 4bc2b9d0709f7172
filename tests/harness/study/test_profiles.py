"""Cluster profiles."""

import sys
from pathlib import Path

import pytest

from agent.contract.words import ConfigError
from harness.backend.registry import backend_of
from harness.study import profiles
from harness.study.profiles import Profile, build, check_python, choose, load, names, widen


@pytest.mark.parametrize("name", names())
def test_every_bundled_profile_loads(name: str) -> None:
    assert load(name).name == name


def test_without_slurm_the_local_pool_is_chosen_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "have_slurm", lambda: False)
    choice = choose(None, {})
    assert choice.profile.kind == "local"
    assert choice.note == "no Slurm on this machine: cluster=local"


def test_overrides_are_typed_and_options_pass_through() -> None:
    profile = build("a", {}, {"mem_gb": "64", "slurm.reservation": "paper", "env.A": "1", "exclude": "n1,n2"})
    assert profile.mem_gb == 64
    assert profile.slurm == {"reservation": "paper"}
    assert profile.env == {"A": "1"}
    assert profile.exclude == ("n1", "n2")
    assert Profile.model_validate(widen(profile.model_dump(mode="json"))) == profile


@pytest.mark.parametrize(
    ("data", "overrides", "message"),
    [
        ({"partiton": "gpu"}, {}, "unknown key 'partiton'; did you mean 'partition'"),
        ({"cpus": "many"}, {}, "cpus: 'many' is refused"),
        ({"slurm": "--nice"}, {}, "slurm: '--nice' is refused: a mapping"),
        ({"env": ["A=1"]}, {}, r"env: \['A=1'\] is refused: a mapping"),
        ({"gpus": -1}, {}, "gpus: -1 is refused"),
        ({}, {"mem_bg": "3"}, "cluster.mem_bg: unknown key 'mem_bg'; did you mean 'mem_gb'"),
        ({}, {"walltime_min": "long"}, "cluster.walltime_min: 'long' is refused"),
        ({"env": {"JAX_PLATFORMS": "cpu"}}, {}, "env.JAX_PLATFORMS: jobs get it from their plan; set cluster.gpus="),
        ({}, {"env.XLA_CLIENT_MEM_FRACTION": ".5"}, "cluster.env.XLA_CLIENT_MEM_FRACTION: .*agent.jax.mem_fraction="),
        ({}, {"slurm.time": "5"}, "cluster.slurm.time: the harness sets it; set cluster.walltime_min= instead"),
        ({"slurm": {"array": "0-3"}}, {}, "^slurm.array: the harness sets it; set array_throttle= instead"),
        ({"slurm": {"cpus_per_task": 2}}, {}, "slurm.cpus_per_task: the harness sets it; set cpus= instead"),
        ({}, {"slurm.job-name": "x"}, "cluster.slurm.job-name: .* jobs are found again by the name they get"),
        ({"walltime_min": 10}, {"signal_s": "600"}, "^cluster.signal_s: 600 is refused: .* the end of its 600 s"),
        ({"walltime_min": 2}, {}, "^signal_s: 120 is refused: .* or more walltime_min="),
        ({}, {"slurm": "x"}, r"cluster.slurm: unknown key 'slurm'; did you mean .*slurm.OPTION"),
    ],
)
def test_a_wrong_profile_names_key_and_value(data: dict[str, object], overrides: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("a", data, overrides)


def test_an_unknown_cluster_gets_the_nearest_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a100.yaml").write_text("partition: gpu\n")
    monkeypatch.setattr(profiles, "PROFILES", tmp_path)
    with pytest.raises(ConfigError, match="cluster=a10: unknown cluster 'a10'; did you mean 'a100'"):
        choose("a10", {})


def test_a_profile_of_slurm_may_only_be_looked_at_on_a_machine_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "have_slurm", lambda: False)
    profile = load("a100")
    with pytest.raises(ConfigError, match="cluster=a100: this machine belongs to no Slurm"):
        backend_of(profile).check(profile, Path("runs"), look=False)
    backend_of(profile).check(profile, Path("runs"), look=True)


def test_an_unknown_kind_of_cluster_gets_the_nearest_one() -> None:
    with pytest.raises(
        ConfigError, match=r"kind: unknown kind of cluster 'slrm'; did you mean 'slurm'\? \(local, slurm\)"
    ):
        backend_of(build("x", {"kind": "slrm"}, {}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("24:00:00", 1440),
        ("2-00:00:00", 2880),
        ("2-12", 3600),
        ("1-12:30", 2190),
        ("90:30", 91),
        ("0:00:30", 1),
    ],
)
def test_a_walltime_is_read_as_slurm_spells_it(text: str, expected: int) -> None:
    assert build("a", {"signal_s": 0}, {"walltime_min": text}).walltime_min == expected
    assert build("a", {"signal_s": 0, "walltime_min": text}, {}).walltime_min == expected


@pytest.mark.parametrize("text", ["a day", "1:2:3:4", "-5", "0", "1h", "12:345"])
def test_what_is_no_walltime_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^cluster\.walltime_min: "):
        build("a", {"signal_s": 0}, {"walltime_min": text})


def test_a_set_up_line_with_a_comma_stays_whole_and_so_does_a_range_of_hosts() -> None:
    profile = build("a", {}, {"setup": "module load cuda,cudnn", "exclude": "n[1,3],m2"})
    assert profile.setup == ("module load cuda,cudnn",)
    assert profile.exclude == ("n[1,3]", "m2")
    assert build("a", {}, {"setup": "module load a\nexport B=1,2"}).setup == ("module load a", "export B=1,2")


def test_several_gpus_of_a_job_are_refused_as_it_would_use_one() -> None:
    with pytest.raises(ConfigError, match=r"^cluster\.gpus: 4 is refused: a job trains on one GPU"):
        build("a", {}, {"gpus": "4"})
    assert build("local", {"kind": "local", "gpus": 4}, {}).gpus == 4


def test_a_profile_may_be_a_file_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("partition: gpu\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / "mine.yaml"), "./mine.yaml", "mine.yaml", "~/mine.yaml"):
        profile = choose(name, {}).profile
        assert (profile.name, profile.partition) == ("mine", "gpu")
    with pytest.raises(ConfigError, match=r"cluster=\./their\.yaml: there is no such file"):
        choose("./their.yaml", {})
    (tmp_path / "mine.yaml").write_text("partiton: gpu\n")
    with pytest.raises(ConfigError, match=r"^\./mine\.yaml: unknown key 'partiton'"):
        choose("./mine.yaml", {})


def test_the_python_of_jobs_is_checked_where_it_can_be(tmp_path: Path) -> None:
    def check(python: str, *setup: str) -> None:
        check_python(build("a", {"python": python, "setup": list(setup)}, {}))

    check(sys.executable)
    check("env python")
    check("apptaner exec image.sif python", "module load apptaner")
    with pytest.raises(ConfigError, match="python: apptaner is not to be found here, and no set-up line brings it"):
        check("apptaner exec image.sif python")
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(ConfigError, match="lacks what jobs need: ModuleNotFoundError: No module named"):
        check(str(bare))
    with pytest.raises(ConfigError, match="python: jobs on this machine run in the Python that launches"):
        build("local", {"kind": "local", "python": "python3"}, {})
