"""`python -m tests.golden DIR`: compare a folder of reference numbers with what this project computes."""

import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

USAGE = "usage: python -m tests.golden DIR   (a folder in the format of golden_agent or golden_envs)"


def main(argv: list[str]) -> int:
    """Print the report of a folder; return 0 when all its arrays agree, 1 when not, 2 when it is no such folder."""
    if len(argv) != 1:
        print(USAGE, file=sys.stderr)
        return 2
    folder = Path(argv[0])
    if not folder.is_dir():
        print(f"{folder}: not a folder; {USAGE}", file=sys.stderr)
        return 2
    if any(folder.glob("*_config.json")) or (folder / "units.npz").exists():
        from tests.golden.agent import check
    elif any(folder.glob("atari_*.json")) or any(folder.glob("metaworld_*.json")):
        from tests.golden.envs import check
    else:
        print(f"{folder}: neither NAME_config.json nor environment streams in it; {USAGE}", file=sys.stderr)
        return 2
    reports = check(folder)
    for report in reports:
        print("\n".join(report.lines()))
    failed = [report.file for report in reports if not report.passed]
    compared = sum(report.compared for report in reports)
    verdict = f"{len(failed)} files FAIL" if failed else "all agree"
    print(f"{compared} arrays of {len(reports)} files compared: {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
