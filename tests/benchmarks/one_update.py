"""Times updates of one checkout's agent in a process of its own; started by `tests.benchmarks.against`.

Reads one line for every update on standard input and answers each with a line of JSON. Uses only what every version of
the agent has had since its first update: the configuration, the learner, and shapes; and the kept heap if it has one.
Modules that have moved are looked for in each place where they were.
"""

import json
import resource
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def module(*places: str) -> ModuleType | None:
    """Return the first of these modules that the checkout has."""
    for place in places:
        package = place.rpartition(".")[0]
        if find_spec(package) and find_spec(place):
            return import_module(place)
    return None


learner: Any = module("agent.method.learner", "agent.learner")
configuration: Any = module("agent.contract.config", "agent.config")
spec: Any = module("agent.spec", "agent.envs.base")
heap: Any = module("agent.run.heap", "agent.heap")


def random_batch(batch: int, length: int) -> dict[str, jax.Array]:
    """Return a seeded batch of 64×64 images and 18 actions."""
    draw, shape = np.random.default_rng(0), (batch, length)
    arrays = {
        "image": draw.integers(0, 256, (*shape, 64, 64, 3), np.uint8),
        "action": np.eye(18, dtype=np.float32)[draw.integers(0, 18, shape)],
        "reward": draw.normal(size=shape).astype(np.float32),
        **{name: np.zeros(shape, bool) for name in ("is_first", "is_last", "is_terminal")},
    }
    return {name: jnp.asarray(array) for name, array in arrays.items()}


def main(preset: str) -> None:
    """Compile, then make one update for each line that is read."""
    config = configuration.make_config([preset], {"task": "atari_pong"})
    state = learner.init_train_state(
        config,
        spec.EnvSpec({"image": spec.ArraySpec((64, 64, 3), "uint8")}, spec.DiscreteAction(18)),
        key=jax.random.key(0),
    )
    if heap:
        heap.unite()
        heap.keep()
    batch = random_batch(config.batch_size, config.batch_length)
    carry = learner.initial_carry(state, config.batch_size)
    began, cpu = time.perf_counter(), time.process_time()
    function: Any = learner.make_train_step(config)
    step = function.lower(state, batch, carry).compile()
    made = {
        "agent": learner.__file__,
        "compile_s": time.perf_counter() - began,
        "compile_cpu_s": time.process_time() - cpu,
    }
    print(json.dumps(made), flush=True)
    for _ in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        update = jax.block_until_ready(step(state, batch, carry))
        took = {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
        state, carry = update.state, update.carry
        took["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
