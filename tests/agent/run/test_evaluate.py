"""The books of an evaluation: which episodes are scores."""

import numpy as np

from agent.contract.config import make_config
from agent.run import evaluate
from agent.run.evaluate import Episodes, quotas


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


def test_an_environment_that_cannot_be_closed_is_its_runs_error_and_the_others_are_closed(monkeypatch):
    make, closed = evaluate.make_envs, []

    def make_envs(config, env_steps):
        envs, books = make(config, env_steps)
        close = envs.close

        def noted():
            closed.append(config.seed)
            close()
            if config.seed == 1:
                raise OSError("the environment does not let go")

        monkeypatch.setattr(envs, "close", noted)
        return envs, books

    monkeypatch.setattr(evaluate, "make_envs", make_envs)
    configs = [make_config(["debug"], {"task": "catch", "seed": seed}) for seed in (1, 2)]
    bad, good = evaluate.evaluate(configs, [0, 0], lambda batches: [np.zeros(len(b["reward"]), int) for b in batches])
    assert isinstance(bad, OSError)
    assert isinstance(good, dict)
    assert len(good["episodes"]) == 2
    assert closed == [1, 2]
