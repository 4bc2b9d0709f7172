"""Which options of sbatch a profile may pass through, and what to do instead of others (manual of Slurm 22.05)."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

from agent.contract.words import ConfigError, nearest

_TREE = "a job is one process tree on one node"
_LOGS = "python -m harness.logs shows the logs"
_ANSWER = "the answer of sbatch is read as it is"
_GPUS = "set {}gpus=, {}gpu_type= or slurm.gres= instead"
OWN = {  # what the harness sets, or what would contradict it; `{}` is where the setting was written
    "job-name": "jobs are found again by the name they get",
    "array": "set {}array_throttle= instead",
    "time": "set {}walltime_min= instead",
    "partition": "set {}partition= instead",
    "account": "set {}account= instead",
    "qos": "set {}qos= instead",
    "constraint": "set {}constraint= instead",
    "exclude": "set {}exclude= instead",
    "cpus-per-task": "set {}cpus= instead",
    "cpus-per-gpu": "set {}cpus= instead",
    "mem": "set {}mem_gb= instead",
    "mem-per-cpu": "set {}mem_gb= instead",
    "mem-per-gpu": "set {}mem_gb= instead",
    "gpus": _GPUS,
    "gpus-per-node": _GPUS,
    "gpus-per-task": _GPUS,
    "gpus-per-socket": _GPUS,
    "nodes": _TREE,
    "ntasks": _TREE,
    "ntasks-per-node": _TREE,
    "ntasks-per-core": _TREE,
    "ntasks-per-gpu": _TREE,
    "ntasks-per-socket": _TREE,
    "output": _LOGS,
    "error": _LOGS,
    "open-mode": "logs of a requeued job are appended to",
    "no-requeue": "write slurm.requeue=false instead",
    "clusters": "jobs on another cluster could not be followed; launch on a login node of that cluster",
    "wrap": "jobs start the study's own script",
    "chdir": "jobs start in the study's code",
    "input": "jobs read nothing",
    "wait": "python -m harness.status --watch waits",
    "test-only": "the dry run of launch shows what would be submitted",
    "uid": "jobs are the user's own",
    "gid": "jobs are the user's own",
    "export-file": "set {}env.NAME= instead",
    **dict.fromkeys(("parsable", "quiet", "verbose", "help", "usage", "version"), _ANSWER),
}
PASSED = frozenset(
    """acctg-freq batch bb bbf begin cluster-constraint comment container contiguous core-spec cores-per-socket cpu-freq
    deadline delay-boot dependency distribution exclusive export extra-node-info get-user-env gpu-bind gpu-freq gres
    gres-flags hint hold ignore-pbs kill-on-invalid-dep licenses mail-type mail-user mcs-label mem-bind mincpus network
    nice nodefile nodelist no-kill overcommit oversubscribe power prefer priority profile propagate reboot requeue
    reservation signal sockets-per-node spread-job switches thread-spec threads-per-core time-min tmp use-min-nodes
    wait-all-nodes wckey""".split()  # noqa: SIM905 - a list of words would take a page
)
SHORT = {
    "A": "account", "B": "extra-node-info", "C": "constraint", "D": "chdir", "F": "nodefile", "G": "gpus", "H": "hold",
    "J": "job-name", "L": "licenses", "M": "clusters", "N": "nodes", "O": "overcommit", "Q": "quiet", "S": "core-spec",
    "V": "version", "W": "wait", "a": "array", "b": "begin", "c": "cpus-per-task", "d": "dependency", "e": "error",
    "h": "help", "i": "input", "k": "no-kill", "m": "distribution", "n": "ntasks", "o": "output", "p": "partition",
    "q": "qos", "s": "oversubscribe", "t": "time", "v": "verbose", "w": "nodelist", "x": "exclude",
}  # fmt: skip


def check_option(option: str, prefix: str) -> None:
    """Raise ConfigError for an option of sbatch that the harness sets itself or that this machine's sbatch has not.

    `prefix` is how the user's setting of the profile began: "" in a file, `cluster.` on the command line.
    """
    name = option.replace("_", "-").lstrip("-")
    long = SHORT.get(name, name)
    if long in OWN:
        raise ConfigError(f"{prefix}slurm.{option}: the harness sets it; {OWN[long].replace('{}', prefix)}")
    if long != option.replace("_", "-"):
        raise ConfigError(f"{prefix}slurm.{option}: long names are expected; write {prefix}slurm.{long}= instead")
    if long not in PASSED and long not in of_this_machine():
        raise ConfigError(f"{prefix}slurm.{option}: {nearest(long, PASSED | of_this_machine(), 'option of sbatch')}")


@cache
def of_this_machine() -> frozenset[str]:
    """Return the options that sbatch says it has here, those of a newer Slurm and of the site's plugins among them."""
    if shutil.which("sbatch") is None:
        return frozenset()
    try:
        done = subprocess.run(["sbatch", "--help"], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return frozenset(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", done.stdout.decode(errors="replace"))) - OWN.keys()
