"""`python -m harness.status grid=NAME`: where every run of a study is."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from agent.contract.exit_codes import DONE, FAILED
from agent.contract.lease import lease_holder
from harness.backend.registry import backend_of
from harness.command import Command, Flag, run
from harness.console.table import cost, ends, next_command, notes, progress, rich_table, summary
from harness.console.watch import watch
from harness.state import hours
from harness.state.run_state import Overview, RunState, chosen_states, filter_states
from harness.state.survey import overview
from harness.state.vocabulary import State
from harness.study.folder import Study, follow_up, study_of
from harness.study.plan import select

FLAGS = {
    "watch": Flag("keep showing it until nothing is under way"),
    "json": Flag("print it as JSON, for programs"),
    "state": Flag("only runs in these states or with these reasons of their end", "LIST"),
}
WATCH_S = 2.0


def status(command: Command) -> int:
    """Show a study."""
    study = study_of(command)
    runs = select(command, study.planned())
    words = chosen_states(command)
    view = overview(study, runs)
    if "watch" in command.flags and "json" not in command.flags:
        view = _watch(study, command, view)
    states = filter_states(view.runs, words) if words else view.runs
    view = replace(view, runs=states)
    total = hours.spent([study.run(s.run.name) for s in states], {s.run.name: s for s in states})
    if "json" in command.flags:
        print(json.dumps(as_json(study, view, total), indent=1))
    else:
        _print(study, view, total, command)
    return FAILED if any(state.diagnosis for state in states) else DONE


def _watch(study: Study, command: Command, first: Overview) -> Overview:
    views = [first]

    def look() -> Overview:
        views[0] = overview(study, select(command, study.planned()), views[0].answers)
        return views[0]

    every = max([WATCH_S, *(backend_of(kind).ask_every_s for kind in first.answers)])
    try:
        return watch(look, str(study.path), lambda view: any(s.live for s in view.runs), every)
    except KeyboardInterrupt:
        return views[0]


def _print(study: Study, view: Overview, total: hours.Spent, command: Command) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    print(study.path)
    console.print(rich_table(view))
    lines = [summary(view.runs), cost(total, _on_gpu(view.runs)), *notes(view.runs), *ends(view.runs)]
    print("\n".join(lines))
    if view.warning:
        print(view.warning, file=sys.stderr)
    print(f"next: {next_command(view.runs, follow_up(command, study))}")


def _on_gpu(states: Sequence[RunState]) -> bool:
    return any(state.where and state.where.launch.data.profile.gpus for state in states)


def as_json(study: Study, view: Overview, total: hours.Spent) -> dict[str, Any]:
    """Return the view as plain data, one object per run."""
    return {
        "study": str(study.path),
        "runs": [_run_json(study, state) for state in view.runs],
        "hours": {"spent": total.hours, "wasted": dict(total.wasted), "gpu": _on_gpu(view.runs)},
        "clusters": {
            kind: {"time": a.time, "error": a.error, "answered": view.answered, "accounting": a.accounting}
            for kind, a in view.answers.items()
        },
    }


def _run_json(study: Study, state: RunState) -> dict[str, Any]:
    key, status_ = state.run.key, state.status
    holder = lease_holder(study.run(state.run.name))
    age = max(0.0, holder[1]) if holder else None
    return {
        **asdict(key),
        "folder": str(study.run(state.run.name).path),
        "state": str(state.state),
        "reason": str(state.diagnosis.reason) if state.diagnosis else None,
        "message": state.diagnosis.message if state.diagnosis else state.note or None,
        "env_steps": status_.env_steps if status_ else 0,
        "total_env_steps": status_.total_env_steps if status_ else None,
        "progress": round(progress(state), 4),
        "steps_per_s": state.steps_per_s,
        "eta_s": state.eta_s,
        "heartbeat_age_s": age if state.state is State.RUNNING else None,
        "job_id": state.where.job_id if state.where else None,
        "launch": state.where.launch.id if state.where else None,
        "attempt": state.attempt.attempt if state.attempt else None,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 1 when runs ended undone."""
    return run("harness.status", "Show where every run of a study is.", FLAGS, status, argv)


if __name__ == "__main__":
    sys.exit(main())
