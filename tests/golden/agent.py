"""A folder of numbers of the published agent against ours: which check reads which file."""

from pathlib import Path

from tests.golden.agent_case import check_case
from tests.golden.agent_json import check_json
from tests.golden.agent_units import check_units
from tests.golden.report import FileReport

# Files that hold no numbers to compare.
SILENT = ("README.md", "KEYS.txt", "MANIFEST.json", "TOLERANCES.json")


def check(folder: Path) -> list[FileReport]:
    """Return the report of every file of the folder; a file that no check reads is a failure."""
    reports: list[FileReport] = []
    read = set(SILENT)
    for config in sorted(folder.glob("*_config.json")):
        read |= {config.name}
        try:
            reports += check_case(config)
        except (ValueError, KeyError, TypeError, OSError) as error:
            reports.append(FileReport(config.name, failures=[f"cannot be compared ({type(error).__name__}: {error})"]))
    if (folder / "units.npz").exists():
        reports.append(check_units(folder / "units.npz"))
    reports += [report for path in sorted(folder.glob("*.json")) if (report := check_json(path))]
    read |= {report.file for report in reports}
    for path in sorted(folder.iterdir()):
        if path.name not in read:
            reports.append(FileReport(path.name, failures=["no check reads this file"]))
    return reports
