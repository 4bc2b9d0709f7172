"""Environments that misbehave on purpose, importable by worker processes."""

import os
import signal
import sys
import time

import numpy as np

from agent.envs.base import record
from agent.envs.state import check
from agent.spec import ArraySpec, DiscreteAction, EnvSpec

KILL, HANG, RAISE, NAN, WRONG_SHAPE = "kill", "hang", "raise", "nan", "wrong shape"


class Counter:
    """Counts its steps up to `length`; at step `at` of its first incarnation (or of all) it does something bad."""

    def __init__(self, fault=None, at=3, length=10, always=False, restart=0, name=0):
        self.fault = fault if always or not restart else None
        self.at, self.length, self.restart, self.name = at, length, restart, name
        self.steps = self.episodes = 0
        self.spec = EnvSpec({"count": ArraySpec((4,), "float32")}, DiscreteAction(2))
        if fault == "at birth":
            raise ValueError("born broken")
        if fault == "die at birth" and not restart:
            os.kill(os.getpid(), signal.SIGKILL)

    def reset(self):
        self.steps, self.episodes = 0, self.episodes + 1
        if self.fault == "kill at reset":
            os.kill(os.getpid(), signal.SIGKILL)
        return record(self.count(), 0.0, first=True)

    def step(self, action):
        self.steps += 1
        if self.fault and self.steps == self.at:
            return self.misbehave()
        over = self.steps == self.length
        return record(self.count(), float(action), last=over, terminal=over)

    def misbehave(self):
        if self.fault == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == HANG:
            time.sleep(3600)
        if self.fault == RAISE:
            raise ZeroDivisionError("the physics broke")
        if self.fault == NAN:
            return record(self.count(), float("nan"))
        return record({"count": np.zeros(3, np.float32)}, 0.0)

    def count(self):
        return {"count": np.array([self.steps, self.episodes, self.restart, self.name], np.float32)}

    def save(self):
        return {"steps": self.steps, "episodes": self.episodes}

    def load(self, state):
        check(state, {"steps": range(10**6), "episodes": range(10**6)}, "counter")
        self.steps, self.episodes = state["steps"], state["episodes"]

    def close(self):
        pass


class Witness(Counter):
    """Shows what its process is: whether JAX was imported, and its process id."""

    def count(self):
        return {"count": np.array(["jax" in sys.modules, os.getpid() % 10_000, os.getpid() // 10_000, 0], np.float32)}
