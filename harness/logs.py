"""`python -m harness.logs grid=NAME tasks=TASK seeds=K..K`: what runs wrote."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from agent.contract.exit_codes import DONE
from agent.contract.words import ConfigError
from harness.backend.registry import backend_of
from harness.command import Command, Flag, run
from harness.state.run_state import RunState
from harness.state.survey import overview
from harness.study.folder import Study, study_of
from harness.study.plan import select

FLAGS = {
    "follow": Flag("go on showing what is written, until Ctrl-C or the runs' end"),
    "attempt": Flag("an earlier attempt instead of the latest", "N"),
    "lines": Flag("how many of the last lines (default 40, 0 for all)", "N"),
}
FOLLOW_S = 0.5


def _number(command: Command, flag: str, default: int) -> int:
    text = command.flags.get(flag)
    if text is None:
        return default
    if not text.isdigit():
        raise ConfigError(f"--{flag} {text}: a whole number is expected")
    return int(text)


def logs(command: Command) -> int:
    """Show the latest output of the selected runs, and go on with --follow."""
    study = study_of(command)
    runs = select(command, study.planned())
    lines = _number(command, "lines", 40)
    states = overview(study, runs).runs
    files: list[tuple[str, Path]] = []
    for state in states:
        found = _files(study, state, _number(command, "attempt", 0))
        files += [(f"{state.run.name} {path.name}", path) for path in found]
        if not any(path.stat().st_size for path in found) and len(states) == 1:
            print(f"{state.run.name} is {state.label} and has written nothing yet", file=sys.stderr)
    offsets: dict[Path, int] = {}
    for title, path in files:
        text = path.read_bytes()
        offsets[path] = len(text)
        shown = text.decode("utf-8", "replace").splitlines()
        if shown:
            print(f"==> {title} ({path}) <==")
            print("\n".join(shown[-lines:] if lines else shown))
    if "follow" in command.flags:
        _follow(study, command, files, offsets)
    return DONE


def _files(study: Study, state: RunState, attempt: int) -> list[Path]:
    """Return the logs of an attempt; of one that never began, the logs of its job."""
    folder = study.run(state.run.name)
    numbers = folder.attempt_numbers()
    if attempt and attempt not in numbers:
        known = ", ".join(map(str, numbers)) or "none"
        raise ConfigError(f"--attempt {attempt}: {state.run.name} has no such attempt ({known})")
    where = state.where
    began = not where or (state.attempt is not None and state.attempt.launch == where.launch.id)
    if not attempt and not began and where and where.job_id:
        return [path for path in backend_of(where.launch).log_files(where.launch, where.job_id) if path.is_file()]
    if not numbers:
        return []
    chosen = folder.attempts / str(attempt or numbers[-1])
    return [chosen / name for name in ("stdout.log", "stderr.log") if (chosen / name).is_file()]


def _follow(study: Study, command: Command, files: list[tuple[str, Path]], offsets: dict[Path, int]) -> None:
    last, checked = "", time.monotonic()
    while True:
        for title, path in files:
            fresh = _read_from(path, offsets.get(path, 0))
            if fresh:
                offsets[path] = offsets.get(path, 0) + len(fresh)
                last = _show(title, fresh, last, sys.stdout)
        if time.monotonic() - checked > 5:
            states = overview(study, select(command, study.planned())).runs
            known = {path for _, path in files}
            for state in states:
                files += [(f"{state.run.name} {p.name}", p) for p in _files(study, state, 0) if p not in known]
            if not any(state.live for state in states):
                return
            checked = time.monotonic()
        time.sleep(FOLLOW_S)


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""


def _show(title: str, text: bytes, last: str, out: TextIO) -> str:
    if title != last:
        print(f"==> {title} <==", file=out)
    print(text.decode("utf-8", "replace"), end="", flush=True, file=out)
    return title


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run("harness.logs", "Show what runs wrote.", FLAGS, logs, argv)


if __name__ == "__main__":
    sys.exit(main())
