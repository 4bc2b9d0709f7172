"""Run a command-line agent of the DreamerV3 family as a grid's command (harness/TRAINING.md).

`python adapter.py COMMAND… RUN_FOLDER` starts `COMMAND… --logdir RUN_FOLDER/logdir --task T --seed K --key value…` with
the grid's settings as flags, and turns the episodes that it logs into the run's rows: each the mean of those that ended
in a window of frames. The section `adapter` of the settings is its own: OWN below.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ruamel.yaml import YAML

OWN = {
    "every": 5000,  # frames of a window, which becomes a row
    "frames_per_step": 1,  # of the environment, as in Atari four
    "frames_per_logged_step": 1,  # DreamerV3 logs frames as steps; of a fork that logs agent steps: frames_per_step
    "score": "episode/score",  # the key of an episode's return
    "logs": ["scores.jsonl", "metrics.jsonl"],  # the first that is there
    "checkpoints": ["ckpt", "checkpoint.ckpt"],  # what the agent goes on from, in its logdir
}
POLL_S = 1.0


def flags(settings: dict, prefix: str = "") -> list[str]:
    """Return settings as flags: `--run.steps 110000`, a list as several words."""
    words: list[str] = []
    for key, value in settings.items():
        if isinstance(value, dict):
            words += flags(value, f"{prefix}{key}.")
        else:
            words += [f"--{prefix}{key}", *map(str, value if isinstance(value, list) else [value])]
    return words


class Log:
    """The episodes in an agent's log as windows of frames; `last` is the frame of the latest line.

    With `goes_on` what is there already counts up to the frame with which the agent begins.
    """

    def __init__(self, logdir: Path, own: dict, *, goes_on: bool) -> None:
        self.logdir, self.own = logdir, own
        self.place, self.last, self.begun = 0, 0, True
        self.episodes: list[tuple[int, float]] = []
        self.read()
        self.episodes, self.begun = self.episodes if goes_on else [], False

    def read(self) -> None:
        """Take in what was logged since the last time."""
        path = next((p for name in self.own["logs"] if (p := self.logdir / name).exists()), None)
        if path is None:
            return
        with open(path, "rb") as file:
            file.seek(self.place)
            whole = file.read().rpartition(b"\n")[0]  # the last line may be half written
        self.place += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # cut short as the agent was killed
                print(f"{path}: left out: {line[:80]!r}", file=sys.stderr)
                continue
            before, self.last = self.last, int(row["step"]) * self.own["frames_per_logged_step"]
            if not self.begun or self.last < before:  # it went back to its checkpoint
                self.episodes = [episode for episode in self.episodes if episode[0] < self.last]
            self.begun = True
            if self.own["score"] in row:
                self.episodes.append((self.last, float(row[self.own["score"]])))

    def rows(self, *, ended: bool) -> list[dict]:
        """Return a row for each window that has ended, or for all when the agent has."""
        every, repeat = self.own["every"], self.own["frames_per_step"]
        windows: dict[int, list[float]] = {}
        for frame, score in self.episodes:
            windows.setdefault(-(-frame // every) * every, []).append(score)
        return [
            {"env_steps": end // repeat, "frames": end, "mean": sum(scores) / len(scores), "episodes": scores}
            for end, scores in sorted(windows.items())
            if ended or (self.begun and end <= self.last)
        ]


class Run:
    """The run's folder, as the harness reads it."""

    def __init__(self, folder: Path, own: dict) -> None:
        self.folder, self.latest, scores = folder, folder / "checkpoint" / "latest.json", folder / "scores.jsonl"
        self.rows = [json.loads(line) for line in scores.read_text().splitlines()] if scores.exists() else []
        self.checkpoints = [folder / "logdir" / name for name in own["checkpoints"]]
        self.saved = self._checkpoint()
        self.log = Log(folder / "logdir", own, goes_on=self.saved > 0)

    def update(self, *, ended: bool = False) -> None:
        """Append the rows that are due; after a new checkpoint, say which of them were there before it."""
        before, saved = self.rows[-1]["env_steps"] if self.rows else 0, self._checkpoint()
        if saved != self.saved and before:
            self.saved = saved
            self.latest.parent.mkdir(exist_ok=True)
            replace(self.latest, {"env_steps": before})
        self.log.read()
        fresh = [row for row in self.log.rows(ended=ended) if row["env_steps"] > before]
        with open(self.folder / "scores.jsonl", "a") as file:
            file.writelines(json.dumps(row) + "\n" for row in fresh)
        self.rows += fresh

    def finish(self) -> None:
        """Write the result."""
        last = self.rows[-1] if self.rows else {"frames": 0, "env_steps": 0, "mean": None}
        frames = max(self.log.last, last["frames"])
        steps = max(frames // self.log.own["frames_per_step"], last["env_steps"])
        result = {"env_steps": steps, "frames": frames, "updates": 0, "final_score": last["mean"]}
        replace(self.folder / "result.json", {**result, "config_hash": os.environ["HARMONY_BENCH_CONFIG_HASH"]})

    def _checkpoint(self) -> float:
        return max((path.stat().st_mtime for path in self.checkpoints if path.exists()), default=0.0)


def replace(path: Path, content: dict) -> None:
    """Write a file in one step."""
    path.with_suffix(".tmp").write_text(json.dumps(content))
    path.with_suffix(".tmp").rename(path)


def main(command: list[str], folder: Path) -> int:
    """Run the agent to its end and return the exit code that the harness understands."""
    config = YAML(typ="safe", pure=True).load(folder / "config.yaml")
    given = config.get("adapter", {})
    settings = {k: v for k, v in config.items() if k not in ("task", "method", "seed", "train", "adapter")}
    if odd := sorted(given.keys() - OWN.keys()):
        print(f"adapter.{odd[0]}: unknown; there are {', '.join(OWN)}", file=sys.stderr)
        return 2
    run = Run(folder, OWN | given)
    identity = ["--logdir", str(folder / "logdir"), "--task", config["task"], "--seed", str(config["seed"])]
    agent = subprocess.Popen([*command, *identity, *flags(settings)])
    asked: list[int] = []

    def stop(number: int, _: object) -> None:
        asked.append(number)
        agent.terminate()

    signal.signal(signal.SIGTERM, stop)
    while (code := agent.poll()) is None:
        run.update()
        time.sleep(POLL_S)
    if code == 0:
        run.update(ended=True)
        run.finish()
        return 0
    run.update()
    if asked:
        return 75
    print(f"the agent ended with {code}", file=sys.stderr)
    return code if code > 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:-1], Path(sys.argv[-1])))
