"""Slurm as a backend: jobs are arrays, asked about in one question, and cancelled with time for their checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agent.contract.lease import Lease
from agent.contract.words import ConfigError
from harness.backend import slurm_ask, slurm_submit
from harness.backend.base import Answer, Backend, JobRef, Ticket
from harness.study import profiles
from harness.study.folder import Launch
from harness.study.profiles import Profile


class Slurm(Backend):
    """The Slurm that this machine belongs to."""

    title = "Slurm"

    def check(self, profile: Profile, runs: Path, *, look: bool) -> None:
        """Raise ConfigError without a Slurm here, and where it would write logs elsewhere than below this folder."""
        if not look and not profiles.have_slurm():
            where = "this machine belongs to no Slurm; use a login node, or cluster=local"
            raise ConfigError(f"cluster={profile.name}: {where}")
        odd = [c for c in str(runs) if c in "%\\" or not c.isprintable()]
        if odd:
            raise ConfigError(
                f"runs={runs}: Slurm changes {odd[0]!r} in the path of a log; name another folder with runs=DIR"
            )

    def describe(self, profile: Profile, name: str, jobs: int, at_once: int | None) -> str:
        """Return the options of sbatch, the set-up lines, and the command that a job starts."""
        options = slurm_submit.parameters(profile, name, jobs)
        words = " ".join(f"--{k}" if v is True else f"--{k}={v}" for k, v in options.items())
        lines = [f"sbatch: {words}", *(f"set-up: {line}" for line in profile.setup)]
        return "\n".join(
            [*lines, f"starts: {slurm_submit.python(profile)} -u -m submitit.core._submit …, in the frozen code"]
        )

    def submit(self, launch: Launch, profile: Profile, lease: Lease) -> None:
        """Submit arrays of jobs."""
        slurm_submit.submit(launch, profile, lease)

    def recover(self, launch: Launch) -> None:
        """Look for arrays that sbatch was asked for, by their names."""
        if len(launch.jobs) < len(launch.packs) and (launch.folder / "jobs.json").is_file():
            slurm_submit.find_lost(launch)

    def ask(self, refs: Sequence[JobRef], last: Answer | None) -> Answer:
        """Ask squeue and sacct once each; of two jobs with one id Slurm has the later one."""
        launches = {ref.launch.id: ref.launch for ref in refs}
        known = {id_: ticket for name in sorted(launches) for id_, ticket in _tickets(launches[name]).items()}
        needed = {ref.job_id for ref in refs}
        return slurm_ask.query([ticket for id_, ticket in known.items() if id_ in needed], last)

    def cancel(self, job_ids: Sequence[str], *, gently: bool) -> None:
        """Let scancel end jobs or array elements."""
        slurm_ask.cancel(job_ids, gently=gently)

    def handed_to(self, launch: Launch) -> str:
        """Return the ids of the launch's arrays."""
        ids = dict.fromkeys(job.partition("_")[0] for job in Launch(launch.folder, launch.data).jobs.values())
        return f"Slurm, job {', '.join(ids)}"

    def log_files(self, launch: Launch, job_id: str) -> list[Path]:
        """Return the files that submitit lets Slurm write."""
        return [launch.folder / "submitit" / f"{job_id}_0_log.{kind}" for kind in ("out", "err")]


def _tickets(launch: Launch) -> dict[str, Ticket]:
    """Return what tells a launch's jobs from others that had or will have their ids."""
    return {
        launch.jobs[number]: Ticket(launch.jobs[number], array.name, array.submitted)
        for array in launch.arrays
        for number in array.numbers
        if number in launch.jobs  # else its submission failed, or was interrupted
    }
