"""Runs → jobs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.command import parse
from harness.study.grid import configure, expand
from harness.study.grid_file import load_grid
from harness.study.packing import gpu_memory_gb, memory_fraction, pack_size, plan_packs, run_memory_gb
from harness.study.profiles import Profile
from harness.study.run import Run
from tests.harness.local import ours


def atari(*words: str) -> list[Run]:
    return expand(configure(load_grid("atari100k"), parse(words, {})))


@settings(deadline=None)
@given(st.integers(1, 9), st.sampled_from(["vmap", "process"]), st.integers(1, 6))
def test_every_run_is_in_exactly_one_pack_of_one_task(size: int, mode: str, seeds: int) -> None:
    runs = atari("tasks=pong,boxing,qbert", f"seeds={seeds}")
    packs = plan_packs(runs, size, mode)
    names = [name for pack in packs for name in pack.runs]
    assert sorted(names) == sorted(run.name for run in runs)
    assert all(len({name.split("/")[0] for name in pack.runs}) == 1 for pack in packs)
    assert max(len(pack.runs) for pack in packs) <= size


def test_packs_keep_the_balanced_order() -> None:
    runs = atari("seeds=2")
    first = [pack.runs[0] for pack in plan_packs(runs, 1, "vmap")]
    assert first == [run.name for run in runs]
    packs = plan_packs(runs, 2, "vmap")
    assert [pack.runs for pack in packs[:2]] == [
        ("atari_alien/dreamerv3/seed-0", "atari_alien/harmony_dreamerv3/seed-0"),
        ("atari_amidar/dreamerv3/seed-0", "atari_amidar/harmony_dreamerv3/seed-0"),
    ]


@pytest.mark.parametrize("mode", ["vmap", "process"])
@pytest.mark.parametrize(
    "axis", ["agent.batch_size=8,16", "agent.jax.conv=lax,matmul", "agent.jax.prealloc=True,False"]
)
def test_a_pack_shares_every_setting_but_seed_and_method_those_outside_the_identity_too(mode: str, axis: str) -> None:
    runs = atari("tasks=pong", "seeds=1", axis)
    packs = plan_packs(runs, 4, mode)
    assert [len(pack.runs) for pack in packs] == [2, 2]
    assert all(len({name.split("/")[1].partition("@")[2] for name in pack.runs}) == 1 for pack in packs)


@pytest.mark.parametrize(("processes", "memory", "share"), [(1, 80.0, 0.94), (2, 80.0, 0.465), (4, 16.0, 0.1875)])
def test_processes_share_memory_beside_their_contexts(processes: int, memory: float, share: float) -> None:
    assert memory_fraction(processes, memory) == pytest.approx(share)
    assert processes * (memory_fraction(processes, memory) * memory + 0.8) == pytest.approx(0.95 * memory)


def test_auto_fills_the_device_and_is_one_without_one() -> None:
    config = ours(atari("tasks=pong", "seeds=1")[0])
    assert pack_size("auto", config, None) == 1
    assert pack_size("auto", config, 79.0) == min(16, int((0.95 * 79 - 0.8) / run_memory_gb(config)))
    assert pack_size("auto", config, 4.0) == 1
    assert pack_size(3, config, 1.0) == 3


def test_a_gpus_memory_is_known_by_its_type() -> None:
    assert gpu_memory_gb(Profile(gpu_type="h100")) == 79.0
    assert gpu_memory_gb(Profile(gpu_type="nvidia_a100_80gb_pcie")) == 78.4
    assert gpu_memory_gb(Profile(gpu_type="a100")) == 39.5
    assert gpu_memory_gb(Profile(gpu_type="fake", gpu_mem_gb=11.0)) == 11.0
    assert gpu_memory_gb(Profile(gpu_type="unheard-of")) is None


@pytest.mark.parametrize(("most", "sizes"), [(8, [5, 5]), (4, [4, 3, 3]), (10, [10]), (9, [5, 5]), (3, [3, 3, 2, 2])])
def test_runs_of_one_task_are_shared_out_evenly(most: int, sizes: list[int]) -> None:
    packs = plan_packs(atari("tasks=pong", "seeds=5"), most, "vmap")
    assert [len(pack.runs) for pack in packs] == sizes
