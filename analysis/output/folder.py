"""The folder a report lies in: whether it may be written there, and how one report takes another's place.

A report names its files in `report.json`. What else lies in the folder is its reader's own and stays.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

from agent.contract.words import ConfigError

MARKER = "report.json"


def check_out(out: Path) -> None:
    """Raise ConfigError unless `out` may be (re)placed: absent, empty, or an earlier report."""
    parent = out.absolute().parent
    if not parent.is_dir():
        raise ConfigError(f"out={out}: the folder {parent} does not exist")
    if not os.access(parent, os.W_OK):
        raise ConfigError(f"out={out}: the folder {parent} is not writable")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ConfigError(f"out={out}: is not a folder; choose another out=")
    if Path.cwd().is_relative_to(out.resolve()):
        raise ConfigError(
            f"out={out}: is the folder this command runs in, or around it, and would be replaced under it"
        )
    if out.is_dir() and any(out.iterdir()) and _marker(out) is None:
        raise ConfigError(f"out={out}: holds files that are not a report's; choose another out=")


def write_marker(folder: Path, title: str, provenance: dict[str, str]) -> None:
    """Write the file that makes a folder a report, and names the files that are the report's."""
    own = sorted([MARKER, *map(str, _files(folder))])
    text = json.dumps({"title": title, "provenance": provenance, "files": own}, indent=1, ensure_ascii=False)
    (folder / MARKER).write_text(text + "\n", encoding="utf-8")


def replace(temporary: Path, out: Path) -> None:
    """Put the report in `temporary` at `out`; files there that no earlier report wrote stay, by moving them over.

    Raises: ConfigError, before anything is moved, if such a file has the name of one of the report's.
    """
    temporary.chmod(0o755)
    if not out.exists():
        temporary.rename(out)
        return
    kept = _foreign(out)
    for name in kept:
        if os.path.lexists(temporary / name):
            raise ConfigError(f"out={out}: {name} is not the earlier report's; move it, or choose another out=")
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=out.absolute().parent))
    out.rename(old / "report")
    temporary.rename(out)
    for name in kept:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (old / "report" / name).rename(out / name)
    shutil.rmtree(old)


def _foreign(out: Path) -> list[Path]:
    """Return the files below `out` that its report does not name as its own."""
    named = (_marker(out) or {}).get("files")
    own = set(map(str, cast("list[Any]", named))) if isinstance(named, list) else {MARKER}
    return [name for name in _files(out) if str(name) not in own]


def _files(folder: Path) -> list[Path]:
    """Return all files and symlinks below a folder, relative to it, sorted."""
    found = (Path(top) / name for top, folders, names in os.walk(folder) for name in [*names, *folders])
    return sorted(path.relative_to(folder) for path in found if path.is_symlink() or not path.is_dir())


def _marker(folder: Path) -> dict[str, Any] | None:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return (
        cast("dict[str, Any]", marker)
        if isinstance(marker, dict) and {"title", "provenance"} <= marker.keys()
        else None
    )
