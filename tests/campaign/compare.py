"""Whether a disturbed run ended as the undisturbed one: every number that is no wall-clock time, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from agent.contract import files
from agent.contract.run_folder import RunDir
from agent.contract.sealed import read_arrays, read_sealed
from agent.run import checkpoint

# What depends on how often and how fast a run was worked on, not on what it computed: times and what they shape.
TIMES = {"walltime_s", "evaluation_s", "rate/env_steps_per_s", "rate/updates_per_s", "bytes", "sha256"}
ATTEMPTS = {"attempt", "pack", "number", "state", "chunks", "seal"}


def differences(run: RunDir, whole: RunDir) -> list[str]:
    """Return one sentence for each part of a complete run that is not the undisturbed one's; empty when all are."""
    found = [f"{name}: {what}" for name, what in _arrays(run, whole)]
    pairs = (("checkpoint", _values(run), _values(whole)), ("result", _result(run), _result(whole)))
    found += [f"{name}: {what}" for name, mine, other in pairs for what in _unlike(mine, other)]
    for name in ("metrics", "scores"):
        found += [f"{name}: {what}" for what in _rows(getattr(run, name), getattr(whole, name))]
    return found


def _arrays(run: RunDir, whole: RunDir) -> list[tuple[str, str]]:
    mine, other = _saved(run)[0], _saved(whole)[0]
    found = [(name, "only one of the two has it") for name in sorted(mine.keys() ^ other.keys())]
    for name in sorted(mine.keys() & other.keys()):
        a, b = np.asarray(mine[name]), np.asarray(other[name])
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            found.append((name, f"{a.dtype}{list(a.shape)} instead of {b.dtype}{list(b.shape)}"))
        elif a.tobytes() != b.tobytes():
            found.append((name, f"{int((a != b).sum())} of {a.size} numbers differ"))
    return found


def _saved(run: RunDir) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    index = read_sealed(run.checkpoint / checkpoint.INDEX)
    return read_arrays(run.checkpoint, index["state"]), index


def _values(run: RunDir) -> dict[str, Any]:
    values = {key: value for key, value in _saved(run)[1].items() if key not in ATTEMPTS}
    values["logged"] = values["logged"][:2]  # the third is a time
    return _timeless(values)


def _result(run: RunDir) -> dict[str, Any]:
    return {key: value for key, value in _timeless(files.read_json(run.result) or {}).items() if key not in ATTEMPTS}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(part) for key, part in value.items() if key not in TIMES}
    return value


def _unlike(mine: dict[str, Any], other: dict[str, Any]) -> list[str]:
    keys = [key for key in sorted(mine.keys() | other.keys()) if repr(mine.get(key)) != repr(other.get(key))]
    return [f"{key} is {str(mine.get(key))[:200]} instead of {str(other.get(key))[:200]}" for key in keys]


def _rows(path: Any, expected: Any) -> list[str]:
    (mine, damaged), (other, _) = files.read_rows(path), files.read_rows(expected)
    if damaged or len(mine) != len(other):
        return [*damaged, f"{len(mine)} rows instead of {len(other)}"]
    pairs = zip(mine, other, strict=True)
    return [f"row {i}: {what}" for i, (a, b) in enumerate(pairs, 1) for what in _unlike(_timeless(a), _timeless(b))]
