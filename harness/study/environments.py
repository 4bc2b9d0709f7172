"""Whether a study's environments can be made, asked of the agent's own check in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from agent.contract.exit_codes import WRONG_INPUT
from agent.contract.words import ConfigError
from harness.study.other_agent import OtherConfig
from harness.study.run import Run

TIME_S, TIME_PER_TASK_S = 90.0, 3.0
# Suites that come with every installation need no asking.
BUILT_IN = ("atari", "catch")
COMMAND = (sys.executable, "-m", "agent.envs.check")


def check_environments(runs: Sequence[Run], *, here: bool) -> None:
    """Return when one environment of every task could be made and played, with `here` those that need OpenGL too.

    What there is to say of how the agent sees them is printed to stderr. A command that trains is not asked.
    Raises: ConfigError with the first problem, which names the command that helps.
    """
    asked = {
        run.task: run.config.env.model_dump(mode="json") for run in runs if not isinstance(run.config, OtherConfig)
    }
    asked = {task: env for task, env in asked.items() if task.split("_", 1)[0] not in BUILT_IN}
    if not asked:
        return
    command = [*COMMAND, *([] if here else ["--without-drivers"])]
    limit = TIME_S + TIME_PER_TASK_S * len(asked)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    given = json.dumps(list(asked.items()))
    try:
        answer = subprocess.run(command, input=given, capture_output=True, text=True, timeout=limit, env=environment)
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"{', '.join(list(asked)[:3])}: not made and stepped in {limit:.0f} s; --no-env-check leaves it to the jobs"
        ) from error
    lines = answer.stderr.splitlines()
    if answer.returncode == WRONG_INPUT and lines:
        rest = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise ConfigError(lines[0] + rest)
    if answer.returncode:
        last = lines[-1] if lines else f"exit code {answer.returncode}"
        raise ConfigError(f"environments could not be tried out: {last}; --no-env-check leaves that to the jobs")
    for line in answer.stdout.splitlines():
        print(f"note: {line}", file=sys.stderr)
