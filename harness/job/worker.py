"""What runs inside a job: one or more training processes for the runs of a pack, started, watched and recorded.

`run_pack` takes a path and nothing else. It starts `python -m agent.train --runs …`, one process for all runs
(`vmap`) or one each (`process`), or another agent's command for each run, keeps their output in the runs' `attempts/`,
passes signals on so that they checkpoint, and asks its cluster to run the job again when time ran out with runs
unfinished.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from agent.contract import exit_codes
from agent.contract.files import RecordError
from agent.contract.lease import correct_heartbeat, is_held
from agent.contract.ownership import ForeignError, refuse_foreign, refuse_foreign_run, tighten_umask
from agent.contract.records import read_record
from agent.contract.run_folder import RunDir, read_status
from agent.contract.variables import CONFIG_HASH, ENDS_AT, QUEUE_AGAIN
from agent.contract.words import ConfigError
from harness.job.allocation import (
    EnvironmentFault,
    Gpu,
    cores,
    find_gpu,
    finished,
    job_id,
    process_environment,
    restarts,
    share,
)
from harness.job.attempts import Attempt, broke, latest
from harness.job.cache import Cache
from harness.job.keeper import Keeper
from harness.job.training import Process, start
from harness.study.folder import Study, begun_file, cancelled_in
from harness.study.other_agent import OtherConfig
from harness.study.records import PackRecord
from harness.study.run import hash_config, read_config

STAGGER_S = 120.0
POLL_S = 0.2
PUBLISH_S = 60.0
STOP_WAIT_S = 100.0
REQUEUE_S = 60.0
LOOK_S = 10.0
LIMIT_SLACK_S = 30.0


@dataclass
class Supervisor:
    """The processes of one job."""

    study: Path
    launch: Path
    pack: PackRecord
    gpu: Gpu | None
    cache: Cache
    processes: list[Process] = field(default_factory=list[Process])
    waiting: list[list[RunDir]] = field(default_factory=list[list[RunDir]])
    signalled: signal.Signals | None = None
    began: float = field(default_factory=time.time)
    ended_early: bool = False

    @property
    def to_be_queued_again(self) -> bool:
        """Whether the job was told that time is nearly up, and by no one since that it should end."""
        return self.signalled is signal.SIGUSR2 and not self.ended_early

    def catch_signals(self) -> None:
        """Take SIGUSR2 (time is nearly up: checkpoint and queue again), SIGTERM and SIGINT (checkpoint and end)."""
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signalled is not signal.SIGUSR2:
            self.signalled = signal.Signals(number)
        elif number != signal.SIGUSR2 and time.time() < self._ends_at() - LIMIT_SLACK_S:
            self.ended_early = (
                True  # by a cancellation; a preempted job is queued again by Slurm, where that is its way
            )
        self.waiting.clear()
        for process in self.processes:
            if process.ended is None:
                process.stop()

    def run(self) -> bool:
        """Start and watch all processes until they have ended; return whether every run is complete."""
        runs = [RunDir(self.study / name) for name in self.pack.runs]
        self.waiting = [runs] if self.pack.mode == "vmap" else [[run] for run in runs]
        self._drop_what_is_not_due()
        self.catch_signals()
        with contextlib.suppress(OSError):  # a full disk: then the log has to tell
            begun = begun_file(self.launch, self.pack.number)
            begun.parent.mkdir(exist_ok=True)
            begun.touch()
        published = started = looked = time.monotonic()
        while self.waiting or any(process.ended is None for process in self.processes):
            if self.signalled is not None:
                self.waiting.clear()
            if self.waiting and time.monotonic() - looked > LOOK_S:
                self._drop_what_is_not_due()
                looked = time.monotonic()
            if self.waiting and self._may_start(time.monotonic() - started):
                started = self._start_next(started)
            before = time.monotonic()
            time.sleep(POLL_S)
            self._share_out(time.monotonic() - before)
            self._reap()
            self._obey_cancellation()
            if time.monotonic() - published > PUBLISH_S:
                self.cache.publish()
                published = time.monotonic()
        return all(finished(run) for run in runs)

    def _drop_what_is_not_due(self) -> None:
        """Take from the waiting runs those that are complete, cancelled, broken by this launch, or a later launch's."""
        dropped = self._cancelled() | self._superseded()

        def due(run: RunDir) -> bool:
            return str(run.path.relative_to(self.study)) not in dropped and not finished(run) and not self._broke(run)

        groups = [[run for run in group if due(run)] for group in self.waiting]
        self.waiting = [group for group in groups if group]

    def _broke(self, run: RunDir) -> bool:
        with contextlib.suppress(RecordError):  # of an attempt that cannot be read, another one is due
            return broke(latest(run)[1], self.launch.name)
        return False

    def _superseded(self) -> set[str]:
        """Return this job's runs that a later launch or resubmission has handed over: they are that one's now."""
        names = set(self.pack.runs)
        taken: set[str] = set()
        for launch in Study(self.study).launches():
            if launch.id > self.launch.name:
                taken |= names & {name for number in launch.handed_over for name in launch.packs[number]}
        return taken

    def _start_next(self, last: float) -> float:
        """Start the first waiting group that no process elsewhere seems to hold; return when one was last started.

        The others wait until that process has let go, or its heartbeat is stale.
        """
        free = next((group for group in self.waiting if not any(_held_elsewhere(run) for run in group)), None)
        if free is None:
            return last
        self._drop_what_is_not_due()
        group = next(
            (group for group in self.waiting if {run.path for run in group} <= {run.path for run in free}), None
        )
        if group is None:
            return last
        self.waiting.remove(group)
        group = self._fit(group)
        try:
            if group:
                self._start(group)
        except (OSError, RecordError, ForeignError) as error:  # a full disk, a folder of another's: the others go on
            print(f"{group[0].path}: not started: {error}", file=sys.stderr)
        return time.monotonic()

    def _fit(self, runs: list[RunDir]) -> list[RunDir]:
        """Return the runs whose folders may be trained; the others are named, and left to a resubmission."""
        fit = {str(run.path.relative_to(self.study)): run for run in runs}
        unfit: dict[str, Exception] = {}
        for name, run in fit.items():
            try:
                refuse_foreign_run(run.path)
            except (RecordError, ForeignError) as error:
                unfit[name] = error
        unfit |= Study(self.study).unplanned(fit.keys() - unfit.keys())
        for name, error in unfit.items():
            print(f"{self.study / name}: not started: {error}", file=sys.stderr)
        return [run for name, run in fit.items() if name not in unfit]

    def _may_start(self, since_last_s: float) -> bool:
        """Start one process after another: the next when the last has begun to train, so that they compile in turn."""
        if self.pack.train or not self.processes or self.processes[-1].ended is not None or since_last_s > STAGGER_S:
            return True
        last = self.processes[-1].attempts[0]
        with contextlib.suppress(RecordError):
            status = read_status(last.run)
            return status is not None and status.updates > 0 and status.heartbeat >= last.record.started
        return False

    def _ends_at(self) -> float:
        """Return when the job's time is up, in unix seconds; older Slurms do not tell when it began."""
        given = os.environ.get(ENDS_AT, "")
        return float(given) if given.isdigit() else self.began + self.pack.profile.walltime_min * 60.0

    def _start(self, runs: list[RunDir]) -> None:
        index = len(self.processes)
        environ = process_environment(self.pack, self.gpu, index, self.cache.own, dict(os.environ))
        with self._kept(runs[0], environ) as keeper:
            attempts = [Attempt.begin(run, self.launch.name, self.pack, self.gpu) for run in runs]
            if keeper is not None:
                keeper.begin(attempts[0])
            process = start(
                attempts,
                self.pack.train,
                keeper,
                environ=environ,
                code=self.pack.code,
                cores=share(cores(), self.pack.processes, index),
                pass_fds=() if self.cache.lock is None else (self.cache.lock,),
            )
        self.processes.append(process)
        if self.signalled is not None:  # it arrived while this one was being started
            self.processes[-1].stop()

    @contextlib.contextmanager
    def _kept(self, run: RunDir, environ: dict[str, str]) -> Generator[Keeper | None]:
        """Give what keeps a run for its command, None for our agent, which needs none.

        The command learns from its environment of which configuration it is. One that cannot be started gives it back.
        """
        if not self.pack.train:
            yield None
            return
        try:
            config = read_config(run)
        except ConfigError as error:
            raise RecordError(str(error)) from error
        environ[CONFIG_HASH] = hash_config(config)
        keeper = Keeper.claim(run, job_id(), config.steps if isinstance(config, OtherConfig) else None)
        try:
            yield keeper
        except BaseException as error:
            keeper.give_up(error)
            raise

    def _share_out(self, seconds: float) -> None:
        alive = [process for process in self.processes if process.ended is None]
        for process in alive:
            process.device_s += seconds / len(alive)

    def _reap(self) -> None:
        for process in self.processes:
            if process.ended is None and process.popen.poll() is not None:
                process.close(time.time())
            elif process.ended is None:
                process.keep()

    def _obey_cancellation(self) -> None:
        cancelled = self._cancelled()
        if not cancelled:
            return
        self.waiting = [group for group in self.waiting if not self._all_in(group, cancelled)]
        for process in self.processes:
            if (
                process.ended is None
                and not process.asked
                and self._all_in([a.run for a in process.attempts], cancelled)
            ):
                process.stop()

    def _all_in(self, runs: list[RunDir], names: set[str]) -> bool:
        return all(str(run.path.relative_to(self.study)) in names for run in runs)

    def _cancelled(self) -> set[str]:
        try:
            return cancelled_in(self.launch / "cancel" / f"{self.pack.number:04d}.json")
        except RecordError:  # cancel writes it anew when it is asked again
            return set()


