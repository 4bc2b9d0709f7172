"""Runs that fail by themselves, in every way we know: each is named, and all complete in the end."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import ONE, PAIR, RUNS, Lab, Stand, check_study, slow, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("beside")]

FAULTS = {
    "gpu_oom": "gpu_oom",
    "code": "code_error",
    "nan": "nan",
    "disk": "disk_full",
    "graphics": "environment",
    "kill": "killed",
    "segfault": "killed",
    "leave": "code_error",
}


@pytest.mark.parametrize("pack", [1, 3])
def test_each_way_a_run_fails_by_itself_is_named_and_all_complete_in_the_end(
    lab: Lab, tmp_path: Path, pack: int
) -> None:
    gpu = Stand(tmp_path / "gpu")
    gpu.answer("nvidia-smi", "echo 'Declared GPU, 40960'")
    lab.grid("faults", ONE)
    faults = {f"catch/cheap/seed-{seed}": fault for seed, fault in enumerate(FAULTS)}
    words = ("grid=faults", "cluster=test", f"seeds={len(FAULTS) + 1}", f"pack={pack}", "cluster.gpus=1")
    lab.run("launch", *words, env=slow(0.1, **faults) | gpu.env)
    expected = {run: FAULTS[fault] for run, fault in faults.items()} | {f"catch/cheap/seed-{len(FAULTS)}": "done"}
    wait_until(
        lambda: "running" not in (found := lab.labels("faults").values()) and "queued" not in found, 90, "ends", 2
    )
    assert lab.labels("faults") == expected
    shown = lab.run("status", "grid=faults", code=1).out
    assert "KeyError: 'reward'" in shown
    wasted = json.loads(lab.run("status", "grid=faults", "--json", code=1).out)["hours"]
    assert wasted["gpu"]
    assert {"code_error", "killed"} <= set(wasted["wasted"])
    words = ("--state", ",".join({*FAULTS.values(), "failed", "oom"}))
    lab.run("resubmit", "grid=faults", *words, env=slow(0.05) | gpu.env, code=None)
    lab.wait_all("faults", "done", 90)
    check_study(lab.study("faults"))


def test_a_pack_that_fills_the_gpu_is_halved(lab: Lab, tmp_path: Path) -> None:
    gpu = Stand(tmp_path / "gpu")
    gpu.answer("nvidia-smi", "echo 'Declared GPU, 40960'")
    lab.grid("pack", PAIR)
    words = ("grid=pack", "cluster=test", "seeds=2", "pack=4", "cluster.gpus=1")
    faults = dict.fromkeys((name.replace("seed-0", f"seed-{seed}") for name in RUNS for seed in (0, 1)), "gpu_oom")
    lab.run("launch", *words, env=slow(0.1, **faults) | gpu.env)
    lab.wait_all("pack", "gpu_oom", 60)
    fixed = lab.run("resubmit", "grid=pack", "--fix", env=slow(0.05) | gpu.env)
    assert "fix: gpu_oom: pack 4 → 2 (4 runs)" in fixed.out
    assert "4 runs in 2 jobs are resubmitted" in fixed.out
    lab.wait_all("pack", "done", 60)
    check_study(lab.study("pack"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_runs_full_is_named_and_all_goes_on_once_there_is_space(lab: Lab, small_disk: Path) -> None:
    lab.grid("pair", PAIR)
    runs = lab.tree / "runs"
    runs.symlink_to(small_disk)
    lab.run("launch", "grid=pair", "cluster=test", env=slow(0.5))
    lab.wait_running("pair", 60)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    lab.wait_all("pair", "disk_full", 60)
    filler.unlink()
    lab.run("resubmit", "grid=pair", "--state", "disk_full,failed", env=slow(0.05))
    lab.wait_all("pair", "done", 60)
    check_study(lab.study("pair"))


def test_a_job_that_dies_before_python_starts_shows_its_last_words(lab: Lab) -> None:
    lab.grid("pair", PAIR)
    lab.run("launch", "grid=pair", "cluster=test", "cluster.setup=echo no module called cuda >&2; exit 7")
    wait_until(lambda: set(lab.labels("pair").values()) == {"not_started"}, 60, "not started", 1)
    found = lab.states("pair")[RUNS[0]]
    assert found["message"] == "ended before Python started (exit code 7): no module called cuda"
    lab.run("resubmit", "grid=pair", "--state", "not_started", "cluster.setup=true", env=slow(0.05), code=None)
    lab.wait_all("pair", "done", 60)


def test_a_job_that_gets_no_gpu_though_it_was_planned_with_one_says_so_in_one_sentence(
    lab: Lab, tmp_path: Path
) -> None:
    none = Stand(tmp_path / "gpu")
    none.answer("nvidia-smi", "exit 9")
    lab.grid("one", ONE)
    lab.run("launch", "grid=one", "cluster=test", "cluster.gpus=1", env=none.env)
    lab.wait_all("one", "device", 60)
    message = lab.states("one")[RUNS[0]]["message"]
    assert message.endswith("was planned with 1 GPU, but nvidia-smi shows none here (CUDA_VISIBLE_DEVICES=0)")
