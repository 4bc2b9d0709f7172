"""Random play: what a command must do to be trained by a grid (harness/TRAINING.md), and no more."""

import json
import os
import sys
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from agent.contract.schema import EnvSettings
from agent.envs.registry import make


def main(run: Path) -> None:
    """Play at random and score the episodes since the last row every `eval_every` steps."""
    config = YAML(typ="safe", pure=True).load(run / "config.yaml")
    steps, every = config["run"]["steps"], config["run"]["eval_every"]
    random = np.random.default_rng(config["seed"])
    env = make(config["task"], EnvSettings(), config["seed"])
    action = env.spec.action
    record, total, returns, row = env.reset(), 0.0, [], {}
    for step in range(1, steps + 1):
        discrete = hasattr(action, "n")
        record = env.step(random.integers(action.n) if discrete else random.uniform(-1, 1, action.dim))
        total += float(record["reward"])
        if record["is_last"]:
            returns.append(total)
            record, total = env.reset(), 0.0
        if step % every == 0 and step < steps and returns:  # where our agent is evaluated
            row = {"env_steps": step, "frames": step * env.spec.repeat, "mean": float(np.mean(returns))}
            with open(run / "scores.jsonl", "a") as file:
                file.write(json.dumps({**row, "episodes": returns}) + "\n")
            returns = []
    result = {"env_steps": steps, "frames": steps * env.spec.repeat, "updates": 0, "final_score": row.get("mean")}
    (run / "result.tmp").write_text(json.dumps({**result, "config_hash": os.environ["HARMONY_BENCH_CONFIG_HASH"]}))
    (run / "result.tmp").rename(run / "result.json")


main(Path(sys.argv[1]))
