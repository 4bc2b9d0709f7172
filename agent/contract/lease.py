"""The lease of a run folder: the right to write in it, kept by a heartbeat, taken over only from the dead.

A lease is a file made by hard link, which is atomic on network file systems too; its modification time is the
heartbeat, compared with a file made at the same moment so that only the file server's clock counts. One that is
damaged counts by its heartbeat alone: its holder writes it anew, and nobody's is free when it is stale. The harness
holds a study by one in the same way. Imports neither JAX nor an environment.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

from agent.contract.files import RecordError, set_aside
from agent.contract.records import Holder, ProcessIdentity, read_record, write_record
from agent.contract.run_folder import STALE_AFTER_S, RunDir

BEAT_S = 30.0
PATIENCE_S = 120.0  # for a file system that does not answer; well below the time after which others take over
FUTURE_S = 60.0


class TakenOver(RecordError):
    """Another process holds the lease now."""


@dataclass
class Lease:
    """The right to write one run folder, kept by a heartbeat.

    Raises (on `claim` and `beat`): RecordError naming the holder.
    """

    run: RunDir
    owner: str
    holder: Holder | None = None
    kept_at: float = field(default_factory=time.time)

    @classmethod
    def claim(
        cls,
        run: RunDir,
        *,
        job_id: str | None = None,
        job_alive: Callable[[Holder], bool | None] = lambda holder: None,
        stale_after_s: float = STALE_AFTER_S,
    ) -> Lease:
        """Return the lease on a run folder, taking over one whose holder is known to be gone.

        A holder is gone when its process on this host has ended, or when its heartbeat is older than
        `stale_after_s` and `job_alive(holder)` is not True.
        """
        owner = uuid.uuid4().hex
        identity = process_identity().model_dump()
        holder = Holder(**identity, owner=owner, job_id=job_id, since=time.time())
        run.path.mkdir(parents=True, exist_ok=True)
        with _written(run, holder) as temporary:
            for _ in range(3):
                with contextlib.suppress(FileExistsError):
                    os.link(temporary, run.lease)
                    return cls(run, owner, holder)
                _remove_if_gone(run, temporary, job_alive, stale_after_s)
        raise RecordError(f"{run.path}: another process keeps taking this run; look at {run.lease}")

    def hand_to(self, pid: int) -> None:
        """Name another process of this host as the holder: the run is free when that one is gone, not this one."""
        if self.holder is not None:
            self.holder = self.holder.model_copy(update=_process(pid).model_dump())
            write_record(self.run.lease, self.holder, durable=False)

    def beat(self) -> None:
        """Renew the heartbeat; a lease that is gone or damaged is made anew, as nobody else may have taken it yet.

        Raises: TakenOver when another process holds it: stop writing at once. RecordError when it could not be kept
        for PATIENCE_S: one answer that a file server did not give ends no run.
        """
        since = time.time() - self.kept_at
        try:
            self._renew(since)
        except TakenOver:
            raise
        except (OSError, RecordError) as error:
            if since > PATIENCE_S:
                raise RecordError(f"{self.run.path}: its lease could not be kept for {since:.0f} s: {error}") from error
        else:
            self.kept_at = time.time()

    def check(self) -> None:
        """Raise RecordError unless the lease lies there and is ours: one that is gone was given back by another."""
        found = read_record(self.run.lease, Holder)
        if found is None:
            raise TakenOver(f"{self.run.path}: its lease is gone")
        if found.owner != self.owner:
            raise TakenOver(f"{self.run.path}: was taken over by {_describe(found)}")

    def _renew(self, since: float) -> None:
        try:
            found = read_record(self.run.lease, Holder)
        except RecordError as error:
            if isinstance(error.__cause__, OSError) and not self.run.lease.is_dir():
                raise  # it could not be asked
            if self.holder is None or since > PATIENCE_S:
                raise
            set_aside(self.run.lease)
            found = None
        if found is None:
            if self.holder is None or since > PATIENCE_S:
                raise RecordError(f"{self.run.lease} is gone")
            with _written(self.run, self.holder) as temporary:
                os.link(temporary, self.run.lease)
        elif found.owner != self.owner:
            raise TakenOver(f"{self.run.path}: this run was taken over by {_describe(found)}; nothing more is written")
        os.utime(self.run.lease)

    @contextlib.contextmanager
    def kept(self, every_s: float = BEAT_S) -> Generator[None]:
        """Renew the heartbeat from a thread as long as the block runs, then give the lease back.

        Raises RecordError at the block's end when the lease was taken over meanwhile.
        """
        over, lost = threading.Event(), list[RecordError]()

        def renew() -> None:
            while not over.wait(every_s):
                try:
                    self.beat()
                except RecordError as error:
                    lost.append(error)
                    return

        thread = threading.Thread(target=renew, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.release()
        if lost:
            raise lost[0]

    def release(self) -> None:
        """Give the run back; nothing happens when the lease is no longer ours."""
        with contextlib.suppress(RecordError, OSError):
            found = read_record(self.run.lease, Holder)
            if found is not None and found.owner == self.owner:
                self.run.lease.unlink()


def lease_holder(run: RunDir) -> tuple[Holder | None, float] | None:
    """Return the holder of a run's lease and the age of its heartbeat in seconds, None when the run is free.

    The holder is None where the lease is damaged; an age below zero is a heartbeat from the future.
    """
    try:
        age = time.time() - run.lease.lstat().st_mtime
    except OSError:
        return None
    try:
        holder = read_record(run.lease, Holder)
    except RecordError:
        return None, age
    return None if holder is None else (holder, age)


def is_held(run: RunDir, stale_after_s: float = STALE_AFTER_S) -> bool:
    """Return whether a living process holds the run, as far as its heartbeat tells."""
    found = lease_holder(run)
    if found is None or abs(found[1]) > stale_after_s:
        return False
    return found[0] is None or not process_gone(found[0])


def correct_heartbeat(run: RunDir) -> None:
    """Set a heartbeat from the future to now: a living holder renews it, and a dead one's is stale in five minutes."""
    found = lease_holder(run)
    if found is not None and found[1] < -FUTURE_S:
        with contextlib.suppress(OSError):
            os.utime(run.lease, follow_symlinks=False)


