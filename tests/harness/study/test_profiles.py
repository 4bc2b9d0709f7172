"""Cluster profiles."""

from pathlib import Path

import pytest

from agent.contract.words import ConfigError
from harness.study import profiles
from harness.study.profiles import Profile, build, choose, load, names, widen


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
    monkeypatch.setattr(profiles, "have_slurm", lambda: False)
    with pytest.raises(ConfigError, match="cluster=a100: this machine belongs to no Slurm"):
        choose("a100", {})
    assert choose("a100", {}, look=True).profile.partition == "gpu"
