"""The device side of a pack: the arrays of its runs, stacked along a leading axis, and what is done with them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agent.envs.vector import Batch
from agent.method import learner
from agent.method.learner import PolicyParams, TrainState
from agent.method.world_model import Carry
from agent.run import checkpoint, replay
from agent.run.member import Member
from agent.run.programs import Acted, Programs, host_stack, stack
from agent.run.replay import HostBuffers


@jax.jit
def _rows_of(tree: Any, where: Any) -> Any:
    """Return rows of every leaf, by one program for the tree: compiling one per leaf takes half of a short run."""
    return jax.tree.map(lambda leaf: leaf[where], tree)


@jax.jit
def _with_rows(tree: Any, where: Any, rows: Any) -> Any:
    """Return the tree with these rows of every leaf replaced."""
    return jax.tree.map(lambda leaf, new: leaf.at[where].set(new), tree, rows)


@jax.jit
def _copy_of(tree: Any) -> Any:
    """Return copies of every leaf, which outlive the arrays that an update consumes."""
    return jax.tree.map(jnp.copy, tree)


class Policies(NamedTuple):
    """The policies of some runs, stacked, for an evaluation: parameters and the runs' keys."""

    params: PolicyParams
    keys: jax.Array


class Start(NamedTuple):
    """One run's arrays as it joins a pack; `evaluated` is the policy of an evaluation not yet played to its end."""

    state: TrainState
    carry: Carry
    policy_carry: Carry
    buffers: HostBuffers
    evaluated: Policies | None = None


def start(member: Member, programs: Programs) -> Start:
    """Return a member's arrays: fresh, with nothing played yet, or as its checkpoint left them.

    Raises: CheckpointError when there are checkpoints, and none of them is whole and of this run.
    """
    run = member.run
    state = programs.initial_state(member.config)
    place = state.method
    carry = programs.train_carry(1, state)
    policy_carry = programs.policy_carry(1, learner.policy_params(state), member.config.env.amount)
    buffers = replay.empty(programs.rows)
    found = checkpoint.find(run.checkpoint, member.identity, member.final)
    if found is None:
        checkpoint.begin(run.checkpoint, member.identity)
        member.metrics.go_on()
        member.scores.go_on()
        return Start(state, carry, policy_carry, buffers)
    if found.damage:
        member.fell_back(found)
    arrays, index = found.arrays, found.index
    state, carry, policy_carry = (
        jax.tree.map(jnp.asarray, checkpoint.restore_tree(tree, arrays, name))
        for name, tree in (("state", state), ("carry", carry), ("policy", policy_carry))
    )
    state = state._replace(method=place)  # which other methods the program has may differ from before
    if index["env_steps"] < member.final:
        for first, chunk in checkpoint.load_chunks(run.checkpoint, index):
            replay.fill(buffers, chunk, first)
    member.restore(arrays, index)
    if member.evaluating is None:
        return Start(state, carry, policy_carry, buffers)
    evaluated = checkpoint.restore_tree(policies_of(state), arrays, "evaluated")
    return Start(state, carry, policy_carry, buffers, jax.tree.map(jnp.asarray, evaluated))


def snapshot(
    member: Member, state: TrainState, carry: Carry, policy_carry: Carry, evaluated: Policies | None
) -> checkpoint.Snapshot:
    """Return a member's checkpoint from its arrays, copied to the host; its pending rounds are its new replay chunk."""
    arrays, values = member.host_state()
    for name, tree in (("state", state), ("carry", carry), ("policy", policy_carry)):
        arrays |= checkpoint.flatten_tree(tree, name)
    if evaluated is not None:
        arrays |= checkpoint.flatten_tree(evaluated, "evaluated")
    first, rounds, chunk = member.take_pending()
    return checkpoint.Snapshot(arrays, values, chunk, first, rounds, member.saved)


def policy_at(policies: Policies, index: int, size: int) -> Policies:
    """Return one run's part of the stacked policies of `size` runs."""
    return policies if size == 1 else _rows_of(policies, np.int32(index))


def policies_of(state: TrainState) -> Policies:
    """Return the part of a state that evaluations need."""
    return Policies(learner.policy_params(state), state.key)


