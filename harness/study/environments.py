"""Whether a study's environments can be made, asked of the agent's own check in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from agent.contract.exit_codes import WRONG_INPUT
from agent.contract.words import ConfigError
from harness.study.other_agent import OtherConfig
from harness.study.run import Run

# Suites that come with every installation need no asking.
BUILT_IN = ("atari", "catch")
COMMAND = (sys.executable, "-m", "agent.envs.check")


def check_environments(runs: Sequence[Run], *, here: bool) -> None:
    """Return when every task's name and packages are known, and with `here` its drivers (OpenGL) too.

    A command that trains makes its own environments: it is not asked.

    Raises: ConfigError with the first problem, which names the command that helps.
    """
    asked = {
        run.task: run.config.env.model_dump(mode="json") for run in runs if not isinstance(run.config, OtherConfig)
    }
    asked = {task: env for task, env in asked.items() if task.split("_", 1)[0] not in BUILT_IN}
    if not asked:
        return
    command = [*COMMAND, *([] if here else ["--without-drivers"])]
    answer = subprocess.run(command, input=json.dumps(list(asked.items())), capture_output=True, text=True)
    lines = answer.stderr.splitlines()
    if answer.returncode == WRONG_INPUT and lines:
        rest = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise ConfigError(lines[0] + rest)
    if answer.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{answer.stderr}")
