"""What the tests' grids train by their own command: it counts steps, and imports nothing of this repository.

`python cheap_train.py DIR` steps through its configured budget, 20 steps a tick, and writes scores, checkpoint, status
and result; on SIGTERM it saves and exits with 75 (harness/TRAINING.md). The environment variable CHEAP holds JSON:
`tick_s` (seconds of a tick) and `faults` (run name → what goes wrong, on the first attempt only).
"""

import fcntl
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any

STEPS_PER_TICK = 20
SETTINGS: dict[str, Any] = json.loads(os.environ.get("CHEAP", "{}"))


class Run:
    """A run: its progress, and a lock of the kernel's by which a second writer would show whatever leases say."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, "/".join(folder.parts[-3:])
        keys = dict(re.findall(r"(?m)^  (steps|eval_every): (\d+)", (folder / "config.yaml").read_text()))
        self.budget, self.every = int(keys["steps"]), int(keys["eval_every"])
        self.lock = self._lock()
        self.attempt = max(int(entry.name) for entry in (folder / "attempts").iterdir())
        self.saved = folder / "checkpoint" / "latest.json"
        self.steps = json.loads(self.saved.read_text())["env_steps"] if self.saved.exists() else 0
        self.score: float | None = float(self.steps // self.every * self.every) or None
        self.started = time.time()
        self.save()

    def _lock(self) -> IO[str]:
        lock = open(self.folder / "writer.lock", "w")  # noqa: SIM115 - held until the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (self.folder / "OVERLAP").write_text(f"{os.getpid()} at {time.time()}\n")
        return lock

    def tick(self) -> bool:
        """Take 20 steps and whatever is due with them; return whether the run is complete."""
        before, self.steps = self.steps, min(self.steps + STEPS_PER_TICK, self.budget)
        if self.steps // self.every > before // self.every:
            self.score = score = float(self.steps)
            row = {"env_steps": self.steps, "frames": self.steps, "mean": score, "episodes": [score], "lengths": [7]}
            with open(self.folder / "scores.jsonl", "a") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self.save()
        if self.steps < self.budget:
            return False
        result = {"env_steps": self.steps, "frames": self.steps, "updates": 0, "final_score": self.score}
        self.write(self.folder / "result.json", {**result, "config_hash": os.environ["HARMONY_BENCH_CONFIG_HASH"]})
        self.save("done")
        return True

    def save(self, state: str = "running", reason: str | None = None, message: str | None = None) -> None:
        """Write checkpoint and status."""
        self.saved.parent.mkdir(exist_ok=True)
        self.write(self.saved, {"env_steps": self.steps})
        status = {
            "state": state,
            "reason": reason,
            "message": message,
            "env_steps": self.steps,
            "attempt": self.attempt,
        }
        times = {"total_env_steps": self.budget, "heartbeat": time.time(), "started": self.started}
        self.write(self.folder / "status.json", status | times)

    def write(self, path: Path, content: dict[str, Any]) -> None:
        """Replace a file in one step."""
        path.with_suffix(".tmp").write_text(json.dumps(content))
        path.with_suffix(".tmp").rename(path)


def go_wrong(run: Run, fault: str) -> None:
    """Fail for real in the way that was asked for."""
    if fault == "gpu_oom":
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes.")
    if fault == "code":
        raise KeyError("reward")
    if fault == "nan":
        raise FloatingPointError(f"losses or gradients are not finite at step {run.steps}")
    if fault == "disk":
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")
    if fault == "graphics":
        raise ImportError("Cannot initialize a EGL device display. This likely means that your EGL driver is missing.")
    if fault == "memory":
        blocks: list[bytearray] = []
        while len(blocks) < 600:
            blocks.append(bytearray(b"1") * (10 * 2**20))
            time.sleep(0.01)
    if fault in ("kill", "segfault"):
        os.kill(os.getpid(), signal.SIGKILL if fault == "kill" else signal.SIGSEGV)
    if fault == "leave":
        os._exit(0)
    raise AssertionError(f"unknown fault {fault!r}")


def main(folder: Path) -> int:
    """Train the folder's run and return the exit code."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    run = Run(folder)
    fault = SETTINGS.get("faults", {}).get(run.name) if run.attempt == 1 else None
    while not run.tick():
        if fault:
            go_wrong(run, fault)
        time.sleep(SETTINGS.get("tick_s", 0.05))
        if asked:
            run.save("stopped", "stopped", f"asked to stop at step {run.steps}; checkpoint written")
            return 75
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