class Pack:
    """Runs of one task that train as one computation. A pack of one has no leading axis.

    `finite` and `metrics` are those of the last update, on the device.
    """

    def __init__(self, members: list[Member], starts: list[Start], programs: Programs, *, on_device: bool) -> None:
        self.members, self.programs, self.on_device = members, programs, on_device
        self.state: TrainState = stack([s.state for s in starts])
        self.carry: Carry = stack([s.carry for s in starts])
        self.policy_carry: Carry = stack([s.policy_carry for s in starts])
        self.host_buffers: list[HostBuffers] = [] if on_device else [s.buffers for s in starts]
        self.buffers: dict[str, jax.Array] = {}
        if on_device:
            self.buffers = {k: jnp.asarray(v) for k, v in host_stack([s.buffers for s in starts]).items()}
        self.finite: jax.Array | None = None
        self.metrics: dict[str, jax.Array] = {}
        self._acted: tuple[list[Batch], Acted] | None = None

    @property
    def size(self) -> int:
        """Number of runs."""
        return len(self.members)

    def take(self, tree: Any, indices: list[int]) -> Any:
        """Return the part of a stacked pytree that belongs to these runs, stacked likewise."""
        if self.size == 1:
            return tree
        return _rows_of(tree, np.int32(indices[0]) if len(indices) == 1 else np.asarray(indices, np.int32))

    def select(self, indices: list[int]) -> Pack:
        """Return these runs as a pack of their own."""
        part = Pack.__new__(Pack)
        part.members = [self.members[i] for i in indices]
        part.programs, part.on_device = self.programs, self.on_device
        part.state, part.carry, part.policy_carry, part.buffers = (
            self.take(tree, indices) for tree in (self.state, self.carry, self.policy_carry, self.buffers)
        )
        part.host_buffers = [self.host_buffers[i] for i in indices] if self.host_buffers else []
        part.finite = None if self.finite is None else self.take(self.finite, indices)
        part.metrics = self.take(self.metrics, indices)
        part._acted = None
        return part

    def act(self, records: list[Batch]) -> None:
        """Begin to act on the newest records (one batch per run) and store the transitions; `take_actions` waits."""
        kept = [{name: batch[name] for name in self.programs.rows.arrays if name != "action"} for batch in records]
        rounds = self._counters([member.rounds for member in self.members])
        acted = self.programs.act(
            self.size, learner.policy_params(self.state), self.state.key, rounds, host_stack(kept),
            self.policy_carry, self.buffers,
        )  # fmt: skip
        self.policy_carry, self.buffers = acted.carry, acted.buffers
        self._acted = (kept, acted)
        if not self.on_device:
            for member, row, stored, buffers in zip(
                self.members, kept, self._rows(acted.stored), self.host_buffers, strict=True
            ):
                replay.fill(buffers, {k: v[None] for k, v in {**row, "action": stored}.items()}, member.rounds)

    def take_actions(self, records: list[Batch]) -> None:
        """Hand each member its next actions and the stored transition: the one wait of a round."""
        assert self._acted is not None
        _, acted = self._acted
        self._acted = None
        for member, batch, action, stored in zip(
            self.members, records, self._rows(acted.action), self._rows(acted.stored), strict=True
        ):
            member.actions = action
            member.keep(batch, stored)

    def update(self, *, metrics: bool) -> None:
        """Make one update of every run, on windows of what it has stored so far."""
        transitions = self._counters([member.steps for member in self.members])
        if self.on_device:
            arguments = (self.state, self.carry, self.buffers, transitions)
            made = self.programs.update(self.size, *arguments, metrics=metrics)
        else:
            batch = self._host_batch(transitions)
            made = self.programs.learn(self.size, self.state, self.carry, batch, metrics=metrics)
        self.state, self.carry, self.finite, self.metrics = made
        for member in self.members:
            member.updates += 1

    def update_some(self, due: list[bool], *, metrics: bool) -> None:
        """Update the runs that are due, their schedules being out of step, as a pack of their own."""
        if all(due):
            self.update(metrics=metrics)
            return
        chosen = [i for i, flag in enumerate(due) if flag]
        part = self.select(chosen)
        part.update(metrics=metrics)
        where = np.asarray(chosen)
        rows = jax.tree.map(jnp.atleast_1d, part.finite) if part.size == 1 else part.finite
        before = jnp.ones(self.size, bool) if self.finite is None else self.finite
        self.finite = before.at[where].set(rows)
        self.metrics = {k: jnp.full(self.size, jnp.nan).at[where].set(v) for k, v in part.metrics.items()}
        for name in ("state", "carry"):
            new = getattr(part, name)
            new = jax.tree.map(lambda leaf: leaf[None], new) if part.size == 1 else new
            setattr(self, name, _with_rows(getattr(self, name), where, new))

    def not_finite(self) -> list[Member]:
        """Return the members whose last update was not finite; waits for the device."""
        if self.finite is None:
            return []
        return [m for m, good in zip(self.members, self._rows(self.finite), strict=True) if not good]

    def metric_rows(self) -> list[dict[str, float]]:
        """Return the last update's metrics of every run, its own method's among them; waits for the device."""
        host = {name: self._rows(value) for name, value in self.metrics.items()}
        hidden = [self.programs.foreign[member.config.method] for member in self.members]
        return [{k: float(v[i]) for k, v in host.items() if k not in hidden[i]} for i in range(self.size)]

    def policies(self, indices: list[int]) -> Policies:
        """Return the present policies of these runs; updates leave them as they are."""
        policies = self.take(policies_of(self.state), indices)
        return _copy_of(policies) if self.size == 1 else policies

    def snapshot(self, index: int, evaluated: Policies | None) -> checkpoint.Snapshot:
        """Return a member's checkpoint, copied to the host; its pending rounds become the next replay chunk.

        `evaluated` is the policy of the member's evaluation if one is being played: a resumed run plays it again.
        """
        state, carry, policy_carry = (self.take(tree, [index]) for tree in (self.state, self.carry, self.policy_carry))
        return snapshot(self.members[index], state, carry, policy_carry, evaluated)

    def _counters(self, values: list[int]) -> np.ndarray:
        return np.asarray(values if self.size > 1 else values[0], np.int32)

    def _rows(self, array: jax.Array) -> np.ndarray:
        host = np.asarray(array)
        return host[None] if self.size == 1 else host

    def _host_batch(self, transitions: np.ndarray) -> Batch:
        envs, slots = self.programs.draw(self.size, self.state.key, self.state.updates, transitions)
        triples = zip(self.host_buffers, self._rows(envs), self._rows(slots), strict=True)
        return host_stack([{k: b[e[:, None], s] for k, b in buffers.items()} for buffers, e, s in triples])
