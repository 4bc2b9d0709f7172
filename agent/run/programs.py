"""The compiled programs of a pack: act and store, update, and the policy of evaluations.

Every function here is written for one run and mapped over the runs of a pack; a pack of one is not mapped. Keys are
derived from the run's own key and counters, so a run draws the same numbers in any pack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agent.contract.config import Config
from agent.envs.vector import Batch
from agent.method import learner
from agent.method.learner import PolicyParams, TrainState, Update
from agent.method.world_model import Carry
from agent.run import replay
from agent.run.replay import Buffers, ReplaySpec
from agent.spec import DiscreteAction, EnvSpec
from agent.weighting import base as weighting

# Purposes of keys; updates themselves fold in their own number, which is always smaller.
ACT, SAMPLE, EVALUATE, INIT = (0x7F00_0000 + i for i in range(4))


class Acted(NamedTuple):
    """The outcome of one round: what the environments get, what the replay got, and what goes on."""

    action: jax.Array
    stored: jax.Array
    carry: Carry
    buffers: Buffers


def purpose_key(key_data: jax.Array, purpose: int, *counters: Any) -> jax.Array:
    """Return the key for a purpose at these counters, from a run's raw key [2]."""
    key = jax.random.fold_in(jax.random.wrap_key_data(key_data), purpose)
    for counter in counters:
        key = jax.random.fold_in(key, counter)
    return key


def stack(trees: list[Any]) -> Any:
    """Return pytrees with a leading axis of runs; a single one stays as it is."""
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


