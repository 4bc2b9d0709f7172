"""`python -m agent.envs.check`: can these tasks be made here? For a launcher that must not import an environment.

Reads `[[task, settings of the env section], …]` as JSON from stdin. Prints a line to stderr for each that cannot be
made and played, and exits 2; exits 0 when all can. What there is to say of how the agent sees them goes to stdout.
`--without-drivers` leaves OpenGL out, for a machine that only submits.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from agent.contract.exit_codes import DONE, WRONG_INPUT
from agent.contract.schema import EnvSettings
from agent.contract.terminal import print_anywhere
from agent.contract.words import ConfigError
from agent.envs.trial import try_out


def main(argv: Sequence[str]) -> int:
    """Check what stdin names; return the exit code."""
    print_anywhere()
    drivers = "--without-drivers" not in argv
    problems: dict[str, None] = {}
    for task, section in json.load(sys.stdin):
        try:
            for note in try_out(task, EnvSettings.model_validate_json(json.dumps(section)), drivers):
                print(note)
        except ConfigError as error:
            problems[str(error)] = None
    for problem in problems:
        print(problem, file=sys.stderr)
    return WRONG_INPUT if problems else DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
