"""Handing jobs to Slurm through submitit.

Slurm runs the worker without srun, as the batch script itself (`exec`), and sends it SIGUSR2 before time is up: then
signal, checkpoint, requeue and scancel all work, and only the worker is signalled. submitit's pickle carries the
worker's name and one path. Results and exceptions are never asked of submitit: it would wait for files that a killed
job does not write, and unpickle what somebody else may have put there.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any, cast

from agent.contract.lease import Lease
from agent.contract.ownership import refuse_foreign
from agent.contract.variables import ENDS_AT, JOB_ID, QUEUE_AGAIN, RESTARTS
from harness.backend import slurm_ask
from harness.backend.base import write_jobs
from harness.backend.slurm_call import SlurmError
from harness.command import SubmissionError
from harness.job.worker import run_pack
from harness.study.folder import Launch, check_held
from harness.study.profiles import Profile
from harness.study.records import ArrayRecord

LOOK_AGAIN_S = 20.0
WHICH_SLURM = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT")  # where to submit, and as whom


TELL = (  # a job's worker what Slurm says of it
    f"export {JOB_ID}=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_}}${{SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}}",
    f"export {RESTARTS}=${{SLURM_RESTART_COUNT:-0}} {ENDS_AT}=${{SLURM_JOB_END_TIME:-}}",
    f'export {QUEUE_AGAIN}="scontrol requeue ${JOB_ID}"',
)


class Refused(SubmissionError):
    """Slurm has not taken the jobs, which is certain."""


def parameters(profile: Profile, name: str, jobs: int) -> dict[str, Any]:
    """Return the sbatch options of a launch's array, by sbatch's own names."""
    options: dict[str, Any] = {
        "job-name": name,
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "exclude": ",".join(profile.exclude) or None,
        "nodes": 1,
        "ntasks-per-node": 1,
        "cpus-per-task": profile.cpus,
        "mem": None if profile.mem_gb is None else f"{round(profile.mem_gb * 1024)}M",
        "gres": f"gpu:{profile.gpu_type + ':' if profile.gpu_type else ''}{profile.gpus}" if profile.gpus else None,
        "time": profile.walltime_min,
        "signal": f"B:USR2@{profile.signal_s}",
        "array": f"0-{jobs - 1}%{min(jobs, profile.array_throttle)}" if jobs > 1 else None,
        "requeue": True,
    }
    options |= {key.replace("_", "-"): value for key, value in profile.slurm.items()}
    if options["requeue"] is False:  # without a word Slurm queues a job again where its cluster does
        options["no-requeue"] = True
    return {key: value for key, value in options.items() if value is not None and value is not False}


def python(profile: Profile) -> str:
    """Return how a job's script starts Python."""
    return f"exec {profile.python or shlex.quote(sys.executable)}"


def _executor(launch: Launch, profile: Profile, name: str, jobs: int) -> Any:
    import submitit

    folder = launch.folder / "submitit"
    executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_python=python(profile))
    options = parameters(profile, name, jobs)
    setup = [*profile.setup, *TELL, f"cd {shlex.quote(launch.data.code)}"]
    setup.append(f"export PYTHONPATH={shlex.quote(launch.data.code)}${{PYTHONPATH:+:$PYTHONPATH}}")
    executor.update_parameters(  # pyright: ignore[reportUnknownMemberType]
        name=name,
        timeout_min=profile.walltime_min,
        slurm_array_parallelism=profile.array_throttle,
        slurm_use_srun=False,
        slurm_setup=setup,
        slurm_additional_parameters={k: v for k, v in options.items() if k not in ("job-name", "time", "array")},
    )
    return executor


def _clean_environment() -> dict[str, str]:
    """Take out of the environment what sbatch would prefer to the profile, and return it.

    That is the user's own SBATCH_*, and inside a job what the job was given.
    """
    prefixes = ("SBATCH_", "SLURM_", "SUBMITIT_") if "SLURM_JOB_ID" in os.environ else ("SBATCH_",)
    names = [name for name in os.environ if name.startswith(prefixes) and name not in WHICH_SLURM]
    return {name: os.environ.pop(name) for name in names}


