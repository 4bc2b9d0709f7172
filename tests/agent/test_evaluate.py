"""The books of an evaluation: which episodes are scores."""

import numpy as np

from agent.evaluate import Episodes, quotas


def record(reward, *, first=False, last=False):
    return {"reward": np.array([reward], np.float32), "is_first": np.array([first]), "is_last": np.array([last])}


def test_an_episode_cut_by_a_lost_worker_is_played_again_not_scored():
    books, active = Episodes(quotas(1, 1)), np.array([True])
    books.add(record(0, first=True), active)
    books.add(record(5), active)
    books.add(record(0, last=True), active, np.array([True]))
    assert books.active.all() and books.returns == [[]]
    books.add(record(0, first=True), active)
    books.add(record(2, last=True), active)
    assert not books.active.any() and books.returns == [[2.0]] and books.lengths == [[1]]


def test_quotas_are_as_even_as_can_be():
    assert (
        quotas(100, 25).tolist() == [4] * 25
        and quotas(10, 4).tolist() == [3, 3, 2, 2]
        and quotas(2, 8).tolist() == [1, 1]
    )
