"""Kills at a chosen moment: Python imports this by itself in every process of the campaign's jobs, through PYTHONPATH.

The order to carry out lies in the folder that HARMONY_CAMPAIGN names. The moment is seen by the interpreter's audit
events for files opened, renamed and removed, and by the start of threads: no production code knows of it. Whichever
process is first at the moment takes the order by renaming it, and tells the campaign by doing so.
"""

import functools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

FOLDER = os.environ.get("HARMONY_CAMPAIGN", "")
PROGRAMS = {"agent.train": "agent", "submitit.core._submit": "worker", "harness.backend.pool": "pool"}
RAISED_BY = {"os.rename": 1, "os.link": 1, "os.remove": 0, "open": 0}
BUSY = threading.local()
SEEN = {}


def role_of(words):
    """Return what a process is by its command line, None for any other program."""
    return next((role for program, role in PROGRAMS.items() if program in words), None)


def ancestors():
    """Return the pids of this process and of those it was started by, as far as they have a role."""
    found, pid = {ROLE: os.getpid()}, os.getpid()
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
            role = role_of(Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
        except OSError:
            break
        if role is not None:
            found.setdefault(role, pid)
    return found


def moment_of(event, args):
    """Return the name of the moment that an audit event is, None when it is none."""
    if event not in RAISED_BY or (event == "open" and not writes(args[1], args[2])):
        return None
    path = args[RAISED_BY[event]]
    if not isinstance(path, (str, os.PathLike)):
        return None
    path = os.fspath(path)
    if "/checkpoint/" in path:
        return "checkpoint"
    for name in ("scores.jsonl", "metrics.jsonl", "result.json", "status.json", "lease.json"):
        if name in os.path.basename(path):
            return name.partition(".")[0]
    return None


def writes(mode, flags):
    """Return whether a file is opened to be written."""
    return any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool(flags & 3)


def watch_threads():
    """Make the start of an evaluation's thread a moment; by the time the heartbeat's starts, the agent is imported."""
    start = threading.Thread.start

    @functools.wraps(start)
    def started(self):
        if self.name == "heartbeat":
            watch_rounds()
        elif self.name == "evaluation":
            come("evaluation")
        return start(self)

    threading.Thread.start = started


def watch_rounds():
    """Make every stored round of environment steps a moment: `prefill` before the first update, then `round`."""
    member = next(m.Member for n, m in list(sys.modules.items()) if n.startswith("agent.") and n.endswith(".member"))
    keep = member.keep

    @functools.wraps(keep)
    def counted(self, *args):
        come("prefill" if not self.updates else "round")
        return keep(self, *args)

    if not hasattr(keep, "__wrapped__"):
        member.keep = counted


def come(moment):
    """Carry out the order if this is its moment."""
    if getattr(BUSY, "now", False):
        return
    BUSY.now = True
    try:
        order = json.loads(Path(FOLDER, "order.json").read_text())
        if order["role"] != ROLE:
            return
        key = (order["id"], moment)
        SEEN[key] = SEEN.get(key, 0) + 1
        if SEEN[key] == {order["moment"]: order["nth"], "round": order["rounds"]}.get(moment):
            begin(order, moment)
    except FileNotFoundError:
        return
    finally:
        BUSY.now = False


def begin(order, moment):
    """Do what the order says, now or a little later."""
    if order["after_s"] > 0:
        timer = threading.Timer(order["after_s"], strike, [order, moment])
        timer.daemon = True
        timer.start()
    else:
        strike(order, moment)


def strike(order, moment):
    """Take the order away from all other processes, send its signals, and have Slurm told what it is to do."""
    BUSY.now = True
    pids = ancestors()
    if any(victim not in pids for _, victim, _ in order["signals"]):
        BUSY.now = False
        return  # this process outlives the one to kill: the next attempt will have one
    try:
        os.rename(Path(FOLDER, "order.json"), Path(FOLDER, f"fired-{order['id']}-{moment}.json"))
    except FileNotFoundError:
        return
    for wait_s, victim, number in order["signals"]:
        time.sleep(wait_s)
        try:
            os.kill(pids[victim], number)
        except ProcessLookupError:
            print(f"campaign: the {victim} has ended at this moment", file=sys.stderr)
    if order["command"]:
        job = os.environ.get("HARMONY_BENCH_JOB_ID", "")
        subprocess.run([word.format(job=job) for word in order["command"]], check=False)
    BUSY.now = False


def hear(event, args):
    """Hear an audit event."""
    if not getattr(BUSY, "now", False):
        moment = moment_of(event, args)
        if moment is not None:
            come(moment)


ROLE = role_of(sys.orig_argv)
if FOLDER and ROLE is not None:
    sys.addaudithook(hear)
    watch_threads()
    come("start")
