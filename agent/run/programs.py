"""The compiled programs of a pack: act and store, update, and the policy of evaluations.

Every function here is written for one run and compiled for a pack: what goes in and comes out has a leading axis of
runs. Keys are derived from the run's own key and counters, so a run draws the same numbers in any pack.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agent.contract.config import Config
from agent.envs.vector import Records
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


def over_runs(work: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of one run as that of a pack.

    One run is not mapped: products and convolutions with an axis of one have other, slower kernels. Inside a program,
    taking that axis off and putting it on costs nothing.
    """

    def packed(*arguments: Any) -> Any:
        if len(jax.tree.leaves(arguments)[0]) > 1:
            return jax.vmap(work)(*arguments)
        # The barriers keep the work apart from its frame: fused with it, it is seven kernels more and rounds otherwise.
        alone = work(*jax.lax.optimization_barrier(jax.tree.map(lambda x: jnp.squeeze(x, 0), arguments)))
        return jax.tree.map(lambda x: jnp.expand_dims(x, 0), jax.lax.optimization_barrier(alone))

    packed.__name__ = getattr(work, "func", work).__name__  # as compilations and traces call it
    return packed


def _compiled(work: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
    return jax.jit(over_runs(work), donate_argnums=donate)


@jax.jit
def _as_pack(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.expand_dims(leaf, 0), tree)


class Programs:
    """Compiled functions for packs of any size of one configuration, seed aside, and of these methods.

    `act`: (params, key, round, records, carry, buffers) → Acted, the newest records acted on and stored. `draw`: (key,
    updates, transitions) → environments, slots of a batch whose replay is in host memory. `policy`, in an evaluation:
    (params, key, env_steps, time, records, carry) → actions, carry. `train_carry`: state → the carry before the first
    update.
    """

    def __init__(self, config: Config, spec: EnvSpec, rows: ReplaySpec, methods: Iterable[str] = ()) -> None:
        self.config, self.spec, self.rows = config, spec, rows
        self.weightings = weighting.together([config.method, *methods])
        self.foreign = weighting.foreign(self.weightings)
        self.discrete = isinstance(spec.action, DiscreteAction)
        # Metrics cost kernel launches on a GPU, hence an update without them; on a CPU compiling twice costs more.
        self.one_update = jax.default_backend() == "cpu"
        self.act = _compiled(self._act, donate=(4, 5))
        self.draw = _compiled(self._draw)
        self.policy = _compiled(self._policy, donate=(5,))
        self.train_carry = _compiled(partial(learner.initial_carry, batch=config.batch_size))
        both = (False, True)
        self._updates = {flag: _compiled(partial(self._update, metrics=flag), donate=(0, 1)) for flag in both}
        self._learns = {flag: _compiled(partial(self._learn_windows, metrics=flag), donate=(0, 1)) for flag in both}
        self._policy_carries = functools.cache(lambda envs: _compiled(partial(learner.initial_policy_carry, envs=envs)))

    def initial_state(self, config: Config) -> TrainState:
        """Return a run's state before its first update, from its seed alone: the methods of a seed begin alike."""
        key, place = jax.random.key(config.seed), weighting.number_of(config.method, self.weightings)
        return _as_pack(learner.init_train_state(config, self.spec, key=key, method=place))

    def update(self, *arguments: Any, metrics: bool) -> Update:
        """Sample and learn: (state, carry, buffers, transitions) → Update; state and carry are consumed."""
        return self._updates[metrics or self.one_update](*arguments)

    def learn(self, *arguments: Any, metrics: bool) -> Update:
        """Learn from a batch that the host gathered: (state, carry, batch) → Update; state and carry are consumed."""
        return self._learns[metrics or self.one_update](*arguments)

    def policy_carry(self, params: PolicyParams, envs: int) -> Carry:
        """Return fresh recurrent state for `envs` environments of every run."""
        return self._policy_carries(envs)(params)

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

    def _learn_windows(self, state: TrainState, carry: Carry, batch: Buffers, *, metrics: bool) -> Update:
        return self._learn(state, replay.with_first_steps(batch), carry, metrics=metrics)

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
        self._programs, self._params, self._keys = programs, params, keys
        self._steps = np.asarray(env_steps, np.int32)
        self._carry = programs.policy_carry(params, envs)
        self._time = 0

    def __call__(self, observations: list[Records]) -> list[np.ndarray]:
        """Return every run's actions on the host."""
        names = (*self._programs.spec.obs, "is_first")
        records = host_stack([{name: batch[name] for name in names} for batch in observations])
        time = np.full_like(self._steps, self._time)
        actions, self._carry = self._programs.policy(self._params, self._keys, self._steps, time, records, self._carry)
        self._time += 1
        return list(np.asarray(actions))


def host_stack(batches: list[Records]) -> Records:
    """Return the runs' host arrays with a leading axis of runs."""
    return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
