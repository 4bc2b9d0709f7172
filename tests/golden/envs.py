"""Compare a folder of environment streams with ours: Atari bit for bit, Meta-world to 1e-6.

A folder holds `atari_NAME.json` (some with `atari_NAME_frames.npz`) and `metaworld_TASK.npz` (each with its `.json`).
`python -m tests.golden.envs DIR OUT` translates a folder into the suite's own format.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

from tests.golden import atari_stream, metaworld_stream
from tests.golden.report import FileReport

NOT_STREAMS = ("versions.json", "MANIFEST.json")


def check(folder: Path) -> list[FileReport]:
    """Compare every file of a folder; one that is no stream, or that cannot be read, fails."""
    reports: list[FileReport] = []
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".json", ".npz") or path.name in NOT_STREAMS or _belongs_to_another(path):
            continue
        compare = _comparison(path)
        report = FileReport(path.name)
        try:
            compare(path, report)
        except (ValueError, KeyError, TypeError, IndexError, OSError, EOFError, BadZipFile) as error:
            report.failures.append(f"cannot be compared ({type(error).__name__}: {error})")
        reports.append(report)
    return reports


def translate(folder: Path, out: Path) -> None:
    """Write a folder's streams in our own format."""
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("atari_*.json")):
        atari_stream.read(path).save(out / f"{path.stem}.npz")
    for path in sorted(folder.glob("metaworld_*.npz")):
        metaworld_stream.read(path, FileReport(path.name)).save(out / f"{path.stem.replace('-', '_')}.npz")


def _belongs_to_another(path: Path) -> bool:
    """Tell whether a file is read together with the one that carries its stream."""
    if path.suffix == ".json":
        return path.name.startswith("metaworld_") and path.with_suffix(".npz").exists()
    stream = path.with_name(path.stem.removesuffix("_frames") + ".json")
    return path.name.startswith("atari_") and path.stem.endswith("_frames") and stream.exists()


def _comparison(path: Path) -> Callable[[Path, FileReport], None]:
    return {("atari", ".json"): _atari, ("metaworld", ".npz"): _metaworld}.get(
        (path.name.split("_", 1)[0], path.suffix), _unknown
    )


def _atari(path: Path, report: FileReport) -> None:
    stream = atari_stream.read(path)
    atari_stream.compare(report, stream, atari_stream.play(stream))


def _metaworld(path: Path, report: FileReport) -> None:
    metaworld_stream.compare(report, metaworld_stream.read(path, report))


def _unknown(path: Path, report: FileReport) -> None:
    report.failures.append("not compared: no stream of this name is known")


if __name__ == "__main__":
    translate(Path(sys.argv[1]), Path(sys.argv[2]))
