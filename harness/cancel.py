"""`python -m harness.cancel grid=NAME [tasks=…]`: stop runs; what they have checkpointed stays."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from agent.contract.exit_codes import DONE
from agent.contract.files import RecordError, set_aside
from agent.contract.records import write_record
from agent.contract.words import ConfigError
from harness.backend.base import ClusterError, JobRef, Phase
from harness.backend.registry import backend_of
from harness.command import Command, Flag, SubmissionError, counted, run
from harness.state.run_state import RunState
from harness.state.survey import overview
from harness.state.vocabulary import State
from harness.study.folder import Launch, follow_up, study_of
from harness.study.plan import select
from harness.study.records import CancelRecord

FLAGS = {
    "dry-run": Flag("show what would be cancelled"),
    "yes": Flag("do not ask, on a terminal, before more than one job is cancelled"),
}


def cancel(command: Command) -> int:
    """Cancel the selected runs that are queued or running."""
    study = study_of(command)
    chosen = {p.name for p in select(command, study.planned())}
    with study.lock():
        view = overview(study)
        states = view.runs
        live = [s for s in states if s.run.name in chosen and s.live and s.where is not None]
        open_names = {s.run.name for s in states if s.state is not State.DONE}
        jobs = _by_job(live)
        if "dry-run" in command.flags or (len(jobs) > 1 and not _agreed(live, len(jobs), command)):
            print("\n".join(f"{s.run.name}  {s.label}" for s in live) or "no selected run is queued or running")
            print(f"{counted(len(live), 'run')} in {counted(len(jobs), 'job')}; nothing was cancelled")
            return DONE
        for (launch, number), names in jobs.items():
            others = [n for n in launch.packs[number] if n in open_names and n not in names]
            if others and launch.data.packs[number].mode == "vmap":
                raise ConfigError(
                    f"{names[0]} trains as one computation with {', '.join(others)}; "
                    "cancel all of them, or none: name their methods and seeds too"
                )
        running = {s.run.name for s in live if s.state is State.RUNNING}
        told: dict[tuple[str, bool], list[str]] = {}
        for (launch, number), names in jobs.items():
            _ask(launch, number, names)
            job = launch.jobs.get(number)
            answer = view.answers.get(launch.data.profile.kind)
            known = answer.of(JobRef(launch, number, job)) if answer else None
            if known is not None and known.phase is Phase.GONE:
                continue  # its worker hears of it, if it lives; its id may be another job's by now
            if job is not None and not [n for n in launch.packs[number] if n in open_names and n not in names]:
                gently = bool(running & set(names))
                told.setdefault((launch.data.profile.kind, gently), []).append(job)
        for (kind, gently), job_ids in told.items():
            try:
                backend_of(kind).cancel(job_ids, gently=gently)
            except ClusterError as error:
                raise SubmissionError(f"the runs are marked as cancelled, but cancelling failed: {error}") from error
    print(f"{len(live)} of {len(chosen)} runs cancelled" + ("; running ones write a checkpoint first" if live else ""))
    by_hand = [s.run.name for s in states if s.run.name in chosen and s.live and s.where is None]
    if by_hand:
        print(f"not started by the harness, and left alone: {', '.join(by_hand)}")
    print(f"to go on with them: python -m harness.resubmit {follow_up(command, study)} --state cancelled")
    return DONE


def _agreed(live: Sequence[RunState], jobs: int, command: Command) -> bool:
    """Return whether several jobs may go: on a terminal the user is asked; scripts and --yes are not."""
    if "yes" in command.flags or not sys.stdin.isatty():
        return True
    running = sum(s.state is State.RUNNING for s in live)
    answer = input(f"cancel {counted(len(live), 'run')} in {counted(jobs, 'job')}, {running} of them running? [y/N] ")
    return answer.strip().casefold() in ("y", "yes")


def _ask(launch: Launch, number: int, names: Sequence[str]) -> None:
    """Ask a job to stop some of its runs, as well as those it was asked for before."""
    file = launch.cancel_file(number)
    try:
        already = launch.cancelled(number)
    except RecordError as error:
        print(f"{error}; kept as {set_aside(file).name}, and written anew", file=sys.stderr)
        already = set[str]()
    write_record(file, CancelRecord(runs=sorted({*already, *names})))


def _by_job(states: Sequence[RunState]) -> dict[tuple[Launch, int], list[str]]:
    found: dict[str, tuple[Launch, int, list[str]]] = {}
    for state in states:
        if state.where is not None:
            launch, number = state.where.launch, state.where.number
            found.setdefault(f"{launch.id}/{number}", (launch, number, []))[2].append(state.run.name)
    return {(launch, number): names for launch, number, names in found.values()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run("harness.cancel", "Stop runs; what they have checkpointed stays.", FLAGS, cancel, argv)


if __name__ == "__main__":
    sys.exit(main())
