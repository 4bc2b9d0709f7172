"""A small agent with the command line, the logs and the checkpoints of the DreamerV3 family: Q-learning on a corridor.

`--logdir DIR --configs NAME… --task T --seed K --KEY VALUE…`. It logs in frames, two a step, and goes on from
`DIR/checkpoint.ckpt` to the bit.
"""

import json
import os
import pickle
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

LENGTH, REPEAT = 6, 2


def parse(words: list[str]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            given[word[2:]] = []
        else:
            given[list(given)[-1]].append(word)
    return given


class Agent:
    """A table of values of two moves, away from the start or back to it; the far end is worth 1."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.values = [[0.0, 0.0] for _ in range(LENGTH)]
        self.place = self.steps = self.length = 0

    def step(self, explore: float) -> float | None:
        """Move once; return the episode's score if it has ended."""
        values = self.values[self.place]
        greedy = int(values[1] >= values[0])
        move = self.random.randrange(2) if self.random.random() < explore else greedy
        after = max(0, min(LENGTH - 1, self.place + (1 if move else -1)))
        reward = float(after == LENGTH - 1)
        values[move] += 0.5 * (reward + 0.9 * max(self.values[after]) * (1 - reward) - values[move])
        self.place, self.steps, self.length = after, self.steps + 1, self.length + 1
        if reward or self.length == 20:
            score = reward - self.length / 100
            self.place = self.length = 0
            return score
        return None


def main(given: dict[str, list[str]]) -> None:
    logdir = Path(given["logdir"][0])
    logdir.mkdir(exist_ok=True)
    (logdir / "flags.json").write_text(json.dumps(given))
    checkpoint = logdir / "checkpoint.ckpt"
    agent: Any = pickle.loads(checkpoint.read_bytes()) if checkpoint.exists() else Agent(int(given["seed"][0]))
    while agent.steps < float(given["run.steps"][0]):
        score = agent.step(float(given["explore"][0]))
        if score is not None:
            row = {"step": agent.steps * REPEAT, "episode/score": score}
            with open(logdir / "scores.jsonl", "a") as file:
                file.write(json.dumps(row) + "\n")
        if agent.steps % 500 == 0:
            time.sleep(float(given["pause"][0]))
            checkpoint.with_suffix(".tmp").write_bytes(pickle.dumps(agent))
            checkpoint.with_suffix(".tmp").rename(checkpoint)
        if given["die"] == [str(agent.steps)] and not (logdir / "died").exists():
            (logdir / "died").touch()
            time.sleep(2.5)  # so that the adapter has seen what there is
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(parse(sys.argv[1:]))
