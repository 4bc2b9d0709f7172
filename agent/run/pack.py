"""The device side of a pack: the arrays of its runs along a leading axis, and what is done with them.

It knows nothing of folders and environments: the loop hands it records and counters, and takes actions, numbers and
checkpoints' arrays from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agent.envs.vector import Records
from agent.method import learner
from agent.method.learner import PolicyParams, TrainState
from agent.method.world_model import Carry
from agent.run import checkpoint, replay
from agent.run.programs import Acted, Programs, host_stack
from agent.run.replay import HostBuffers


@jax.jit
def rows_of(tree: Any, where: Any) -> Any:
    """Return copies of these rows of every leaf, by one program: compiling one per leaf takes half of a short run."""
    return jax.tree.map(lambda leaf: leaf[where], tree)


@jax.jit
def _with_rows(tree: Any, where: Any, rows: Any) -> Any:
    """Return the tree with these rows of every leaf replaced."""
    return jax.tree.map(lambda leaf, new: leaf.at[where].set(new), tree, rows)


@jax.jit
def joined(trees: Sequence[Any]) -> Any:
    """Return the arrays of several packs as those of one."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)


class Policies(NamedTuple):
    """The policies of some runs for an evaluation: parameters and the runs' keys."""

    params: PolicyParams
    keys: jax.Array


def policies_of(state: TrainState) -> Policies:
    """Return the part of a state that evaluations need."""
    return Policies(learner.policy_params(state), state.key)


class DeviceState(NamedTuple):
    """A run on the device as a checkpoint holds it."""

    state: TrainState
    carry: Carry
    policy_carry: Carry


NAMES = ("state", "carry", "policy")  # of the three in a checkpoint
EVALUATED = "evaluated"


class Start(NamedTuple):
    """A run as it joins a pack: arrays with a leading axis of one run, and its replay on the host, without.

    `evaluated` is the policy of an evaluation not yet played to its end.
    """

    device: DeviceState
    buffers: HostBuffers
    evaluated: Policies | None = None


def fresh(programs: Programs, config: Any) -> Start:
    """Return a run that has learned and played nothing."""
    state = programs.initial_state(config)
    policy_carry = programs.policy_carry(learner.policy_params(state), config.env.amount)
    return Start(DeviceState(state, programs.train_carry(state), policy_carry), replay.empty(programs.rows))


def restored(start: Start, arrays: checkpoint.Arrays, *, evaluating: bool) -> Start:
    """Return a fresh run as a checkpoint's arrays left it, its replay still empty; CheckpointError where one is odd."""

    def restore(tree: Any, name: str) -> Any:
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tree)
        return jax.tree.map(lambda array: jnp.asarray(array[None]), checkpoint.restore_tree(shapes, arrays, name))

    place = start.device.state.method  # which other methods the program has may differ from before
    device = DeviceState(*(restore(tree, name) for tree, name in zip(start.device, NAMES, strict=True)))
    evaluated = restore(policies_of(device.state), EVALUATED) if evaluating else None
    return Start(device._replace(state=device.state._replace(method=place)), start.buffers, evaluated)


def flattened(device: DeviceState, evaluated: Policies | None) -> checkpoint.Arrays:
    """Return the arrays of one run's checkpoint, copied to the host, without the axis of runs."""
    trees = dict(zip(NAMES, device, strict=True)) | ({} if evaluated is None else {EVALUATED: evaluated})
    arrays = {key: a for name, tree in trees.items() for key, a in checkpoint.flatten_tree(tree, name).items()}
    return {key: array[0] for key, array in arrays.items()}


