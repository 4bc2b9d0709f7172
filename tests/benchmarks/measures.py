"""The measurements: updates, policy, replay, evaluation, and a whole short run."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agent import train
from agent.envs.registry import factories
from agent.method import learner
from agent.run import evaluate, replay
from agent.run.pack import joined
from agent.run.programs import EvalPolicy, Programs, over_runs
from agent.run.replay import replay_spec
from tests.benchmarks.timing import Calibration, timed
from tests.benchmarks.workloads import (
    pack_of,
    peak_memory_bytes,
    runs_of,
    short_programs,
    update_function,
    workload,
)  # fmt: skip

Row = dict[str, Any]


def queued() -> int:
    """Return how many calls are begun before the first is waited for: training does not wait for updates."""
    return 1 if jax.default_backend() == "cpu" else 20


def update(
    calibration: Calibration,
    preset: str,
    precision: str,
    pack: int,
    repeats: int = 5,
    options: dict[str, str] | None = None,
) -> Row:
    """Time a pack's update, replay sampling included; memory is the compiler's, and the peak where it is counted.

    `options` are the compiler's.
    """
    config, spec = workload(preset, **{"jax.precision": precision})
    programs = short_programs(config, spec)
    state, carry, buffers, transitions = pack_of(config, programs, pack)
    began = time.perf_counter()
    step = update_function(programs).lower(state, carry, buffers, transitions).compile(compiler_options=options)
    compile_s, memory, calls = time.perf_counter() - began, step.memory_analysis(), queued()

    def work() -> Any:
        nonlocal state, carry
        finite = None
        for _ in range(calls):
            state, carry, finite, _ = step(state, carry, buffers, transitions)
        return finite

    row = timed(work, calibration, repeats=repeats, calls=calls)
    used = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    return row | {
        "ms_per_run_update": row["ms"] / pack, "compile_s": compile_s, "temp_bytes": memory.temp_size_in_bytes,
        "memory_bytes": used - memory.alias_size_in_bytes, "peak_bytes_of_process": peak_memory_bytes(),
    }  # fmt: skip


def policy(calibration: Calibration, preset: str, pack: int, repeats: int = 20) -> Row:
    """Time one action: observations in, the actions on the host out, the transition stored."""
    config, spec = workload(preset)
    programs = short_programs(config, spec)
    state, _, buffers, transitions = pack_of(config, programs, pack)
    params, envs = learner.policy_params(state), config.env.amount
    carry = programs.policy_carry(params, envs)
    arrays = {name: array for name, array in programs.rows.arrays.items() if name != "action"}
    records = {name: np.zeros((pack, envs, *array.shape), array.dtype) for name, array in arrays.items()}

    def work() -> np.ndarray:
        nonlocal carry, buffers
        acted = programs.act(params, state.key, np.zeros_like(transitions), records, carry, buffers)
        carry, buffers = acted.carry, acted.buffers
        return np.asarray(acted.action)

    return timed(work, calibration, repeats=repeats)


def sampling(calibration: Calibration, preset: str, repeats: int = 20) -> Row:
    """Time the drawing and gathering of one batch."""
    config, spec = workload(preset)
    programs = short_programs(config, spec)
    _, _, buffers, transitions = pack_of(config, programs, 1)

    @jax.jit
    @over_runs
    def sample(buffers: replay.Buffers, transitions: jax.Array) -> replay.Buffers:
        return replay.gather(buffers, *replay.draw(jax.random.key(0), transitions, programs.rows))

    return timed(lambda: sample(buffers, transitions), calibration, repeats=repeats)


def evaluation(calibration: Calibration, preset: str, task: str, episodes: int, pack: int = 1, **settings: Any) -> Row:
    """Time an evaluation of untrained runs in real environments: episodes per minute, environment steps per second."""
    given = {"task": task, "run.eval_episodes": episodes, **settings}
    config, _ = workload(preset, **given)
    env = factories(config.task, config.env, 0, 1)[0]()
    spec = env.spec
    env.close()
    programs = Programs(config, spec, replay_spec(config, spec))
    state = joined([programs.initial_state(run) for run in runs_of(config, pack)])
    envs = len(evaluate.quotas(config.run.eval_episodes, config.run.eval_envs))
    params = learner.policy_params(state)

    def play() -> list[dict[str, Any]]:
        policy = EvalPolicy(programs, params, jnp.asarray(state.key), [0] * pack, envs)
        outcomes = evaluate.evaluate(runs_of(config, pack), [0] * pack, policy)
        if errors := [outcome for outcome in outcomes if isinstance(outcome, Exception)]:
            raise errors[0]
        return [outcome for outcome in outcomes if isinstance(outcome, dict)]

    play()  # compiles the policy
    reference, began = calibration.seconds(), time.perf_counter()
    rows = play()
    seconds = time.perf_counter() - began
    steps, count = sum(sum(row["lengths"]) for row in rows), sum(len(row["episodes"]) for row in rows)
    return {
        "ms": 1e3 * seconds, "episodes_per_min": 60 * count / seconds, "env_steps_per_s": steps / seconds,
        "calibration_ms": 1e3 * reference, "relative": seconds / reference,
    }  # fmt: skip


def short_run(calibration: Calibration, preset: str, steps: int) -> Row:
    """Time a whole run of Catch from the command line's entry to its result, compilation included."""
    reference = calibration.seconds()
    with tempfile.TemporaryDirectory() as folder:
        began, cpu = time.perf_counter(), time.process_time()
        given = ["--configs", preset, "--task", "catch", "--logdir", f"{folder}/run", "--run.steps", str(steps)]
        code = train.main([*given, "--jax.compilation_cache", "off"])
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        if code or not (Path(folder) / "run" / "result.json").exists():
            raise RuntimeError(f"the run did not end well: exit code {code}")
    return {
        "ms": 1e3 * seconds, "cpu_ms": 1e3 * cpu, "env_steps": steps, "calibration_ms": 1e3 * reference,
        "relative": seconds / reference,
    }  # fmt: skip