def _held_elsewhere(run: RunDir) -> bool:
    correct_heartbeat(run)
    return is_held(run)


def run_pack(path: str) -> None:
    """Train the runs of the pack described in a file; the process exits with 0 when all of them are complete."""
    tighten_umask()
    file = Path(path).absolute()
    refuse_foreign(file, file.parents[5])
    try:
        pack = read_record(file, PackRecord)
    except RecordError as error:
        sys.exit(str(error))
    if pack is None:
        sys.exit(f"{path}: no such file")
    launch = file.parents[1]
    gpu = find_gpu() if pack.profile.gpus else None
    cache = Cache.open(gpu.kind if gpu else "cpu", pack.profile.scratch or "")
    supervisor = Supervisor(file.parents[4], launch, pack, gpu, cache)
    try:
        complete = supervisor.run()
    except EnvironmentFault as fault:
        print(fault, file=sys.stderr)
        sys.exit(exit_codes.FAILED)
    finally:
        cache.publish(settled_s=1.0)
        cache.close()
    again = os.environ.get(QUEUE_AGAIN)
    if not complete and supervisor.to_be_queued_again and again:
        _requeue(supervisor, again.split())
    sys.exit(exit_codes.DONE if complete else exit_codes.FAILED)


def _requeue(supervisor: Supervisor, command: list[str]) -> None:
    """Queue this job again, unless it ended without getting any further than it began."""
    attempts = [attempt for process in supervisor.processes for attempt in process.attempts]
    moved = [a for a in attempts if (a.record.env_steps_after or 0) > a.record.env_steps_before]
    if attempts and not moved and restarts() > 0:
        print("not queued again: it got no further than its last checkpoint; give it more walltime", file=sys.stderr)
        return
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=REQUEUE_S, check=False)
        words = f"exit code {done.returncode}: {' '.join(done.stderr.split())}" if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        words = str(error)
    if words:  # also when the cluster has queued it again by itself
        print(f"not queued again: {command[0]}: {words}", file=sys.stderr)
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(STOP_WAIT_S)  # the cluster ends this process; leaving first would look like a failure
