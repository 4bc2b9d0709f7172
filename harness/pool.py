"""The local cluster: a process of its own that keeps at most `jobs` packs of a launch running on this machine.

`python -m harness.pool LAUNCH` takes the packs in their order. It outlives the terminal that started it; SIGTERM makes
it stop: running packs are asked to checkpoint, the others are left, and `resubmit` continues. pool.json says what it
is doing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from agent.lease import process_gone, process_identity
from agent.record import RecordError, read_json, write_json
from harness.jobenv import cores, share
from harness.study import Launch
from harness.submit import LocalJob, Slot, start_here

POLL_S = 0.2
BEAT_S = 5.0
STOP_WAIT_S = 300.0
_STARTED: list[subprocess.Popen[bytes]] = []  # pools outlive us; as long as we live they are ours to wait for


@dataclass
class Pool:
    """The packs of one launch on this machine."""

    launch: Launch
    slots: list[Slot]
    states: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    running: dict[int, tuple[int, LocalJob]] = field(default_factory=dict[int, tuple[int, LocalJob]])
    over: set[str] = field(default_factory=set[str])
    stopping: float | None = None
    written: float = 0.0

    def run(self) -> None:
        """Run all packs, or those begun when a stop is asked for."""
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        self.states = {number: {"state": "queued"} for number in range(len(self.launch.packs))}
        self._write()
        while self.running or (self.stopping is None and self._queued()):
            self._reap()
            if self.stopping is None:
                self._fill()
            elif time.monotonic() - self.stopping > STOP_WAIT_S:
                break
            if time.time() - self.written > BEAT_S:
                self._write()
            time.sleep(POLL_S)
        for number in self._queued():
            self.states[number] = {"state": "left"}
        self._write(ended=time.time())

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopping is None:
            self.stopping = time.monotonic()
        for _, job in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(job.job_id), signal.SIGTERM)

    def _queued(self) -> list[int]:
        return [number for number, state in self.states.items() if state["state"] == "queued"]

    def _fill(self) -> None:
        """Start packs while slots are free; those whose runs were all cancelled are passed over."""
        for number in self._queued():
            free = [
                index for index in range(len(self.slots)) if index not in {slot for slot, _ in self.running.values()}
            ]
            if not free or self.stopping is not None or len(self.running) + self._elsewhere() >= len(self.slots):
                return
            if set(self.launch.packs[number]) <= self._cancelled(number):
                self.states[number] = {"state": "ended"}
                continue
            job = start_here(self.launch, number, self.slots[free[0]])
            self.running[number] = (free[0], job)
            self.states[number] = {"state": "running", "job_id": f"local-{job.job_id}", "started": time.time()}
            self._write()
            if self.stopping is not None:  # it was asked for while this one was being started
                os.kill(int(job.job_id), signal.SIGTERM)

    def _elsewhere(self) -> int:
        """Return how many jobs the study's other pools on this machine run: together they keep to the limit."""
        count = 0
        for folder in self.launch.folder.parent.iterdir():
            if folder.name in self.over or folder.name == self.launch.id:
                continue
            with contextlib.suppress(RecordError):
                state = read_json(folder / "pool.json")
                if state is not None and not (is_alive(state) and _here(state)):
                    self.over.add(folder.name)
                elif state is not None:
                    count += sum(job["state"] == "running" for job in state["jobs"].values())
        return count

    def _cancelled(self, number: int) -> set[str]:
        with contextlib.suppress(RecordError):
            return self.launch.cancelled(number)
        return set()

    def _reap(self) -> None:
        for number, (_, job) in list(self.running.items()):
            if job.done():
                del self.running[number]
                self.states[number] |= {"state": "ended", "ended": time.time()}
                self._write()

    def _write(self, **more: Any) -> None:
        self.written = time.time()
        body = {**process_identity(), "beat": self.written, "jobs": {str(k): v for k, v in self.states.items()}}
        try:
            write_json(self.launch.folder / "pool.json", body | more, durable=False)
        except OSError as error:  # a full disk; the jobs go on
            print(f"{self.launch.folder / 'pool.json'}: not written: {error}", file=sys.stderr)


def make_slots(jobs: int, gpus: int) -> list[Slot]:
    """Return `jobs` places that share this machine's cores evenly and its GPUs in turn."""
    everything = cores()
    return [Slot(tuple(share(everything, jobs, k)), k % gpus if gpus else None) for k in range(jobs)]


def default_jobs(gpus: int) -> int:
    """Return how many packs run at once unless jobs= says: one per GPU, or one per two cores."""
    return gpus or max(1, len(cores()) // 2)


def start(launch: Launch) -> int:
    """Start the pool of a launch as a process in a session of its own, from the frozen code; return its pid."""
    code = launch.data["code"]
    path = os.pathsep.join([code, *filter(None, [os.environ.get("PYTHONPATH")])])
    with open(launch.folder / "pool.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.pool", str(launch.folder)],
            cwd=code,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _STARTED.append(process)
    deadline = time.monotonic() + 60
    while read_json(launch.folder / "pool.json") is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return process.pid


def is_alive(state: dict[str, Any]) -> bool:
    """Return whether the pool that wrote this pool.json still runs; on another machine its heartbeat decides."""
    for process in _STARTED:
        process.poll()
    if "ended" in state:
        return False
    return not process_gone(state) and (time.time() - state["beat"] < 60 or _here(state))


def _here(state: dict[str, Any]) -> bool:
    mine = process_identity()
    return state.get("host") == mine["host"] and state.get("boot") == mine["boot"]


def ask_to_stop(state: dict[str, Any]) -> bool:
    """Ask a pool on this machine to stop; return whether it could be asked."""
    if not is_alive(state) or not _here(state):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(state["pid"]), signal.SIGTERM)
        return True
    return False


def main(words: list[str]) -> None:
    """Run the pool of the launch in a folder."""
    folder = Path(words[0])
    data = read_json(folder / "launch.json")
    if data is None:
        raise FileNotFoundError(folder / "launch.json")
    gpus = int(data["profile"].get("gpus") or 0)
    jobs = int(data.get("jobs_at_once") or default_jobs(gpus))
    Pool(Launch(folder, data), make_slots(jobs, gpus)).run()


if __name__ == "__main__":
    main(sys.argv[1:])
