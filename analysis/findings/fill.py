"""The commands that fill the gaps of a study."""

import re
from collections.abc import Iterable, Sequence
from shlex import quote

from agent.contract.run_folder import RunKey
from agent.contract.words import spell_seeds
from analysis.data.load import LoadedRun


def fill_command(
    keys: Sequence[RunKey], runs: Sequence[LoadedRun], grid: str, words: str = "", settings: str = ""
) -> str:
    """Return what fills a gap: `launch` for runs that never began, `resubmit` for the others, one after the other.

    Selectors are the shortest that cover the keys, after `words`; `launch` repeats the `settings` that the study was
    planned with, too. Neither command runs again what is finished.
    """
    states = {run.key: run.state for run in runs}
    fresh = [key for key in keys if states.get(key, "missing") in ("missing", "planned")]
    new = set(fresh)
    begun = [key for key in keys if key not in new]
    commands = [(module, found) for module, found in (("launch", fresh), ("resubmit", begun)) if found]
    settled = {"launch": f"{words} {settings}".strip(), "resubmit": words}
    return " && ".join(_command(module, found, runs, grid, settled[module]) for module, found in commands)


def _command(module: str, keys: Sequence[RunKey], runs: Sequence[LoadedRun], grid: str, words: str) -> str:
    parts = [f"python -m harness.{module}", quote(f"grid={grid}"), *([words] if words else [])]
    wanted = {"tasks": {key.task for key in keys}, "methods": {_base(key.method) for key in keys}}
    everything = {"tasks": {run.key.task for run in runs}, "methods": {_base(run.key.method) for run in runs}}
    parts += [quote(f"{name}={','.join(sorted(wanted[name]))}") for name in wanted if wanted[name] < everything[name]]
    # `launch` plans the whole axes of a study's variants, and starts what is missing; `resubmit` selects from the plan.
    variants = [run.key.method for run in runs] if module == "launch" else [key.method for key in keys]
    for name, values in _axes(variants).items():
        if module == "launch" or len(values) < len(_axes(run.key.method for run in runs)[name]):
            parts.append(quote(f"agent.{name}={','.join(values)}"))
    seeds = sorted({key.seed for key in keys})
    if len(seeds) < len({run.key.seed for run in runs}):
        parts.append(f"seeds={spell_seeds(seeds)}")
    return " ".join(parts)


def _base(method: str) -> str:
    return method.partition("@")[0]


def _axes(methods: Iterable[str]) -> dict[str, list[str]]:
    """Return the settings that the names of variants (`METHOD@key=value,...`) hold, with their values."""
    found: dict[str, list[str]] = {}
    for method in dict.fromkeys(methods):
        for part in re.split(r",(?=[\w.]+=)", method.partition("@")[2]):
            name, _, value = part.partition("=")
            if name and value not in found.setdefault(name, []):
                found[name].append(value)
    return found
