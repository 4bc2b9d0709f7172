"""What the tests of all suites do with an environment: play it, freeze it, compare."""

import numpy as np

from agent.envs.base import BoxAction, check_step


def actions_for(env, count, seed=0):
    """Return random actions, some of them beyond the box."""
    random = np.random.default_rng(seed)
    if isinstance(env.spec.action, BoxAction):
        return list(random.uniform(-1.2, 1.2, (count, env.spec.action.dim)).astype(np.float32))
    return random.integers(0, env.spec.action.n, count).tolist()


def play(env, actions, record=None):
    """Return the records of a stream: a reset at first and where the last record ended an episode."""
    records = []
    for action in actions:
        record = env.reset() if record is None or record["is_last"] else env.step(action)
        records.append(check_step(record, env.spec, type(env).__name__))
    return records


def assert_equal(ours, theirs):
    """Compare two streams bit for bit."""
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.keys() == b.keys()
        for key in a:
            assert np.array_equal(a[key], b[key]), (index, key)


def check_restored(first, second, before=20, after=40):
    """Save `first` in the middle of its stream; `second`, elsewhere by then, must go on exactly like it."""
    actions = actions_for(first, before + after)
    records = play(first, actions[:before])
    play(second, actions_for(second, 7, seed=5))
    second.load(first.save())
    rest = [play(env, actions[before:], records[-1]) for env in (first, second)]
    assert_equal(*rest)
    return rest[0]
