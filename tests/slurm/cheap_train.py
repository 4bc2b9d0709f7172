"""Stands in for agent/train.py where hundreds of runs, or long ones, must cost no CPU: its contract, no learning.

`python -m agent.train --runs DIR…`: claims each run's lease, steps through its configured budget, writes scores,
checkpoints, status and result as the agent does, checkpoints on SIGTERM and exits 75. The environment variable CHEAP
holds JSON: `tick_s` (seconds per 20 steps) and `faults` (run name → what goes wrong, on the first attempt only).
"""

import fcntl
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import IO, Any

from agent.contract.config import Config, config_hash, from_dict, read_yaml
from agent.contract.files import RecordError, append_row, keep_rows, read_json, write_json
from agent.contract.lease import Lease
from agent.contract.records import StateWord, Status
from agent.contract.run_folder import RunDir, write_status

STEPS_PER_TICK = 20
SETTINGS: dict[str, Any] = json.loads(os.environ.get("CHEAP", "{}"))


class Run:
    """One run: its progress, and a lock of the kernel's by which a second writer would show whatever leases say."""

    def __init__(self, folder: Path, pack: int) -> None:
        self.dir = RunDir(folder)
        self.name = "/".join(folder.parts[-3:])
        self.config: Config = from_dict(read_yaml(self.dir.config))
        self.lease = Lease.claim(self.dir, job_id=os.environ.get("HARMONY_BENCH_JOB_ID"))
        self.lock = self._lock()
        self.attempt = self.dir.attempt_numbers()[-1]
        saved = read_json(folder / "checkpoint" / "latest.json") or {}
        self.steps = int(saved.get("env_steps", 0))
        self.score: float | None = None
        keep_rows(self.dir.scores, lambda row: row["env_steps"] <= self.steps)
        self.status = Status(
            total_env_steps=self.config.run.steps, started=time.time(), attempt=self.attempt, pack=pack,
            job_id=os.environ.get("HARMONY_BENCH_JOB_ID"), host=socket.gethostname(), device="cpu",
        )  # fmt: skip
        self.ended = False

    def _lock(self) -> IO[str]:
        lock = open(self.dir.path / "writer.lock", "w")  # noqa: SIM115 - held until the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (self.dir.path / "OVERLAP").write_text(f"{os.getpid()} at {time.time()}\n")
        return lock

    def tick(self) -> None:
        """Take 20 steps and whatever is due with them."""
        self.lease.beat()
        before, self.steps = self.steps, min(self.steps + STEPS_PER_TICK, self.config.run.steps)
        every = self.config.run.eval_every
        if self.steps // every > before // every:
            self.score = score = float(self.steps)
            row = {"env_steps": self.steps, "frames": self.steps, "mean": score, "episodes": [score], "lengths": [7]}
            append_row(self.dir.scores, {**row, "metric": "return", "walltime_s": 0.0}, durable=True)
        self.save()
        if self.steps >= self.config.run.steps:
            result = {"env_steps": self.steps, "frames": self.steps, "updates": 0, "final_score": self.score}
            write_json(self.dir.result, {**result, "config_hash": config_hash(self.config), "walltime_s": 0.0})
            self.end("done")

    def save(self) -> None:
        """Write checkpoint and status."""
        (self.dir.path / "checkpoint").mkdir(exist_ok=True)
        write_json(self.dir.checkpoint / "latest.json", {"env_steps": self.steps}, durable=False)
        self.status.env_steps, self.status.heartbeat = self.steps, time.time()
        write_status(self.dir, self.status)

    def end(self, state: StateWord, reason: str | None = None, message: str | None = None) -> None:
        """Write the last status and give the run back."""
        self.status.state, self.status.reason, self.status.message = state, reason, message
        self.save()
        self.lease.release()
        self.ended = True


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


def main(folders: list[str]) -> int:
    """Train the folders' runs and return agent.train's exit code."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, lambda signum, _: asked.append(signum))
    open_folders = [Path(folder) for folder in folders if not RunDir(Path(folder)).result.is_file()]
    try:
        runs = [Run(folder, len(open_folders)) for folder in open_folders]
    except RecordError as error:
        print(error, file=sys.stderr)
        return 1
    faults: dict[str, str] = SETTINGS.get("faults", {})
    while not all(run.ended for run in runs):
        for run in runs:
            if asked and not run.ended:
                run.end("stopped", "stopped", f"asked to stop at step {run.steps}; checkpoint written")
            elif not run.ended:
                run.tick()
                fault = faults.get(run.name) if run.attempt == 1 and not run.ended else None
                if fault:
                    go_wrong(run, fault)
        time.sleep(SETTINGS.get("tick_s", 0.05) if not asked else 0)
    return 75 if asked and not all(run.dir.result.is_file() for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[sys.argv.index("--runs") + 1 :]))
