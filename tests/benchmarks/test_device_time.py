"""Where the device's time goes: reading traces and programs; `test_benchmarks` traces a real update."""

import json
from types import SimpleNamespace as Has

from tests.benchmarks import device_time
from tests.benchmarks.device_time import ROOT, Event

PROGRAM = f"""HloModule jit_update

FileNames
1 "{ROOT}/agent/method/rssm.py"
2 "{ROOT}/agent/nn/layers.py"
3 "/elsewhere/jax/lax.py"

FunctionNames
1 "RSSM.observe"
2 "Linear.__call__"
3 "dot"

FileLocations
1 {{file_name_id=1 function_name_id=1 line=5 end_line=5}}
2 {{file_name_id=2 function_name_id=2 line=6 end_line=6}}
3 {{file_name_id=3 function_name_id=3 line=7 end_line=7}}

StackFrames
1 {{file_location_id=1 parent_frame_id=1}}
2 {{file_location_id=2 parent_frame_id=2}}
3 {{file_location_id=3 parent_frame_id=3}}
4 {{file_location_id=3 parent_frame_id=1}}

%inside (p: f32[2]) -> f32[2] {{
  ROOT %sum = f32[2]{{0}} reduce(%p)
}}

ENTRY %main (a: f32[2]) -> f32[2] {{
  %a = f32[2]{{0}} parameter(0)
  %dot.1 = f32[2]{{0}} dot(%a), metadata={{op_name="jit(update)/dot" stack_frame_id=3}}
  %back = f32[] custom-call(), custom_call_target="__cublas$lt$matmul", metadata={{"transpose(" stack_frame_id=3}}
  %loop = f32[2]{{0}} while(%a), body=%inside
  %foreign = f32[2]{{0}} custom-call(%a), custom_call_target="topk", metadata={{op_name="x" stack_frame_id=4}}
  ROOT %sum_fusion = f32[2]{{0}} fusion(%a), calls=%inside
}}
"""


def event(name, start, duration, **stats):
    return Has(name=name, start_ns=start, duration_ns=duration, stats=list(stats.items()))


def test_an_operation_belongs_to_the_innermost_function_of_the_agent_that_is_not_a_general_one():
    known = device_time.operations(PROGRAM)
    assert known["dot.1"] == known["dot_1"] == ("matrix product", "rssm.RSSM.observe")
    assert known["back"] == ("matrix product", "rssm.RSSM.observe (gradient)")
    assert known["foreign"] == ("custom call topk", device_time.UNKNOWN)
    assert known["sum_fusion"] == ("fusion with a reduce", device_time.UNKNOWN)


def test_frames_are_read_where_callers_are_counted_from_zero_too():
    other = PROGRAM
    for caller in (1, 2, 3):
        other = other.replace(f"parent_frame_id={caller}}}", f"parent_frame_id={caller - 1}}}")
    assert device_time.operations(other)["dot.1"].place == "rssm.RSSM.observe"


def test_a_program_without_frames_has_no_places():
    bare = "HloModule jit_update\n" + PROGRAM[PROGRAM.index("%inside") :]
    assert {operation.place for operation in device_time.operations(bare).values()} == {device_time.UNKNOWN}


def test_of_a_gpu_its_streams_count_and_of_a_cpu_the_operations_of_its_threads():
    host = Has(name="/host:CPU", lines=[Has(name="thread", events=[
        event("dot.1", 0, 5, hlo_op="dot.1"), event("end: dot.1", 5, 1, hlo_op="dot.1"), event("Execute", 0, 9),
    ])])  # fmt: skip
    gpu = Has(name="/device:GPU:0", lines=[
        Has(name="Stream #13(Compute)", events=[event("nvjet_sm90", 0, 4), event("loop", 4, 2, hlo_op="dot.1")]),
        Has(name="XLA Ops", events=[event("dot.1", 0, 4)]),
    ])  # fmt: skip
    assert [one[1:] for one in device_time.read_trace([host])] == [("dot.1", 0, 5)]
    assert [one[1:] for one in device_time.read_trace([host, gpu])] == [("nvjet_sm90", 0, 4), ("dot.1", 4, 6)]


def test_what_encloses_others_is_charged_its_own_time_only():
    nested = {"outer": (0, 10), "first": (1, 4), "inner": (2, 3), "next": (4, 9)}
    events = [*(Event("a", name, *times) for name, times in nested.items()), Event("b", "alone", 2, 12)]
    assert dict(device_time.own_times(events)) == {"outer": 2, "first": 2, "inner": 1, "next": 5, "alone": 10}
    assert device_time.busy(events) == 12
    assert device_time.busy([Event("a", "x", 0, 1), Event("a", "y", 3, 4)]) == 2


def test_loops_are_not_charged_and_unknown_kernels_are_named_by_their_library():
    known = device_time.operations(PROGRAM)
    events = [
        Event("s", "loop", 0, 9e6), Event("s", "dot.1", 1e6, 3e6), Event("s", "cutlass_gemm_f32", 4e6, 8e6),
        Event("s", "loop_convert_fusion", 8e6, 9e6),
    ]  # fmt: skip
    row = device_time.tables(events, known, updates=2)
    assert row["traced_ms"] == 4 and row["busy_ms"] == 3.5
    assert row["by_kind"] == [
        {"kind": "matrix product", "ms": 3.0, "launches": 1.0},
        {"kind": device_time.UNKNOWN, "ms": 0.5, "launches": 0.5},
    ]
    assert row["by_place"][0]["place"] == device_time.UNKNOWN and row["by_place"][1]["place"] == "rssm.RSSM.observe"


def test_the_command_prints_as_many_lines_as_asked_and_writes_them_all(tmp_path, capsys, monkeypatch):
    events = [Event("s", f"kernel{index}", index * 1e6, (index + 0.5) * 1e6) for index in range(4)]

    def measured(preset, pack, precision, updates):
        row = {"preset": preset, "pack": pack, "precision": precision, "ms": 3.5}
        return row | device_time.tables(events, {}, updates)

    monkeypatch.setattr(device_time, "measure", measured)
    arguments = f"--preset debug --pack 2 --updates 1 --rows 3 --json {tmp_path}/time.json".split()
    assert device_time.main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "debug, pack of 2, float32: 3.50 ms per update; while traced 3.50 ms, busy 2.00"
    assert printed[-4:] == [
        *(f"     0.500         1  kernel{index}" for index in range(3)), "     0.500            1 more"
    ]  # fmt: skip
    assert len(json.loads((tmp_path / "time.json").read_text())["by_kernel"]) == 4
