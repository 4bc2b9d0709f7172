"""What the tests of all suites do with an environment: play it, freeze it, compare."""

import json
import re

import numpy as np
import pytest
from pydantic_core import from_json

from agent.envs.base import check_step
from agent.envs.state import StateError, join, split
from agent.spec import BoxAction


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


def through_a_file(state):
    """Return the state as a checkpoint gives it back: arrays by path, and JSON."""
    arrays, plain = split(state)
    return join(arrays, from_json(json.dumps(plain, allow_nan=False)))


def check_restored(first, second, before=20, after=40):
    """Save `first` in the middle of its stream; `second`, elsewhere by then, must go on exactly like it."""
    actions = actions_for(first, before + after)
    records = play(first, actions[:before])
    play(second, actions_for(second, 7, seed=5))
    second.load(through_a_file(first.save()))
    rest = [play(env, actions[before:], records[-1]) for env in (first, second)]
    assert_equal(*rest)
    return rest[0]


def leaves(state, *above):
    """Yield the names on the way to every value of a state, and the value."""
    for key, value in state.items():
        if isinstance(value, dict):
            yield from leaves(value, *above, key)
        yield (*above, key), value


def changed(state, names, value):
    """Return a state with another value in this place, or without it where `value` is Ellipsis."""
    first, *rest = names
    new = dict(state)
    if rest:
        new[first] = changed(state[first], rest, value)
    elif value is ...:
        del new[first]
    else:
        new[first] = value
    return new


def check_schema(env, parts=lambda names: True):
    """Every entry that is missing, new, or of another kind is refused by its name."""
    state = through_a_file(env.save())
    cases = [((*names, "new"), 1, r"has 'new', which is unknown$") for names, v in leaves(state) if isinstance(v, dict)]
    for names, _ in leaves(state):
        where = re.escape("/".join(names))
        cases += [
            (names, ..., rf" lacks {re.escape(repr(names[-1]))}$"),
            (names, (), rf" {where} is \(\), .* is expected$"),
        ]
        cases += [(names, np.zeros((1, 2), "complex64"), rf" {where} is complex64\[1, 2\], .* is expected$")]
    for names, value, message in cases:
        if parts(names):
            with pytest.raises(StateError, match=message):
                env.load(changed(state, names, value))
    env.load(state)
