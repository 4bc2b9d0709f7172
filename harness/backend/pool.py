"""The local cluster: a process of its own that keeps at most `jobs` packs of a launch running on this machine.

`python -m harness.backend.pool LAUNCH` takes the packs in their order. It outlives the terminal that started it;
SIGTERM makes it stop: running packs are asked to checkpoint, the others are left, and `resubmit` continues. pool.json
says what it is doing. Several pools of one user share the machine: none starts a job while as many as its own limit
run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from agent.contract.files import RecordError
from agent.contract.lease import process_gone, process_identity
from agent.contract.ownership import refuse_foreign, tighten_umask
from agent.contract.records import read_record, write_record
from agent.contract.terminal import print_anywhere
from harness.backend.machine import Machine
from harness.backend.slot import LocalJob, Slot, exit_code, start_here
from harness.job import cache
from harness.job.allocation import cores, share
from harness.study.folder import Launch
from harness.study.records import LaunchRecord, PoolJob, PoolRecord

POLL_S = 0.2
BEAT_S = 5.0
STOP_WAIT_S = 300.0
SILENT_S = 60.0
_STARTED: list[subprocess.Popen[bytes]] = []  # pools outlive us; as long as we live they are ours to wait for


@dataclass
class Pool:
    """The packs of one launch on this machine."""

    launch: Launch
    slots: list[Slot]
    states: dict[int, PoolJob] = field(default_factory=dict[int, PoolJob])
    running: dict[int, tuple[int, LocalJob]] = field(default_factory=dict[int, tuple[int, LocalJob]])
    machine: Machine | None = field(default_factory=Machine.here)
    others: int = 0
    stopping: float | None = None  # by the monotonic clock
    told: float | None = None  # the same in unix seconds
    written: float = 0.0

    def run(self) -> None:
        """Run all packs, or those begun when a stop is asked for."""
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        self.states = {number: PoolJob(state="queued") for number in range(len(self.launch.packs))}
        self._write()
        if self.machine:
            self.machine.enter(self.launch)
        while self.running or (self.stopping is None and self._queued()):
            self._reap()
            if self.stopping is None:
                self._pass_over()
                self._fill()
            elif time.monotonic() - self.stopping > STOP_WAIT_S:
                break
            if time.time() - self.written > BEAT_S:
                self._write()
            time.sleep(POLL_S)
        for number in self._queued():
            self.states[number] = PoolJob(state="left")
        cache.remove_left(self.launch.data.profile.scratch or "")  # a killed job's, which no next one removes
        self._write(ended=time.time())
        if self.machine:
            self.machine.leave(self.launch.id)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopping is None:
            self.stopping, self.told = time.monotonic(), time.time()
        for _, job in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(job.job_id), signal.SIGTERM)

    def _queued(self) -> list[int]:
        return [number for number, state in self.states.items() if state.state == "queued"]

    def _pass_over(self) -> None:
        """End the packs whose runs were all cancelled before they began, whether there is room for them or not."""
        gone = [n for n in self._queued() if set(self.launch.packs[n]) <= self._cancelled(n)]
        for number in gone:
            self.states[number] = PoolJob(state="ended")
        if gone:
            self._write()

    def _fill(self) -> None:
        """Start packs while this machine has room."""
        if len(self.running) == len(self.slots) or not self._queued():
            return
        with self.machine.turn() if self.machine else contextlib.nullcontext():
            others = self._elsewhere()
            for number in self._queued():
                if self.stopping is not None or len(self.running) + len(others) >= len(self.slots):
                    break
                if not set(self.launch.packs[number]) <= self._cancelled(number):
                    self._start(number, self._slot(others))
        if len(others) != self.others:
            self.others = len(others)
            self._write()

    def _start(self, number: int, index: int) -> None:
        slot = self.slots[index]
        job = start_here(self.launch, number, slot)
        self.running[number] = (index, job)
        self.states[number] = PoolJob(
            state="running", job_id=f"local-{job.job_id}", started=time.time(), cores=list(slot.cores), gpu=slot.gpu
        )
        self._write()
        if self.stopping is not None:  # it was asked for while this one was being started
            os.kill(int(job.job_id), signal.SIGTERM)

    def _slot(self, others: Sequence[PoolJob]) -> int:
        """Return the free slot whose GPU, then whose cores, the fewest jobs of other pools use."""
        taken = {index for index, _ in self.running.values()}

        def used(index: int) -> tuple[int, int]:
            slot = self.slots[index]
            shared = sum(slot.gpu is not None and job.gpu == slot.gpu for job in others)
            return shared, sum(len(set(slot.cores) & set(job.cores)) for job in others)

        return min((index for index in range(len(self.slots)) if index not in taken), key=used)

    def _elsewhere(self) -> list[PoolJob]:
        """Return the jobs that other pools run on this machine, those of other studies too."""
        found: list[PoolJob] = []
        for name, state in self.machine.others(self.launch).items() if self.machine else ():
            if is_alive(state) and _here(state):
                found += [job for job in state.jobs.values() if job.state == "running"]
            elif self.machine:
                self.machine.leave(name)
        return found

    def _cancelled(self, number: int) -> set[str]:
        with contextlib.suppress(RecordError):
            return self.launch.cancelled(number)
        return set()

    def _reap(self) -> None:
        for number, (_, job) in list(self.running.items()):
            if job.done():
                del self.running[number]
                end = {"state": "ended", "ended": time.time(), "exit_code": exit_code(job)}
                self.states[number] = self.states[number].model_copy(update=end)
                self._write()

    def _write(self, ended: float | None = None) -> None:
        self.written = time.time()
        me = process_identity()
        record = PoolRecord(
            pid=me.pid, host=me.host, boot=me.boot, start=me.start, beat=self.written, jobs=self.states,
            others=self.others, stopping=self.told, ended=ended,
        )  # fmt: skip
        try:
            write_record(self.launch.folder / "pool.json", record, durable=False)
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
    code = launch.data.code
    path = os.pathsep.join([code, *filter(None, [os.environ.get("PYTHONPATH")])])
    with open(launch.folder / "pool.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.backend.pool", str(launch.folder)],
            cwd=code,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _STARTED.append(process)
    deadline = time.monotonic() + 60
    while read_pool(launch.folder) is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return process.pid


def read_pool(folder: Path) -> PoolRecord | None:
    """Return what a launch's pool last wrote, None where there is nothing that can be read: it writes every BEAT_S."""
    try:
        return read_record(folder / "pool.json", PoolRecord)
    except RecordError:
        return None


