"""The report's command line: what can be said, and what it means."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.contract.words import ConfigError, comma_list, nearest

HELP = """usage: python -m analysis.report [key=value ...] [--flag ...]

Writes one report: index.html, report.md, tables/, figures/, aggregates.csv, per_task.csv, comparisons.csv.
Without a grid it shows the published Atari-100k results of scores/.

settings:
  grid=         the study of this grid (runs/NAME)
  study=        a study by the name of its folder, where it is not the grid's
  runs=         folder of all studies (default: runs)
  out=          where the report goes (default: report)
  tasks=        comma list; the suite's prefix may be left out
  methods=      comma list of the study's methods and of published ones (scores/methods.csv)
  seeds=        0..4, 3, or 1,3
  extra=        scores to add (comma list): a CSV with columns method,task,seed,frames,score; DreamerV3's json.gz;
                a folder of its runs (scores.jsonl); NAME:PATH gives the method a name
  references=   random and reference scores of tasks: a CSV with columns task,random,human or task,random,reference
  last=         a run's score is the mean of its last N evaluations (default: 1), or
                of those in its last frames, as in last=50kframes
  reps=         bootstrap samples (default: 50000)
  bootstrap_seed=  seed of the bootstrap (default: 0)

flags:
  --reference exact|integer   random and human scores as published, or rounded as in the HarmonyDream paper
  --interval student|percentile  intervals of measured coverage, or those of the literature (analysis/README.md)
  --task-bootstrap  intervals over tasks: what other tasks like these would show
  --literature  add columns of other published methods
  --paired      use only the seeds that every method of the study has finished; added and published ones stay whole
  --no-figures  numbers and tables only
  --force       show aggregates that should not be compared, labelled
  --json        print the results as JSON
  --debug       show the traceback of an error
  --help        show this text"""
KEYS = (
    "grid",
    "study",
    "runs",
    "out",
    "tasks",
    "methods",
    "seeds",
    "extra",
    "references",
    "last",
    "reps",
    "bootstrap_seed",
)
FLAGS = (
    "reference",
    "interval",
    "task-bootstrap",
    "literature",
    "paired",
    "no-figures",
    "force",
    "json",
    "debug",
    "help",
)


@dataclass
class Options:
    """The parsed command line."""

    settings: dict[str, str] = field(default_factory=dict[str, str])
    flags: set[str] = field(default_factory=set[str])
    reference: str = "exact"
    interval: str = "student"
    words: list[str] = field(default_factory=list[str])

    @property
    def grid_name(self) -> str | None:
        """Return the name of the grid, which may be the path of a file; ConfigError for a path that names no file."""
        path = self.settings.get("grid")
        if path is not None and not Path(path).stem.strip("."):
            raise ConfigError(f"grid={path}: names no grid; a name of configs/grids or the path of a file is expected")
        return Path(path).stem if path is not None else None

    def items(self, key: str) -> list[str]:
        """Return the items of a comma list, [] where the key is not given."""
        return comma_list(key, self.settings[key]) if key in self.settings else []

    def whole(self, key: str, default: int, least: int) -> int:
        """Return a whole number of at least `least`."""
        text = self.settings.get(key, str(default))
        if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
            raise ConfigError(f"{key}={text}: a whole number from {least} on is expected")
        return int(text)


def parse(argv: Sequence[str]) -> Options:
    """Return the options; ConfigError names what is unknown, repeated or lacks its value."""
    options, words = Options(words=list(argv)), list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if name == "reference":
            value = value if equals else words.pop(0) if words else ""
            if value not in ("exact", "integer"):
                raise ConfigError(nearest(value, ["exact", "integer"], "reference"))
            options.reference = value
        elif name == "interval":
            value = value if equals else words.pop(0) if words else ""
            if value not in ("student", "percentile"):
                raise ConfigError(nearest(value, ["student", "percentile"], "interval"))
            options.interval = value
        elif word.startswith("--"):
            if name not in FLAGS or equals:
                hint = (
                    f"settings are written key=value: {name}={value or 'VALUE'}"
                    if name in KEYS
                    else nearest(word, [f"--{f}" for f in FLAGS], "flag")
                )
                raise ConfigError(hint)
            options.flags.add(name)
        elif not equals:
            raise ConfigError(f"{word!r} is not understood; settings are key=value, as in grid=demo")
        elif name not in KEYS:
            raise ConfigError(nearest(name, KEYS, "setting"))
        elif name in options.settings:
            raise ConfigError(f"{name} is given twice: {options.settings[name]!r} and {value!r}")
        elif not value:
            raise ConfigError(f"{name}= needs a value")
        else:
            options.settings[name] = value
    if "task-bootstrap" in options.flags:
        if options.interval == "percentile":
            raise ConfigError("--interval percentile and --task-bootstrap are two kinds of intervals; choose one")
        options.interval = "tasks"
    return options
