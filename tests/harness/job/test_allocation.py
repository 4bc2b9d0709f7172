"""The environment of a job's processes."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.variables import CPUS, JOB_ID, POOL_FRACTION
from harness.job import allocation
from harness.job.allocation import EnvironmentFault, Gpu, process_environment, share
from harness.study import packing
from harness.study.records import PackRecord, ProfileRecord

H100 = Gpu("3", "NVIDIA H100 80GB HBM3", 79.6)


def pack(gpus: int = 1, processes: int = 1, **more: Any) -> PackRecord:
    profile = ProfileRecord(kind="slurm", gpus=gpus, env={"NOTE": "kept"})
    words = {"runs": ["a"], "mode": "process", "number": 0, "job_name": "hb", "code": "/code"}
    return PackRecord.model_validate({**words, "profile": profile, "processes": processes, **more})


def test_a_cpu_job_sees_no_gpu_and_is_promised_no_memory() -> None:
    environ = process_environment(pack(gpus=0), None, 0, Path("/cache"), {"XLA_CLIENT_MEM_FRACTION": "0.5"})
    assert environ["JAX_PLATFORMS"] == "cpu"
    assert environ["CUDA_VISIBLE_DEVICES"] == ""
    assert environ["JAX_COMPILATION_CACHE_DIR"] == "/cache"
    assert environ["PYTHONPATH"] == "/code"
    assert environ["NOTE"] == "kept"
    assert not {"XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION", POOL_FRACTION} & set(environ)


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_a_gpu_job_gets_one_fraction_by_one_name_and_is_told_it(processes: int) -> None:
    base = {"XLA_CLIENT_MEM_FRACTION": "0.9", "PYTHONPATH": "/mine"}
    environ = process_environment(pack(processes=processes), H100, 0, Path("/cache"), base)
    fraction = packing.memory_fraction(processes, H100.memory_gb)
    assert float(environ["XLA_PYTHON_CLIENT_MEM_FRACTION"]) == pytest.approx(fraction, abs=1e-4)
    assert environ[POOL_FRACTION] == environ["XLA_PYTHON_CLIENT_MEM_FRACTION"]
    assert environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "true"
    assert "XLA_CLIENT_MEM_FRACTION" not in environ
    assert environ["JAX_PLATFORMS"] == "cuda,cpu"
    assert environ["MUJOCO_EGL_DEVICE_ID"] == "3"
    assert environ["PYTHONPATH"] == "/code:/mine"


def test_the_users_own_compilation_cache_is_left_to_the_agent() -> None:
    environ = process_environment(pack(gpus=0, compilation_cache="off"), None, 0, Path("/cache"), {})
    assert "JAX_COMPILATION_CACHE_DIR" not in environ


def test_a_job_without_a_copy_of_the_cache_keeps_nothing_it_compiles() -> None:
    environ = process_environment(pack(gpus=0), None, 0, None, {})
    assert environ["JAX_ENABLE_COMPILATION_CACHE"] == "false"
    assert "JAX_COMPILATION_CACHE_DIR" not in environ


@pytest.mark.parametrize("own", [{"prealloc": False}, {"mem_fraction": 0.3}])
def test_the_users_own_memory_setting_is_left_to_the_agent(own: dict[str, Any]) -> None:
    environ = process_environment(pack(**own), H100, 0, Path("/cache"), {})
    assert POOL_FRACTION not in environ
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in environ


def test_a_promised_gpu_that_is_not_there_is_said_in_one_sentence() -> None:
    with pytest.raises(EnvironmentFault, match=r"was planned with 1 GPU, but nvidia-smi shows none here") as caught:
        process_environment(pack(), None, 0, Path("/cache"), {"CUDA_VISIBLE_DEVICES": "7"})
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(st.integers(1, 64), st.integers(1, 16))
def test_shares_of_cores_cover_all_and_none_is_empty(cores: int, parts: int) -> None:
    shares = [share(list(range(cores)), parts, part) for part in range(parts)]
    assert all(shares)
    assert {core for part in shares for core in part} == set(range(cores))
    if cores >= parts:
        assert sum(map(len, shares)) == cores


def test_a_slot_of_the_local_pool_limits_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = allocation.cores()
    monkeypatch.setenv(CPUS, str(everything[-1]))
    assert allocation.cores() == [everything[-1]]
    monkeypatch.setenv(CPUS, "99999")
    assert allocation.cores() == everything


@pytest.mark.parametrize(
    ("environ", "job"),
    [({JOB_ID: "12_3", "SUBMITIT_LOCAL_JOB_ID": "77"}, "12_3"), ({"SUBMITIT_LOCAL_JOB_ID": "77"}, "local-77")],
)
def test_a_job_knows_its_id(environ: dict[str, str], job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB_ID, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert allocation.job_id() == job