def submit(launch: Launch, profile: Profile, lease: Lease) -> dict[int, str]:
    """Submit a launch's jobs to Slurm, one array per MaxArraySize jobs, and return their ids by number.

    What was submitted is written to jobs.json after each array. The lease is that on the study: nothing more is
    submitted once it is lost. Raises: SubmissionError.
    """
    numbers = list(range(len(launch.packs)))
    try:
        largest = slurm_ask.max_array_size()
    except SlurmError as error:
        raise SubmissionError(f"nothing was submitted: {error}") from error
    jobs: dict[int, str] = {}
    arrays: list[ArrayRecord] = []
    for first in range(0, len(numbers), largest):
        chunk = numbers[first : first + largest]
        name = f"{launch.data.name}-{len(arrays)}"
        check_held(lease)
        arrays.append(ArrayRecord(name=name, submitted=time.time(), numbers=chunk))
        write_jobs(launch, jobs, arrays)  # first its name, by which it can be found should this process die here
        try:
            ids = _submit_array(launch, profile, name, chunk, lease)
        except Refused as error:
            write_jobs(launch, jobs, arrays[:-1])
            done = f"{len(jobs)} of {len(numbers)} jobs were submitted" if jobs else "nothing was submitted"
            raise Refused(f"{done}: {error}") from error
        jobs |= dict(zip(chunk, ids, strict=True))
        write_jobs(launch, jobs, arrays)
    return jobs


def find_lost(launch: Launch) -> None:
    """Look for the arrays of a launch whose submission was interrupted, and record what Slurm has of them.

    Raises: SubmissionError when Slurm cannot be asked.
    """
    jobs, arrays = dict(launch.jobs), list(launch.arrays)
    for array in [a for a in arrays if not set(a.numbers) <= set(jobs)]:
        paths = [str(launch.pack_file(number)) for number in array.numbers]
        ids = _find(launch, array.name, paths, "its submission was interrupted")
        if ids is None:
            arrays.remove(array)
        else:
            jobs |= dict(zip(array.numbers, ids, strict=True))
    write_jobs(launch, jobs, arrays)


def _submit_array(launch: Launch, profile: Profile, name: str, numbers: Sequence[int], lease: Lease) -> list[str]:
    """Submit one array; when sbatch fails without a word of refusal, look for it by its name before saying so."""
    paths = [str(launch.pack_file(number)) for number in numbers]
    aside = _clean_environment()
    try:
        executor = _executor(launch, profile, name, len(paths))
        check_held(lease)
        submitted = executor.map_array(run_pack, paths)
        return [str(job.job_id) for job in submitted]
    except SubmissionError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[-400:]
        in_doubt = any(text in words for text in slurm_ask.IN_DOUBT)
        if slurm_ask.REFUSED in words and not in_doubt:
            raise Refused(words) from error
        ids = _find(launch, name, paths, words, LOOK_AGAIN_S if in_doubt else 0.0)
        if ids is None:
            raise Refused(words) from error
        return ids
    finally:
        os.environ.update(aside)


def _find(
    launch: Launch, name: str, paths: Sequence[str], words: str, patience_s: float = LOOK_AGAIN_S
) -> list[str] | None:
    """Return the ids of an array that Slurm took although sbatch failed, its pickles put where its jobs look.

    None when Slurm does not have it.
    """
    from submitit.core.utils import DelayedSubmission, JobPaths

    try:
        found = slurm_ask.find_by_name(name, patience_s)
    except SlurmError as error:
        raise SubmissionError(
            f"sbatch failed ({words}) and Slurm cannot be asked whether it took the jobs ({error}); "
            "run the same command again when it answers: nothing is submitted twice"
        ) from error
    if not found:
        return None
    base = found[0]
    ids = [base] if len(paths) == 1 else [f"{base}_{index}" for index in range(len(paths))]
    folder = launch.folder / "submitit"
    for pickle in folder.glob("*.pkl"):
        if "_" in pickle.name:
            continue
        refuse_foreign(pickle)
        target = str(cast("Any", DelayedSubmission.load(pickle)).args[0])
        if target in paths:
            pickle.rename(JobPaths(folder, ids[paths.index(target)]).submitted_pickle)
    return ids
