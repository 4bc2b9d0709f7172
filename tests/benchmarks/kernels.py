"""Count the GPU kernels of one update, compiled for an H100 without having one.

    python -m tests.benchmarks.kernels [--preset atari100k] [--pack 1 8] [--json FILE] [key=value ...]

XLA's CUDA compiler needs no GPU, only the plugin (`make cuda-compiler`, 220 MB, beside the environment's packages). It
compiles for the device described below; nothing is autotuned. A kernel is an instruction of the optimised program that
launches one; the body of a loop counts as often as its known trip count. Memory is what the compiler reports.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from agent.contract.config import Config

# An H100 SXM as its driver describes it: 132 multiprocessors of 128 lanes, 80 GB of HBM3.
H100 = {
    "core_count": 132, "fpus_per_core": 128, "threads_per_warp": 32, "threads_per_block_limit": 1024,
    "threads_per_core_limit": 2048, "registers_per_block_limit": 65536, "registers_per_core_limit": 65536,
    "shared_memory_per_block": 49152, "shared_memory_per_block_optin": 232448, "shared_memory_per_core": 233472,
    "block_dim_limit_x": 2147483647, "block_dim_limit_y": 65535, "block_dim_limit_z": 65535, "clock_rate_ghz": 1.98,
    "memory_bandwidth": 3352320000000, "l2_cache_size": 52428800, "device_memory_size": 84942979072,
}  # fmt: skip
CAPABILITY, CUDNN, NAME = 9, (9, 10, 0), "NVIDIA H100 80GB HBM3"
# Only the passes before code generation decide the count: machine code may be poor, and is made twice as fast.
OPTIONS = {"xla_llvm_disable_expensive_passes": True, "xla_backend_optimization_level": "0"}
# Untuned, XLA finds no tiling of its own for some products of packs and of metaworld. There they go to cuBLAS, counted
# as one kernel each, though the library may take two.
CUBLAS = {**OPTIONS, "xla_gpu_enable_triton_gemm": False}
# Kernels per update and run of atari100k, by the size of the pack: more of them are a step back, and exit code 1.
BOUNDS = {1: 2700, 8: 360}
# In the plugin's folder: XLA's compiler, and NVIDIA's assembler and library that it calls.
PLUGIN, TOOLS = "jax_plugins/xla_cuda12", "nvidia/cuda_nvcc"
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "async-done", "async-update",
    "copy-done", "opt-barrier",
}  # fmt: skip


class Instruction(NamedTuple):
    """One line of an optimised program: its name, what it does, and the text after its type."""

    name: str
    opcode: str
    text: str


def target() -> str:
    """Return the device's description as XLA reads it."""
    facts = "\n".join(f"  {key}: {value}" for key, value in H100.items())
    major, minor, patch = CUDNN
    return (
        f"gpu_device_info {{\n{facts}\n  cuda_compute_capability {{ major: {CAPABILITY} }}\n}}\n"
        f'platform_name: "CUDA"\ndnn_version_info {{ major: {major} minor: {minor} patch: {patch} }}\n'
        f'device_description_str: "{NAME}"\n'
    )


def plugin_folder() -> Path:
    """Return where `make cuda-compiler` puts the plugin of the JAX in use."""
    from importlib.metadata import version

    chosen = os.environ.get("HARMONY_BENCH_CUDA_COMPILER")
    return Path(chosen) if chosen else Path(sys.prefix) / f"cuda-compiler-{version('jax')}"


def missing() -> str | None:
    """Return why kernels cannot be counted here, or None."""
    folder = plugin_folder()
    found = all((folder / name).is_dir() for name in (PLUGIN, TOOLS))
    return None if found else f"no CUDA compiler in {folder}; `make cuda-compiler` installs it"


def read_program(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """Return the instructions of every computation in an HLO module's text, and the name of the entry."""
    computations: dict[str, list[Instruction]] = {}
    entry = name = ""
    for line in text.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$", line)
        if header:
            name = header[2]
            computations[name] = []
            entry = name if header[1] else entry
        found = re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*)$", line)
        if found and name:
            rest = _after_type(found[2])
            computations[name].append(Instruction(found[1], rest.split("(", 1)[0], rest))
    return computations, entry


def _after_type(text: str) -> str:
    """Return an instruction's text without the type before it, which may be a tuple of types."""
    if not text.startswith("("):
        return text.split(" ", 1)[1]
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[place + 1 :].lstrip()
    raise ValueError(f"a type without an end: {text[:80]}")


