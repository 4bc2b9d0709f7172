"""What a report is made of: the runs that its options select, their scores, and what is to be said of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from agent.contract.words import ConfigError, match_names, nearest, parse_seeds, typed_path
from analysis.data import benchmarks, load, scores
from analysis.findings import added, guard, results, trace
from analysis.options import Options


@dataclass
class Inputs:
    """What the report is made of: the study (if any), its selected runs, and every run's scores.

    `command` is the line that makes it, `files` the SHA-256 of every added file, `references` what one of them gives.
    """

    name: str
    study: load.LoadedStudy | None
    selected: list[load.LoadedRun]
    scores: list[scores.RunScores]
    findings: list[guard.Finding]
    problems: list[load.Problem]
    command: str
    files: dict[str, str]
    references: dict[str, benchmarks.Reference]


def gather(options: Options) -> Inputs:
    """Return the runs that the options select."""
    name = options.settings.get("study") or options.grid_name
    study = _study(options, name) if name else None
    scores.other_labels = study.plan.labels if study and study.plan else {}
    own = [run.scores for run in study.runs] if study else scores.bundled()
    given = (
        benchmarks.read_references(typed_path("references", path))
        if (path := options.settings.get("references"))
        else {}
    )
    known = [task for benchmark in benchmarks.benchmarks().values() for task in benchmark.tasks]
    extra, unknown = added.take(options.items("extra"), own, [*known, *given])
    pool = [*own, *extra]
    words = options.items("methods")
    available = results.order_methods([run.method for run in pool])
    published = [m.name for m in scores.published_methods().values() if m.kind != "means" and m.name not in available]
    methods = _methods(words, available, published)
    pool += scores.bundled([m for m in methods if m in published])
    tasks = match_names(options.items("tasks"), results.order_tasks([run.task for run in pool]), "task")
    seeds = parse_seeds(options.settings["seeds"]) if "seeds" in options.settings else None
    chosen = [r for r in pool if r.method in methods and r.task in tasks and (seeds is None or r.seed in seeds)]
    if not chosen:
        asked = f"has seeds={options.settings['seeds']} among" if seeds is not None else "is there for"
        raise ConfigError(f"no run {asked} the selected tasks and methods")
    ids = {id(run) for run in chosen}
    selected = [run for run in (study.runs if study else []) if id(run.scores) in ids]
    left_out = trace.unselected(options, study, own, extra, chosen)
    found = _judge(options, study, selected)
    if "paired" in options.flags:
        pairs = guard.paired(selected)
        keep = {id(run.scores) for run in pairs}
        chosen = [r for r in chosen if r.folder is None or id(r) in keep]
        found = [*_judge(options, study, pairs), *guard.unpaired(selected, pairs)]
    damaged = {id(run.scores) for run in selected if run.state == "damaged"}
    usable = [r for r in chosen if id(r) not in damaged]
    twins, doubtful = guard.suspicious(usable)
    found += twins
    found += added.check(usable, [run.scores for run in selected if run.state == "done"])
    shown = {run.key for run in selected}
    problems = [p for p in (study.problems if study else []) if p.run is None or p.run in shown] + doubtful
    files = trace.digests([*options.items("extra"), *([path] if path else [])])
    command = trace.command(options.words)
    return Inputs(
        name or "published", study, selected, usable, [*left_out, *unknown, *found], problems, command, files,
        benchmarks.spelt_as(given, results.order_tasks([run.task for run in usable])),
    )  # fmt: skip


def _methods(words: Sequence[str], available: Sequence[str], published: Sequence[str]) -> list[str]:
    """Return the methods that the words mean: a study's own by any unique start, published ones by their whole name."""
    own = [word for word in words if word not in published]
    everything = [*available, *published]
    for word in own:
        if not any(name == word or name.startswith(word) for name in available):
            raise ConfigError(nearest(word, everything, "method"))
    chosen = match_names(own, available, "method") if own or not words else []
    return [name for name in everything if name in chosen or name in words]


def _judge(options: Options, study: load.LoadedStudy | None, selected: Sequence[load.LoadedRun]) -> list[guard.Finding]:
    if study is None:
        return []
    s = options.settings
    words = " ".join(quote(f"{key}={s[key]}") for key in ("study", "runs") if key in s)
    return guard.check(study, selected, s.get("grid") or (study.plan.grid if study.plan else "") or study.name, words)


def _study(options: Options, name: str) -> load.LoadedStudy:
    runs = typed_path("runs", options.settings.get("runs", "runs"))
    if not (runs / name).is_dir():
        studies = (
            sorted(p.name for p in runs.iterdir() if p.is_dir() and not p.name.startswith(".")) if runs.is_dir() else []
        )
        grids = sorted(p.stem for p in (Path(__file__).resolve().parents[2] / "configs" / "grids").glob("*.yaml"))
        if name in grids:
            raise ConfigError(
                f"{runs / name}: nothing has been run yet; start it with: python -m harness.launch grid={name}"
            )
        raise ConfigError(nearest(name, {*studies, *grids}, "study"))
    return load.load_study(runs / name)
