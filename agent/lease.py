"""The lease of a run folder: the right to write in it, kept by a heartbeat, taken over only from the dead.

A lease is a file made by hard link, which is atomic on network file systems too; its modification time is the
heartbeat, compared with a file made at the same moment so that only the file server's clock counts. The harness holds
a study by one in the same way. Imports neither JAX nor an environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.files import RecordError, read_json
from agent.record import STALE_AFTER_S, RunDir

BEAT_S = 30.0


@dataclass
class Lease:
    """The right to write one run folder, kept by a heartbeat.

    Raises (on `claim` and `beat`): RecordError naming the holder.
    """

    run: RunDir
    owner: str

    @classmethod
    def claim(
        cls,
        run: RunDir,
        *,
        job_id: str | None = None,
        job_alive: Callable[[dict[str, Any]], bool | None] = lambda holder: None,
        stale_after_s: float = STALE_AFTER_S,
    ) -> Lease:
        """Return the lease on a run folder, taking over one whose holder is known to be gone.

        A holder is gone when its process on this host has ended, or when its heartbeat is older than
        `stale_after_s` and `job_alive(holder)` is not True.
        """
        owner = uuid.uuid4().hex
        body = {"owner": owner, "job_id": job_id, "pid": os.getpid(), **_process(os.getpid()), "since": time.time()}
        temporary = run.path / f".lease.{owner}.tmp"
        run.path.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(body) + "\n", encoding="utf-8")
        try:
            for _ in range(3):
                with contextlib.suppress(FileExistsError):
                    os.link(temporary, run.lease)
                    return cls(run, owner)
                _remove_if_gone(run, temporary, job_alive, stale_after_s)
            raise RecordError(f"{run.path}: another process keeps taking this run; look at {run.lease}")
        finally:
            temporary.unlink()

    def beat(self) -> None:
        """Renew the heartbeat; RecordError when the lease has been taken over: stop writing at once."""
        holder = read_json(self.run.lease)
        if holder is None or holder.get("owner") != self.owner:
            raise RecordError(
                f"{self.run.path}: this run was taken over by {_describe(holder or {})}; nothing more is written"
            )
        os.utime(self.run.lease)

    @contextlib.contextmanager
    def kept(self, every_s: float = BEAT_S) -> Generator[None]:
        """Renew the heartbeat from a thread as long as the block runs, then give the lease back.

        Raises RecordError at the block's end when the lease was taken over meanwhile.
        """
        over, lost = threading.Event(), list[OSError | RecordError]()

        def renew() -> None:
            while not over.wait(every_s):
                try:
                    self.beat()
                except (OSError, RecordError) as error:
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
            raise RecordError(str(lost[0]))

    def release(self) -> None:
        """Give the run back; nothing happens when the lease is no longer ours."""
        with contextlib.suppress(RecordError, FileNotFoundError):
            self.beat()
            self.run.lease.unlink()


def lease_holder(run: RunDir) -> tuple[dict[str, Any], float] | None:
    """Return the holder of a run's lease and the age of its heartbeat in seconds, None when the run is free."""
    holder = read_json(run.lease)
    if holder is None:
        return None
    try:
        return holder, max(0.0, time.time() - run.lease.stat().st_mtime)
    except FileNotFoundError:
        return None


def process_identity() -> dict[str, Any]:
    """Return what `process_gone` needs to recognise this process later: pid, host, boot and start time."""
    return {"pid": os.getpid(), **_process(os.getpid())}


def process_gone(holder: dict[str, Any]) -> bool:
    """Return whether a lease's holder ran on this host and has ended (its pid free, or in use by a later process)."""
    pid = holder.get("pid")
    here = _process(os.getpid())
    if not isinstance(pid, int) or holder.get("host") != here["host"] or holder.get("boot") != here["boot"]:
        return False
    return _process(pid)["start"] != holder.get("start")


def _remove_if_gone(
    run: RunDir, fresh: Path, job_alive: Callable[[dict[str, Any]], bool | None], stale_after_s: float
) -> None:
    """Remove a lease whose holder is gone; RecordError naming the holder when it is not."""
    holder = read_json(run.lease)
    if holder is None:
        return
    os.utime(fresh)
    age = fresh.stat().st_mtime - run.lease.stat().st_mtime if run.lease.exists() else 0.0  # the file server's clock
    gone = process_gone(holder) or (age > stale_after_s and job_alive(holder) is not True)
    if not gone:
        raise RecordError(f"{run.path}: is being written by {_describe(holder)}, heartbeat {max(age, 0):.0f} s ago")
    aside = run.path / f".lease.{holder.get('owner')}.gone"
    with contextlib.suppress(FileNotFoundError):
        os.rename(run.lease, aside)
        taken = read_json(aside) or {}
        if taken.get("owner") != holder.get("owner"):  # somebody else was quicker: give theirs back
            with contextlib.suppress(FileExistsError):  # a third has come: the second sees it at its next heartbeat
                os.link(aside, run.lease)
        aside.unlink()


def _describe(holder: dict[str, Any]) -> str:
    job = f"job {holder['job_id']}, " if holder.get("job_id") else ""
    return f"{job}process {holder.get('pid')} on {holder.get('host')}"


def _process(pid: int) -> dict[str, str]:
    """Return what tells a process from a later one with the same number: host, boot and start time (Linux)."""
    boot = start = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        start = "" if fields[0] in "ZX" else fields[19]
    return {"host": socket.gethostname(), "boot": boot, "start": start}