def may_live(launch: Launch) -> bool:
    """Return whether a pool that says nothing may be there: its launch is fresh, or its file was written just now."""
    try:
        last = (launch.folder / "pool.json").lstat().st_mtime
    except OSError:
        last = 0.0
    return time.time() - max(last, launch.data.created) < SILENT_S


def is_alive(state: PoolRecord) -> bool:
    """Return whether the pool that wrote this pool.json still runs; on another machine its heartbeat decides."""
    for process in _STARTED:
        process.poll()
    if state.ended is not None:
        return False
    return not process_gone(state) and (abs(time.time() - state.beat) < SILENT_S or _here(state))


def _here(state: PoolRecord) -> bool:
    mine = process_identity()
    return state.host == mine.host and state.boot == mine.boot


def ask_to_stop(state: PoolRecord) -> bool:
    """Ask a pool on this machine to stop; return whether it could be asked."""
    if not is_alive(state) or not _here(state):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(state.pid, signal.SIGTERM)
        return True
    return False


def main(words: list[str]) -> None:
    """Run the pool of the launch in a folder."""
    print_anywhere()
    tighten_umask()
    folder = Path(words[0]).absolute()
    refuse_foreign(folder / "launch.json", folder.parents[3])
    data = read_record(folder / "launch.json", LaunchRecord)
    if data is None:
        raise FileNotFoundError(folder / "launch.json")
    gpus = 0 if data.profile.gpus in (None, "auto") else data.profile.gpus
    jobs = data.jobs_at_once or default_jobs(gpus)
    Pool(Launch(folder, data), make_slots(jobs, gpus)).run()


if __name__ == "__main__":
    main(sys.argv[1:])
