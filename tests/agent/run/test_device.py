"""Memory and platform settings of JAX: what is set before it starts, and what is verified after."""

import os
import subprocess
import sys

import jax
import pytest

from agent.contract.config import make_config
from agent.run import device
from agent.run.device import DeviceError

NAMES = (
    "JAX_PLATFORMS",
    "JAX_ENABLE_COMPILATION_CACHE",
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
)
MEMORY = ("XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION")
GIB = 2**30


@pytest.fixture
def environ(monkeypatch):
    """The environment with none of what is set here, and put back afterwards."""
    for name in (*NAMES, *MEMORY, device.POOL_FRACTION, "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, "")  # so that it is restored whatever happens to it
        monkeypatch.delenv(name)
    return monkeypatch


def test_what_is_compiled_is_kept_in_a_folder_of_the_users_alone(environ, tmp_path):
    environ.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    device.configure(settings())
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "cache/harmony-bench/xla")
    assert (tmp_path / "cache/harmony-bench/xla").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("what", ["a file", "everybody's", "a link"])
def test_without_a_cache_folder_of_the_users_alone_nothing_is_kept(environ, tmp_path, capsys, what):
    folder = tmp_path / "harmony-bench"
    if what == "a file":
        folder.write_text("")
    elif what == "a link":
        folder.symlink_to(tmp_path)
    else:
        folder.mkdir()
        folder.chmod(0o777)
    environ.setenv("XDG_CACHE_HOME", str(tmp_path))
    device.configure(settings())
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    assert os.environ["JAX_ENABLE_COMPILATION_CACHE"] == "false"
    assert "no compilation cache" in capsys.readouterr().err


class Gpu:
    """What JAX says of a GPU with a pool of this size."""

    def __init__(self, pool_gb):
        self.pool_gb = pool_gb

    def memory_stats(self):
        return {"bytes_limit": int(self.pool_gb * GIB)}


def settings(**jax_settings):
    return make_config(["debug"], {"task": "catch", **{f"jax.{k}": v for k, v in jax_settings.items()}})


def test_memory_settings_become_jax_s_before_it_starts(environ):
    device.configure(settings(platform="cpu", prealloc=False, mem_fraction=0.3, compilation_cache="/cache"))
    assert os.environ["JAX_PLATFORMS"] == "cpu"
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.3000"
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "/cache"


@pytest.mark.parametrize("name", ["XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION"])
def test_a_fraction_that_the_job_has_by_either_name_is_kept_and_stays_the_only_one(environ, name):
    environ.setenv(name, "0.45")
    device.configure(settings(mem_fraction=0.3))
    assert [os.environ.get(n) for n in MEMORY[1:]] == [("0.45" if n == name else None) for n in MEMORY[1:]]


@pytest.mark.parametrize(("pool_gb", "kept"), [(18.0, True), (18.7, True), (36.0, False), (9.0, False)])
def test_a_pool_of_another_size_than_promised_is_refused_in_one_sentence(environ, pool_gb, kept):
    environ.setenv(device.POOL_FRACTION, "0.45")
    environ.setattr(device, "_total_memory", lambda: 40 * GIB)
    environ.setattr(jax, "devices", lambda: [Gpu(pool_gb)])
    environ.setattr(jax, "default_backend", lambda: "gpu")
    if kept:
        device.verify_pool()
        return
    said = rf"promised 18.0 GiB .* \(0.45 of 40\), but JAX's pool has {pool_gb} GiB"
    with pytest.raises(DeviceError, match=said) as found:
        device.verify_pool()
    assert "\n" not in str(found.value)


def test_a_cpu_and_a_process_without_a_promise_have_nothing_to_verify(environ):
    device.verify_pool()
    environ.setenv(device.POOL_FRACTION, "0.45")
    device.verify_pool()


@pytest.mark.parametrize("platforms", ["cuda,cpu", "cuda"])
def test_a_gpu_that_jax_cannot_drive_is_not_quietly_replaced_by_the_cpu(platforms):
    program = (
        "from agent.run.device import DeviceError, describe\n"
        "try: print('device', describe())\n"
        "except DeviceError as error: print(error)"
    )
    environ = {**os.environ, "JAX_PLATFORMS": platforms, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert "make venv EXTRAS=cuda12" in done.stdout
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION"])
def test_jax_s_pool_on_a_gpu_follows_the_fraction_by_either_name_and_a_broken_promise_is_seen(name):
    if jax.default_backend() == "cpu":
        pytest.skip("JAX found no GPU")
    program = "from agent.run import device; device.verify_pool(); print('kept')"
    for promised, code in (("0.2", 0), ("0.4", 1)):
        environ = {k: v for k, v in os.environ.items() if k not in MEMORY}
        environ |= {"JAX_PLATFORMS": "cuda,cpu", name: "0.2", device.POOL_FRACTION: promised}
        done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert ("kept" in done.stdout) == (code == 0)
        assert ("this job was promised" in done.stderr) == (code == 1)