class Pack:
    """Runs of one task that train as one computation.

    `finite` and `metrics` are those of the last update, on the device; before the first, all is finite.
    """

    def __init__(self, starts: Sequence[Start], methods: Sequence[str], programs: Programs, *, on_device: bool) -> None:
        self.programs, self.methods, self.on_device = programs, list(methods), on_device
        self.device: DeviceState = joined([start.device for start in starts])
        self.host_buffers: list[HostBuffers] = [] if on_device else [start.buffers for start in starts]
        self.buffers: dict[str, jax.Array] = {}
        if on_device:
            self.buffers = {k: jnp.asarray(v) for k, v in host_stack([start.buffers for start in starts]).items()}
        self.finite = jnp.ones(self.size, bool)
        self.metrics: dict[str, jax.Array] = {}
        self._acted: Acted | None = None

    @property
    def size(self) -> int:
        """Number of runs."""
        return len(self.methods)

    def select(self, indices: list[int]) -> Pack:
        """Return these runs as a pack of their own."""
        part = Pack.__new__(Pack)
        part.programs, part.on_device = self.programs, self.on_device
        part.methods = [self.methods[i] for i in indices]
        part.device, part.buffers, part.finite, part.metrics = rows_of(
            (self.device, self.buffers, self.finite, self.metrics), np.asarray(indices)
        )
        part.host_buffers = [self.host_buffers[i] for i in indices] if self.host_buffers else []
        part._acted = None
        return part

    def act(self, records: Sequence[Records], rounds: Sequence[int]) -> None:
        """Begin to act on the newest records (one batch per run) and store them as these rounds of the runs' streams.

        `take_actions` waits for it.
        """
        kept = [{name: batch[name] for name in self.programs.rows.arrays if name != "action"} for batch in records]
        state, carry, policy_carry = self.device
        acted = self._acted = self.programs.act(
            learner.policy_params(state), state.key, np.asarray(rounds, np.int32), host_stack(kept), policy_carry,
            self.buffers,
        )  # fmt: skip
        self.device, self.buffers = DeviceState(state, carry, acted.carry), acted.buffers
        if not self.on_device:
            for row, stored, buffers, index in zip(
                kept, np.asarray(acted.stored), self.host_buffers, rounds, strict=True
            ):
                replay.fill(buffers, {k: v[None] for k, v in {**row, "action": stored}.items()}, index)

    def take_actions(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return every run's next actions and those stored: the one wait of a round."""
        assert self._acted is not None
        acted, self._acted = self._acted, None
        return list(zip(np.asarray(acted.action), np.asarray(acted.stored), strict=True))

    def update(self, steps: Sequence[int], *, metrics: bool) -> None:
        """Make one update of every run, on windows of the transitions stored in so many steps."""
        state, carry, policy_carry = self.device
        transitions = np.asarray(steps, np.int32)
        if self.on_device:
            made = self.programs.update(state, carry, self.buffers, transitions, metrics=metrics)
        else:
            made = self.programs.learn(state, carry, self._host_batch(transitions), metrics=metrics)
        self.device, self.finite, self.metrics = (
            DeviceState(made.state, made.carry, policy_carry),
            made.finite,
            made.metrics,
        )

    def update_some(self, due: Sequence[bool], steps: Sequence[int], *, metrics: bool) -> None:
        """Update the runs that are due, their schedules being out of step, as a pack of their own."""
        if all(due):
            self.update(steps, metrics=metrics)
            return
        chosen = [i for i, flag in enumerate(due) if flag]
        part = self.select(chosen)
        part.update([steps[i] for i in chosen], metrics=metrics)
        absent = {name: jnp.full(self.size, jnp.nan) for name in part.metrics}
        self.device, self.finite, self.metrics = _with_rows(
            (self.device, self.finite, absent), np.asarray(chosen), (part.device, part.finite, part.metrics)
        )

    def not_finite(self) -> list[int]:
        """Return the runs whose last update was not finite; waits for the device."""
        return np.flatnonzero(~np.asarray(self.finite)).tolist()

    def metric_rows(self) -> list[dict[str, float]]:
        """Return the last update's metrics of every run, its own method's among them; waits for the device."""
        host = {name: np.asarray(value) for name, value in self.metrics.items()}
        hidden = [self.programs.foreign[method] for method in self.methods]
        return [{k: float(v[i]) for k, v in host.items() if k not in hidden[i]} for i in range(self.size)]

    def policies(self, indices: list[int]) -> Policies:
        """Return the present policies of these runs; updates leave them as they are."""
        return rows_of(policies_of(self.device.state), np.asarray(indices))

    def arrays(self, index: int, evaluated: Policies | None) -> checkpoint.Arrays:
        """Return the arrays of a run's checkpoint.

        `evaluated` is the policy of the run's evaluation if one is being played: a resumed run plays it again.
        """
        return flattened(rows_of(self.device, np.asarray([index])), evaluated)

    def _host_batch(self, transitions: np.ndarray) -> Records:
        state = self.device.state
        envs, slots = self.programs.draw(state.key, state.updates, transitions)
        triples = zip(self.host_buffers, np.asarray(envs), np.asarray(slots), strict=True)
        return host_stack([{k: b[e[:, None], s] for k, b in buffers.items()} for buffers, e, s in triples])
