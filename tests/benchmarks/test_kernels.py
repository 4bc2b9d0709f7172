"""The count of GPU kernels: how programs are read, and the bound on an update's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.study.packing import run_memory_gb
from tests.benchmarks import kernels
from tests.benchmarks.workloads import workload

RESULTS = Path(__file__).with_name("results") / "kernels.json"
PROGRAM = """HloModule jit_update, entry_computation_layout={(f32[2]{0})->f32[2]{0}}

%inside (p: f32[2]) -> f32[2] {
  ROOT %never = f32[2]{0} add(%p, %p)
}

%body (state: (s32[], f32[2])) -> (s32[], f32[2]) {
  %state = (s32[], /*index=1*/f32[2]{0:T(128)}) parameter(0)
  %x = f32[2]{0} get-tuple-element(%state), index=1
  %one = f32[2]{0} fusion(%x), kind=kLoop, calls=%inside
  %two = (f32[2]{0}, f32[2]{0}) custom-call(%one), custom_call_target="__cublas$gemm"
  ROOT %out = (s32[], f32[2]{0}) tuple(%one, %x)
}

%done (state.1: (s32[], f32[2])) -> pred[] {
  ROOT %less = pred[] compare(%state.1, %state.1), direction=LT
}

%called (q: f32[2]) -> f32[2] {
  ROOT %copied = f32[2]{0} copy(%q)
}

ENTRY %main.1 (a: f32[2]) -> f32[2] {
  %a = f32[2]{0} parameter(0)
  %b = f32[2]{0} call(%a), to_apply=%called
  %w = (s32[], f32[2]{0}) while(%b), condition=%done, body=%body, backend_config={"known_trip_count":{"n":"15"}}
  ROOT %r = f32[2]{0} bitcast(%b)
}
"""


def test_a_loops_kernels_count_as_often_as_it_turns():
    assert kernels.count(*kernels.read_program(PROGRAM)) == 1 + 15 * 2


def test_a_loop_of_unknown_length_is_refused():
    with pytest.raises(ValueError, match="trip count"):
        kernels.count(*kernels.read_program(PROGRAM.replace("known_trip_count", "other")))


@pytest.mark.slow
@pytest.mark.cuda_compiler
def test_an_update_of_atari100k_needs_no_more_gpu_kernels_than_its_bound():
    reason = kernels.missing()
    if reason:
        pytest.skip(reason)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.benchmarks.kernels", "--pack", "1"]
    ended = subprocess.run(command, cwd=root, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]


@pytest.mark.parametrize("row", json.loads(RESULTS.read_text()), ids=lambda row: f"{row['preset']}-p{row['pack']}")
def test_the_memory_that_packs_are_planned_with_covers_what_the_compiler_asks_for(row):
    config, _ = workload(row["preset"])
    asked = (row["argument_bytes"] + row["temp_bytes"]) / row["pack"] / 1e9
    assert asked <= run_memory_gb(config) <= 1.25 * asked


def test_the_stored_counts_are_within_their_bounds():
    rows = [row for row in json.loads(RESULTS.read_text()) if row["preset"] == "atari100k"]
    assert sorted(row["pack"] for row in rows) == sorted(kernels.BOUNDS)
    assert all(row["kernels_per_run"] <= kernels.BOUNDS[row["pack"]] for row in rows)
