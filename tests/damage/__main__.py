"""`python -m tests.damage --cases N --seed S`: damage checkpoints and rows of a real run; nothing may go on wrongly.

Each case damages one file of a stopped Catch run and reads it as a resumed run does. What it goes on from must be, to
the bit, what the latest checkpoint or the one before stood for, with the damage named, or be refused by name. Exit
code 1 when a case is none of these.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from agent.contract.run_folder import RunDir
from agent.run import replay
from agent.run.member import Member
from agent.run.programs import Programs
from tests.agent.loops import config_of
from tests.damage.judge import HARMLESS, PREVIOUS, REFUSED, SILENT, Verdicts, judge
from tests.damage.subject import make


def compiled(folder: Path) -> Programs:
    """Return the programs of the tiny agent."""
    member = Member(config_of(), RunDir(folder))
    spec = member.spec
    member.end("stopped")
    return Programs(config_of(), spec, replay.replay_spec(config_of(), spec))


def table(verdicts: Verdicts) -> str:
    """Return the outcomes by kind of damage as a text table."""
    columns = (PREVIOUS, REFUSED, HARMLESS, SILENT)
    kinds = sorted({kind for kind, _ in verdicts.counts})
    rows = [("damage", *columns)]
    rows += [(kind, *(str(verdicts.counts[kind, column]) for column in columns)) for kind in kinds]
    sums = [sum(n for (_, verdict), n in verdicts.counts.items() if verdict == column) for column in columns]
    rows.append(("all", *map(str, sums)))
    return "\n".join("".join(f"{cell:<18}" for cell in row).rstrip() for row in rows)


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.damage")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = make(compiled(folder / "spec"), folder)
        verdicts = judge(subject, given.cases, given.seed, folder)
    print(table(verdicts))
    print(*verdicts.silent, sep="\n")
    return 1 if verdicts.silent else 0


if __name__ == "__main__":
    sys.exit(main())
