"""The learner: sizes, purity, packs, and the policy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agent.contract.config import make_config
from agent.method import learner
from agent.method.learner import init_train_state
from agent.spec import ArraySpec, BoxAction, DiscreteAction, EnvSpec

IMAGE = ArraySpec((64, 64, 3), "uint8")


def count_parameters(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def test_atari100k_has_the_published_number_of_parameters():
    config = make_config(["atari100k"], {"task": "atari_pong"})
    state = init_train_state(config, EnvSpec({"image": IMAGE}, DiscreteAction(18)), key=jax.random.key(0))
    assert count_parameters(state.model) - count_parameters(state.model.scalars) == 15_693_955
    assert count_parameters(state.model.scalars) == 3
    assert count_parameters(state.actor) == 1_059_858
    assert count_parameters(state.critic) == count_parameters(state.slow) == 1_181_439


SPECS = {
    "discrete": EnvSpec({"image": ArraySpec((8, 8, 3), "uint8")}, DiscreteAction(3)),
    "continuous": EnvSpec({"state": ArraySpec((5,), "float32")}, BoxAction(2)),
}


def debug_config(**overrides):
    return make_config(["debug"], {"task": "catch", **overrides})


def random_batch(config, spec, seed):
    draw = np.random.default_rng(seed)
    shape = (config.batch_size, config.batch_length)
    arrays = {
        name: draw.integers(0, 256, (*shape, *s.shape)).astype(s.dtype) if s.dtype == "uint8"
        else draw.normal(size=(*shape, *s.shape)).astype(s.dtype)
        for name, s in spec.obs.items()
    }  # fmt: skip
    size = spec.action.size
    discrete = isinstance(spec.action, DiscreteAction)
    action = np.eye(size)[draw.integers(0, size, shape)] if discrete else draw.normal(size=(*shape, size))
    flags = {name: draw.random(shape) < 0.2 for name in ("is_first", "is_last", "is_terminal")}
    arrays |= {"action": action.astype(np.float32), "reward": draw.normal(size=shape).astype(np.float32), **flags}
    return {name: jnp.asarray(value) for name, value in arrays.items()}


def states(config, spec, methods=(0, 1)):
    return [init_train_state(config, spec, key=jax.random.key(seed), method=n) for seed, n in enumerate(methods)]


def train(step, state, carry, batches):
    update = None
    for batch in batches:
        update = step(state, batch, carry)
        state, carry = update.state, update.carry
    assert update is not None
    return state, update


@pytest.mark.parametrize("kind", SPECS)
def test_a_pack_of_a_plain_and_a_harmony_run_computes_what_the_single_runs_compute(kind):
    config, spec = debug_config(), SPECS[kind]
    runs = states(config, spec)
    carries = [learner.initial_carry(state, config.batch_size) for state in runs]
    batches = [[random_batch(config, spec, 10 * n + i) for i in range(2)] for n in range(5)]
    single = learner.make_train_step(config, metrics=True, donate=False)
    pack = jax.jit(jax.vmap(single))
    together, update = train(pack, stack(runs), stack(carries), [stack(pair) for pair in batches])
    for i, (state, carry) in enumerate(zip(runs, carries, strict=True)):
        alone, _ = train(single, state, carry, [pair[i] for pair in batches])
        for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(a, b[i], rtol=2e-3, atol=2e-4)
    assert update.metrics["loss/model"].shape == (2,)
    plain, harmonised = ({name: scalar[i] for name, scalar in together.model.scalars.items()} for i in range(2))
    assert not any(np.any(s) for s in jax.tree.leaves(plain))
    assert np.any(harmonised["reward"])
    assert np.any(harmonised["dyn"])
    assert np.any(harmonised["image"]) == ("image" in spec.obs)


def test_a_run_that_is_no_longer_finite_says_so_and_leaves_its_pack_alone():
    config, spec = debug_config(), SPECS["continuous"]
    runs = states(config, spec, (1, 1))
    carry = jax.tree.map(lambda x: jnp.stack([x, x]), learner.initial_carry(runs[0], config.batch_size))
    pair = [random_batch(config, spec, i) for i in range(2)]
    pair[1]["reward"] = pair[1]["reward"].at[0, 0].set(jnp.nan)
    update = jax.vmap(learner.make_train_step(config, donate=False))(stack(runs), stack(pair), carry)
    assert update.finite.tolist() == [True, False]
    assert all(np.isfinite(leaf[0]).all() for leaf in jax.tree.leaves(update.state.model))


def test_an_update_is_a_function_of_its_arguments_and_counts_itself():
    config, spec = debug_config(), SPECS["continuous"]
    state = states(config, spec)[1]
    carry, batch = learner.initial_carry(state, config.batch_size), random_batch(config, spec, 0)
    step = learner.make_train_step(config, donate=False)
    first, again = step(state, batch, carry), step(state, batch, carry)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    count = np.asarray(first.state.model_opt.count)
    assert int(first.state.updates) == count == int(state.updates) + 1
    np.testing.assert_array_equal(first.carry.action, batch["action"][:, -1])


def test_the_policy_begins_anew_where_an_episode_does():
    config, spec = debug_config(), SPECS["discrete"]
    params = learner.policy_params(states(config, spec)[0])
    act = jax.jit(partial(learner.policy, config=config))
    fresh = learner.initial_policy_carry(params, 2)
    used = jax.tree.map(lambda x: x + 0.3, fresh)
    obs = {"image": jnp.full((2, 8, 8, 3), 7, jnp.uint8), "is_first": jnp.array([True, True])}
    key = jax.random.key(3)
    (action, after), (other, after_used) = act(params, obs, fresh, key), act(params, obs, used, key)
    np.testing.assert_array_equal(action, other)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(after_used), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.asarray(action).sum(-1).tolist() == [1.0, 1.0]


def test_observations_of_an_unknown_kind_are_refused():
    config = debug_config()
    for obs in ({"grid": ArraySpec((3, 3), "float32")}, {"image": ArraySpec((8, 8, 3), "float32")}, {}):
        with pytest.raises(ValueError, match="observation"):
            init_train_state(config, EnvSpec(obs, DiscreteAction(3)), key=jax.random.key(0))
