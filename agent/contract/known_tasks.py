"""Whether a task's name is one, as far as it can be known without importing an environment."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from agent.contract.suites import read_suites
from agent.contract.tasks import ALIASES, ATARI_100K, ATARI_UNPLAYABLE
from agent.contract.words import ConfigError, nearest


def suite_of(task: str) -> str:
    """Return the suite of a task name, with which it begins: `atari` of `atari_pong`."""
    return task.split("_", 1)[0]


def validate_task(task: str) -> str:
    """Return the task's name (of several that a game has, ours), or raise ConfigError with the nearest valid ones.

    Atari ROMs beyond the 26, and tasks whose names only their package knows, are checked when the environment is made.
    """
    task = ALIASES.get(task, task)
    known, problems = read_suites()
    if problems:
        raise ConfigError(problems[0])
    suite = known.get(suite_of(task))
    if suite is None:
        raise ConfigError(nearest(task, [name for each in known.values() for name in each.tasks()], "task"))
    if suite.names and task not in suite.tasks() and suite.module != "atari":
        raise ConfigError(nearest(task, suite.tasks(), "task"))
    if not task.replace("_", "").replace("-", "").replace(".", "").isalnum() or ".." in task or not task.isascii():
        raise ConfigError(f"task {task!r}: only letters, digits, '_', '-' and single '.' are allowed")
    if not suite.names and "_" not in task:
        raise ConfigError(f"task {task!r}: name the environment too, as in '{task}_NAME'")
    if suite.module == "atari" and task not in ATARI_100K:
        _validate_rom(task)
    return task


def _validate_rom(task: str) -> None:
    """Check a ROM beyond the 26 against the files that ship in ale-py, without importing it."""
    spec = importlib.util.find_spec("ale_py")
    if spec is None or spec.origin is None:
        raise ConfigError(nearest(task, ATARI_100K, "task"))
    stems = {path.stem for path in (Path(spec.origin).parent / "roms").glob("*.bin")}
    roms = {f"atari_{stem}" for stem in stems.difference(ATARI_UNPLAYABLE)}
    if task not in roms:
        raise ConfigError(nearest(task, {*ATARI_100K, *roms}, "task"))