class Programs:
    """Compiled functions for packs of any size of one configuration, seed aside, and of these methods."""

    def __init__(self, config: Config, spec: EnvSpec, rows: ReplaySpec, methods: Iterable[str] = ()) -> None:
        self.config, self.spec, self.rows = config, spec, rows
        self.weightings = weighting.together([config.method, *methods])
        self.foreign = weighting.foreign(self.weightings)
        self.discrete = isinstance(spec.action, DiscreteAction)
        # Metrics cost kernel launches on a GPU, hence an update without them; on a CPU compiling twice costs more.
        self.one_update = jax.default_backend() == "cpu"
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def initial_state(self, config: Config) -> TrainState:
        """Return a run's state before its first update, from its seed alone: the methods of a seed begin alike."""
        key, place = jax.random.key(config.seed), weighting.number_of(config.method, self.weightings)
        return learner.init_train_state(config, self.spec, key=key, method=place)

    def act(self, pack: int, *arguments: Any) -> Acted:
        """Act on the newest records and store them: (params, key, round, records, carry, buffers) → Acted."""
        return self._get("act", pack, self._act, donate=(4, 5))(*arguments)

    def update(self, pack: int, *arguments: Any, metrics: bool) -> Update:
        """Sample and learn: (state, carry, buffers, transitions) → Update; state and carry are consumed."""
        metrics = metrics or self.one_update
        work = partial(self._update, metrics=metrics)
        return self._get(("update", metrics), pack, work, donate=(0, 1))(*arguments)

    def learn(self, pack: int, *arguments: Any, metrics: bool) -> Update:
        """Learn from a batch that the host gathered: (state, carry, batch) → Update."""
        metrics = metrics or self.one_update

        def work(state: TrainState, carry: Carry, batch: Buffers) -> Update:
            return self._learn(state, replay.begin(batch), carry, metrics=metrics)

        return self._get(("learn", metrics), pack, work, donate=(0, 1))(*arguments)

    def draw(self, pack: int, *arguments: Any) -> tuple[jax.Array, jax.Array]:
        """Draw a batch's places for a replay in host memory: (key, updates, transitions) → environments, slots."""
        return self._get("draw", pack, self._draw, donate=())(*arguments)

    def policy(self, pack: int, *arguments: Any) -> tuple[jax.Array, Carry]:
        """Act in an evaluation: (params, key, env_steps, time, records, carry) → actions, carry."""
        return self._get("policy", pack, self._policy, donate=(5,))(*arguments)

    def policy_carry(self, pack: int, params: PolicyParams, envs: int) -> Carry:
        """Return fresh recurrent state for `envs` environments of every run."""
        work = partial(learner.initial_policy_carry, envs=envs)
        return self._get(("carry", envs), pack, work, donate=())(params)

    def train_carry(self, pack: int, state: TrainState) -> Carry:
        """Return the carry before the first update."""
        work = partial(learner.initial_carry, batch=self.config.batch_size)
        return self._get("train carry", pack, work, donate=())(state)

    def _get(self, name: Any, pack: int, work: Callable[..., Any], *, donate: tuple[int, ...]) -> Callable[..., Any]:
        key = (name, pack)
        if key not in self._compiled:
            mapped = work if pack == 1 else jax.vmap(work)
            self._compiled[key] = jax.jit(mapped, donate_argnums=donate)
        return self._compiled[key]

    def _observed(self, records: Buffers) -> Buffers:
        return {name: records[name] for name in (*self.spec.obs, "is_first")}

    def _act(
        self, params: PolicyParams, key: jax.Array, index: jax.Array, records: Buffers, carry: Carry, buffers: Buffers
    ) -> Acted:
        act_key = purpose_key(key, ACT, index)
        action, carry = learner.policy(params, self._observed(records), carry, act_key, config=self.config)
        stored = jnp.where(records["is_last"][:, None], 0.0, action)
        if buffers:
            buffers = replay.add(buffers, {**records, "action": stored}, index, self.rows.rows)
        return Acted(self._outward(action), stored, carry, buffers)

    def _outward(self, action: jax.Array) -> jax.Array:
        return jnp.argmax(action, -1) if self.discrete else action

    def _draw(self, key: jax.Array, updates: jax.Array, transitions: jax.Array) -> tuple[jax.Array, jax.Array]:
        return replay.draw(purpose_key(key, SAMPLE, updates), transitions, self.rows)

    def _update(
        self, state: TrainState, carry: Carry, buffers: Buffers, transitions: jax.Array, *, metrics: bool
    ) -> Update:
        envs, slots = self._draw(state.key, state.updates, transitions)
        batch = replay.gather(buffers, envs, slots)
        return self._learn(state, batch, carry, metrics=metrics)

    def _learn(self, state: TrainState, batch: Buffers, carry: Carry, *, metrics: bool) -> Update:
        return learner.train_step(state, batch, carry, config=self.config, weightings=self.weightings, metrics=metrics)

    def _policy(
        self,
        params: PolicyParams,
        key: jax.Array,
        env_steps: jax.Array,
        time: jax.Array,
        records: Buffers,
        carry: Carry,
    ) -> tuple[jax.Array, Carry]:
        eval_key = purpose_key(key, EVALUATE, env_steps, time)
        action, carry = learner.policy(params, self._observed(records), carry, eval_key, config=self.config)
        return self._outward(action), carry


class EvalPolicy:
    """Policy calls of one evaluation of some runs of a pack."""

    def __init__(
        self, programs: Programs, params: PolicyParams, keys: jax.Array, env_steps: list[int], envs: int
    ) -> None:
        self._programs, self._pack, self._params, self._keys = programs, len(env_steps), params, keys
        self._steps = np.asarray(env_steps if self._pack > 1 else env_steps[0], np.int32)
        self._carry = programs.policy_carry(self._pack, params, envs)
        self._time = 0

    def __call__(self, observations: list[Batch]) -> list[np.ndarray]:
        """Return every run's actions on the host."""
        names = (*self._programs.spec.obs, "is_first")
        records = host_stack([{name: batch[name] for name in names} for batch in observations])
        time = np.full(() if self._pack == 1 else (self._pack,), self._time, np.int32)
        arguments = (self._params, self._keys, self._steps, time, records, self._carry)
        actions, self._carry = self._programs.policy(self._pack, *arguments)
        self._time += 1
        host = np.asarray(actions)
        return [host] if self._pack == 1 else list(host)


def host_stack(batches: list[Batch]) -> Batch:
    """Return host arrays with a leading axis of runs; a single run's stay as they are."""
    if len(batches) == 1:
        return dict(batches[0])
    return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
