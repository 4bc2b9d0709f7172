import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agent.run import replay
from agent.run.replay import ReplaySpec
from agent.spec import ArraySpec

ARRAYS = {"image": ArraySpec((2, 2, 3), "uint8"), "is_first": ArraySpec((), "bool"), "reward": ArraySpec((), "float32")}


def stream(rounds, envs):
    """Rounds whose reward tells their place: env + 1000·round."""
    reward = np.arange(rounds)[:, None] * 1000.0 + np.arange(envs)
    first = np.arange(rounds)[:, None] % 7 == np.zeros(envs)
    image = np.broadcast_to((reward % 251).astype(np.uint8)[..., None, None, None], (rounds, envs, 2, 2, 3))
    return {"image": image, "is_first": first, "reward": reward.astype(np.float32)}


def spec(envs=2, rows=40, length=4, batch=4096, capacity=10**6):
    return ReplaySpec(ARRAYS, envs, rows, length, batch, capacity)


def filled(which, rounds):
    buffers = replay.empty(which)
    replay.fill(buffers, stream(rounds, which.envs), 0)
    return {key: jnp.asarray(value) for key, value in buffers.items()}


def test_a_window_holds_consecutive_transitions_of_one_environment():
    which = spec()
    batch = replay.gather(filled(which, 40), *replay.draw(jax.random.key(0), jnp.int32(80), which))
    reward = np.asarray(batch["reward"])
    assert reward.shape == (4096, 4)
    np.testing.assert_array_equal(np.diff(reward, axis=1), 1000.0)
    assert batch["is_first"][:, 0].all()
    assert not batch["is_first"][:, 1:].all()


@pytest.mark.parametrize("transitions", [8, 9, 27, 80])
def test_every_complete_window_is_drawn_and_no_other(transitions):
    which = spec(batch=20_000)
    envs, slots = replay.draw(jax.random.key(1), jnp.int32(transitions), which)
    drawn = set(zip(np.asarray(envs).tolist(), np.asarray(slots[:, 0]).tolist(), strict=True))
    complete = {(e, s) for e in range(2) for s in range(40) if (s + 3) * 2 + e < transitions}
    assert drawn == complete


def test_windows_are_drawn_uniformly():
    which = spec(batch=72_000)
    envs, slots = replay.draw(jax.random.key(2), jnp.int32(2 * 39), which)
    counts = np.bincount(np.asarray(slots[:, 0]) * 2 + np.asarray(envs), minlength=72)
    assert counts.min() > 1000 - 6 * 32
    assert counts.max() < 1000 + 6 * 32


def test_the_oldest_windows_leave_when_the_capacity_is_reached():
    which = spec(rows=9, capacity=9, batch=5000)
    rounds = 30
    buffers = filled(which, rounds)
    batch = replay.gather(buffers, *replay.draw(jax.random.key(3), jnp.int32(2 * rounds), which))
    begins = {(int(r % 1000), int(r // 1000)) for r in np.asarray(batch["reward"][:, 0])}
    last = 2 * (rounds - 3)
    assert begins == {(i % 2, i // 2) for i in range(last - 9, last)}
    np.testing.assert_array_equal(np.diff(np.asarray(batch["reward"]), axis=1), 1000.0)


def test_adding_on_the_device_equals_filling_on_the_host():
    which = spec(rows=6)
    rounds = stream(15, 2)
    buffers = {key: jnp.asarray(value) for key, value in replay.empty(which).items()}
    for index in range(15):
        buffers = replay.add(buffers, {k: jnp.asarray(v[index]) for k, v in rounds.items()}, jnp.int32(index), 6)
    host = replay.empty(which)
    replay.fill(host, {k: v[:10] for k, v in rounds.items()}, 0)
    replay.fill(host, {k: v[10:] for k, v in rounds.items()}, 10)
    for key, value in host.items():
        np.testing.assert_array_equal(value, np.asarray(buffers[key]))
