"""Every reader of outside input, as one function of a text, and the real input that its mutations begin with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.contract.config import CONFIGS
from agent.contract.files import RecordError
from agent.contract.records import AttemptRecord, Holder, Plan, Provenance, Record, Result, Status, parse_record
from agent.contract.words import ConfigError, parse_seeds
from analysis.data import score_files
from analysis.data.benchmarks import read_references
from analysis.data.summary import summarise
from analysis.options import parse as report_options
from harness.backend.slurm_rows import read_sacct, read_squeue
from harness.command import parse
from harness.study import profiles
from harness.study.grid import configure, expand
from harness.study.grid_file import load_grid
from harness.study.records import CancelRecord, JobsRecord, LaunchRecord, PackRecord, PoolRecord

ROOT = CONFIGS.parent
RECORDED = ROOT / "tests" / "harness" / "recorded"
WRONG = (ConfigError, RecordError)  # what a reader may say


@dataclass(frozen=True)
class Reader:
    """A reader and the texts that it reads."""

    name: str
    read: Callable[[str, Path], object]
    texts: tuple[str, ...]


def _file(name: str, read: Callable[[Path], object]) -> Callable[[str, Path], object]:
    """Return a reader of a text through a file of this name."""

    def through(text: str, folder: Path) -> object:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
        return read(path)

    return through


def _record(kind: type[Record]) -> Callable[[str, Path], object]:
    return lambda text, _: parse_record(text.encode("utf-8", "surrogateescape"), kind, "record.json")


def _grid(path: Path) -> object:
    grid = load_grid(str(path))
    cells = max(len(part.tasks) for part in grid.parts) * len(grid.seeds) * len(grid.methods)
    return expand(configure(grid, parse([], {}))) if cells < 100 else None


def _words(text: str, _: Path) -> object:
    words = text.split("\n")
    command = parse(words, {})
    return configure(load_grid("catch"), command)


def _run(path: Path) -> object:
    return summarise(path.parent, {})


def readers(study: Path) -> list[Reader]:
    """Return all readers; `study` is the folder of a study, whose files are read too."""

    def texts(*patterns: str) -> tuple[str, ...]:
        found = [path for pattern in patterns for path in sorted(study.rglob(pattern)) if path.is_file()]
        return tuple(path.read_text() for path in found[:4])

    records = {
        "plan.json": Plan,
        "status.json": Status,
        "result.json": Result,
        "provenance.json": Provenance,
        "attempt.json": AttemptRecord,
        "lease.json": Holder,
        "launch.json": LaunchRecord,
        "pool.json": PoolRecord,
        "jobs.json": JobsRecord,
        "packs/*.json": PackRecord,
        "cancel/*.json": CancelRecord,
    }
    more = {
        "lease.json": '{"owner": "a", "pid": 7, "host": "n1", "boot": "b", "start": "1", "beat": 3.5, "since": 1.0}',
        "jobs.json": '{"jobs": {"0": "7_0"}, "arrays": [{"name": "hb-x", "submitted": 1.5, "numbers": [0, 1]}]}',
    }
    made = [Reader(name, _record(kind), texts(name) or (more[name],)) for name, kind in records.items()]
    grids = tuple(path.read_text() for path in sorted((CONFIGS / "grids").glob("*.yaml")))
    scores = "task,method,seed,frames,score\natari_pong,mine,0,400000,3.5\natari_pong,mine,1,400000,-2\n"
    dreamer = '{"step": 400, "episode/score": 1.5}\n{"step": 800, "episode/score": 2.5}\n'
    runs = '[{"task": "atari_pong", "method": "mine", "seed": 0, "xs": [1, 2], "ys": [3.5, 4]}]'
    words = "seeds=0..2\ntasks=catch\nagent.actent=1e-3,1e-2\ncluster.walltime_min=2-12\npack=4\nruns=~/x"
    options = "grid=demo\nseeds=0..2\nlast=50kframes\nextra=a.csv,b.csv\n--interval\npercentile\nout=report"
    return [
        *made,
        Reader("grid file", _file("grid.yaml", _grid), grids),
        Reader(
            "profile",
            _file("profile.yaml", lambda path: profiles.load(str(path))),
            tuple(p.read_text() for p in (ROOT / "slurm").glob("*.yaml")),
        ),
        Reader("words of a command", _words, (words, "seeds=5", "tasks=catch\nagent.env.catch.size=64")),
        Reader("words of a report", lambda text, _: report_options(text.split("\n")), (options,)),
        Reader("seeds", lambda text, _: parse_seeds(text[:1000]), ("0..4", "1,3,7..9", "3..3")),
        Reader("squeue", lambda text, _: read_squeue(text), ((RECORDED / "squeue.txt").read_text(),)),
        Reader("sacct", lambda text, _: read_sacct(text), ((RECORDED / "sacct.txt").read_text(),)),
        Reader("scores.jsonl", _file("study/catch/dreamerv3/seed-0/scores.jsonl", _run), texts("scores.jsonl")),
        Reader("tidy CSV", _file("mine.csv", lambda path: score_files.read_scores(str(path))), (scores,)),
        Reader("references", _file("mine.csv", read_references), ("task,random,human\natari_pong,-20.7,14.6\n",)),
        Reader(
            "DreamerV3's scores",
            _file("atari_pong/mine/0/scores.jsonl", lambda path: score_files.read_scores(f"mine:{path}")),
            (dreamer,),
        ),
        Reader("DreamerV3's runs", _file("mine.json", lambda path: score_files.read_scores(str(path))), (runs,)),
    ]
