"""A live view of a study, until nothing of it is under way."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from agent.contract.exit_codes import DONE, FAILED, INTERRUPTED
from harness.backend.registry import backend_of
from harness.console.table import ends, next_command, rich_table, summary
from harness.state.run_state import Overview
from harness.state.survey import overview
from harness.study.folder import Launch, Study

REDRAW_S = 1.0
LINE_S = 15.0
STOP_WAIT_S = 330.0


def watch(look: Callable[[], Overview], title: str, going: Callable[[Overview], bool], every_s: float) -> Overview:
    """Show the view until `going` says no; on a terminal as a table that is redrawn, else as a line now and then."""
    view = look()
    if not sys.stdout.isatty():
        return _lines(look, view, going, every_s)
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(refresh_per_second=4) as live:
        while True:
            warning = Text(view.warning or "", style="yellow")
            live.update(
                Group(Text(title, style="bold"), Text(summary(view.runs)), rich_table(view), warning), refresh=True
            )
            if not going(view):
                return view
            time.sleep(every_s)
            view = look()


def _lines(look: Callable[[], Overview], view: Overview, going: Callable[[Overview], bool], every_s: float) -> Overview:
    shown, at = "", 0.0
    while True:
        text = summary(view.runs)
        labels = text.split("(")[0]
        if labels != shown or time.monotonic() - at > LINE_S or not going(view):
            print(time.strftime("%H:%M:%S"), text, flush=True)
            shown, at = labels, time.monotonic()
        if not going(view):
            return view
        time.sleep(every_s)
        view = look()


def watch_pools(study: Study, launches: Sequence[Launch], selectors: str) -> int:
    """Follow local pools to their end and return 0 when their runs are complete; Ctrl-C stops the pools themselves."""
    names = {name for launch in launches for pack in launch.packs for name in pack}
    runs = [run for run in study.planned() if run.name in names]

    def going(view: Overview) -> bool:
        return any(map(_lives, launches))

    try:
        watch(lambda: overview(study, runs), f"{study.path} on this machine (Ctrl-C stops it)", going, REDRAW_S)
    except KeyboardInterrupt:
        print("\nstopping: the runs write their checkpoints …", flush=True)
        _stop(launches)
        print(summary(overview(study, runs).runs))
        print(f"to go on: python -m harness.resubmit {selectors}")
        return INTERRUPTED
    view = overview(study, runs)
    for line in ends(view.runs):
        print(line)
    print(f"next: {next_command(view.runs, selectors)}")
    return FAILED if any(state.diagnosis for state in view.runs) else DONE


def _stop(launches: Sequence[Launch]) -> None:
    for launch in launches:
        backend_of(launch).stop(launch)
    deadline = time.monotonic() + STOP_WAIT_S
    while any(map(_lives, launches)) and time.monotonic() < deadline:
        time.sleep(0.2)


def _lives(launch: Launch) -> bool:
    return backend_of(launch).lives(launch)
