"""Environments that fall asleep for ever, and a training process that has them."""

import os
import subprocess
import sys

SLEEPER = """
import time
import gymnasium
import numpy as np

class Sleeper(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, at="birth"):
        self.steps, self.at = 0, at
        if at == "birth":
            print("asleep", flush=True)
            time.sleep(3600)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps == self.at:
            print("asleep", flush=True)
            time.sleep(3600)
        return np.zeros(3, np.float32), 0.0, self.steps % 10 == 0, False, {}

gymnasium.register("Birth-v0", Sleeper)
gymnasium.register("Step-v0", Sleeper, kwargs={"at": 30})
"""


def trainer(tmp_path, task, *more):
    (tmp_path / "sleepers.py").write_text(SLEEPER)
    words = ["--configs", "debug", "vector_small", "--task", task, "env.gym.module=sleepers", "env.amount=2", *more]
    command = [sys.executable, "-m", "agent.train", *words, "jax.platform=cpu", "--logdir", str(tmp_path / "run")]
    path = os.pathsep.join([str(tmp_path), os.getcwd()])
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=-1, stderr=-1, text=True)