def count(computations: dict[str, list[Instruction]], name: str) -> int:
    """Return the kernels that a computation launches. Raises ValueError for a loop of unknown length."""
    total = 0
    for _, opcode, text in computations[name]:
        if opcode == "while":
            trips = re.search(r'known_trip_count":\{"n":"(\d+)"', text)
            if trips is None:
                raise ValueError(f"a loop whose trip count the compiler does not know: {text[:120]}")
            total += int(trips[1]) * count(computations, _callee(text, "body"))
        elif opcode == "call":
            total += count(computations, _callee(text, "to_apply"))
        elif opcode == "async-start":
            total += count(computations, _callee(text, "calls"))
        elif opcode not in FREE:
            total += 1
    return total


def _callee(text: str, role: str) -> str:
    found = re.search(rf"\b{role}=%?([\w.\-]+)", text)
    if found is None:
        raise ValueError(f"no {role} in: {text[:120]}")
    return found[1]


def unrolled(config: Config) -> Config:
    """Return the configuration with the unrolling and the forms that a GPU gives it, where this process has none."""
    from agent.nn.products import one_hot_form
    from agent.nn.recurrence import unroll_factor

    observe = unroll_factor(config.jax.observe_unroll, config.batch_length, "gpu")
    imagine = unroll_factor(config.jax.imagine_unroll, config.imag_horizon, "gpu")
    conv = "matmul" if config.jax.conv == "auto" else config.jax.conv
    forms = {"conv": conv, "one_hot": one_hot_form(config.jax.one_hot, "gpu")}
    jax = config.jax.model_copy(update={"observe_unroll": observe, "imagine_unroll": imagine, **forms})
    return config.model_copy(update={"jax": jax})


def compile_update(preset: str, pack: int, settings: dict[str, str]) -> dict[str, Any]:
    """Return kernels per update and per run, and the compiler's memory in bytes, of a pack's update."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies

    from agent.run.programs import Programs
    from agent.run.replay import replay_spec
    from tests.benchmarks.workloads import update_function, workload

    device = topologies.get_topology_desc(
        topology_name="h100", platform="cuda", topology="1x1x1", target_config=target()
    ).devices[0]
    sharding = jax.sharding.SingleDeviceSharding(device)
    config, spec = workload(preset, **settings)
    config = unrolled(config)
    programs = Programs(config, spec, replay_spec(config, spec))
    rows = programs.rows
    state = programs.initial_state(config)

    def abstract(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((pack, *x.shape[1:]), x.dtype, sharding=sharding), tree)

    buffers = {
        name: jax.ShapeDtypeStruct((1, rows.envs, rows.rows, *array.shape), array.dtype)
        for name, array in rows.arrays.items()
    }
    arguments = [state, programs.train_carry(state), buffers, jnp.zeros(1, jnp.int32)]
    lowered = update_function(programs).lower(*(abstract(argument) for argument in arguments))
    compiled = lowered.compile(compiler_options=OPTIONS if (preset, pack) == ("atari100k", 1) else CUBLAS)
    kernels, memory = count(*read_program(compiled.as_text())), compiled.memory_analysis()
    return {
        "preset": preset, "pack": pack, "settings": settings, "kernels": kernels, "kernels_per_run": kernels / pack,
        "argument_bytes": memory.argument_size_in_bytes, "temp_bytes": memory.temp_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes, "aliased_bytes": memory.alias_size_in_bytes,
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Count and print as JSON; 1 where a bound is exceeded, 2 where the compiler is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.kernels", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of the agent")
    parser.add_argument("--preset", default="atari100k", choices=("atari100k", "metaworld"))
    parser.add_argument("--pack", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    reason = missing()
    if reason:
        print(reason, file=sys.stderr)
        return 2
    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    os.environ["XLA_FLAGS"] = f"--xla_gpu_cuda_data_dir={plugin_folder() / TOOLS} {os.environ.get('XLA_FLAGS', '')}"
    sys.path.append(str(plugin_folder()))
    settings = dict(part.split("=", 1) for part in given.settings)
    rows = [compile_update(given.preset, pack, settings) for pack in given.pack]
    text = json.dumps(rows, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")
    bounds = BOUNDS if given.preset == "atari100k" and not settings else {}
    over = [row for row in rows if row["kernels_per_run"] > bounds.get(row["pack"], float("inf"))]
    for row in over:
        found, bound = row["kernels_per_run"], bounds[row["pack"]]
        print(f"{found:.0f} kernels per run in a pack of {row['pack']}, {bound} are the bound", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