def process_identity() -> ProcessIdentity:
    """Return what `process_gone` needs to recognise this process later: pid, host, boot and start time."""
    return _process(os.getpid())


def process_gone(holder: ProcessIdentity) -> bool:
    """Return whether a lease's holder ran on this host and has ended (its pid free, or in use by a later process)."""
    here = _process(os.getpid())
    if holder.host != here.host or holder.boot != here.boot:
        return False
    return _process(holder.pid).start != holder.start


@contextlib.contextmanager
def _written(run: RunDir, holder: Holder) -> Generator[Path]:
    """Give a file that holds a lease's content, to be linked into place within the block."""
    temporary = run.path / f".lease.{holder.owner}.tmp"
    temporary.write_text(holder.model_dump_json() + "\n", encoding="utf-8")
    try:
        yield temporary
    finally:
        temporary.unlink()


def _remove_if_gone(run: RunDir, fresh: Path, job_alive: Callable[[Holder], bool | None], stale_after_s: float) -> None:
    """Remove a lease whose holder is gone; RecordError naming the holder when it is not."""
    os.utime(fresh)
    try:
        age = fresh.stat().st_mtime - run.lease.lstat().st_mtime  # the file server's clock
    except FileNotFoundError:
        return
    try:
        holder = read_record(run.lease, Holder)
    except RecordError as error:
        _refuse_young(run, age, stale_after_s, str(error))
        set_aside(run.lease)
        return
    if holder is None:
        return
    if not process_gone(holder):
        _refuse_young(run, age, stale_after_s, f"{run.path}: is being written by {_describe(holder)}")
        if job_alive(holder) is True:
            raise RecordError(f"{run.path}: is being written by {_describe(holder)}, heartbeat {age:.0f} s ago")
    aside = run.path / f".lease.{holder.owner}.gone"
    with contextlib.suppress(FileNotFoundError):
        os.rename(run.lease, aside)
        taken = read_record(aside, Holder)
        if taken is not None and taken.owner != holder.owner:  # somebody else was quicker: give theirs back
            with contextlib.suppress(FileExistsError):  # a third has come: the second sees it at its next heartbeat
                os.link(aside, run.lease)
        aside.unlink()


def _refuse_young(run: RunDir, age: float, stale_after_s: float, words: str) -> None:
    """Raise RecordError where a heartbeat is not yet stale; one from the future is set to now, so that it will be."""
    if age < -FUTURE_S:
        os.utime(run.lease, follow_symlinks=False)
        raise RecordError(
            f"{words}, heartbeat {-age:.0f} s in the future; free in {stale_after_s:.0f} s without another"
        )
    if age <= stale_after_s:
        raise RecordError(f"{words}, heartbeat {max(age, 0):.0f} s ago")


def _describe(holder: Holder) -> str:
    job = f"job {holder.job_id}, " if holder.job_id else ""
    return f"{job}process {holder.pid} on {holder.host}"


def _process(pid: int) -> ProcessIdentity:
    """Return what tells a process from a later one with the same number: host, boot and start time (Linux)."""
    boot = start = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        start = "" if fields[0] in "ZX" else fields[19]
    return ProcessIdentity(pid=pid, host=socket.gethostname(), boot=boot, start=start)
