"""What one run folder says, boiled down to plain values that can be cached as JSON."""

import hashlib
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from agent import record

MAX_CONFIG_BYTES = 2**20
METRIC_GROUPS = ("loss/", "harmony/")
METRIC_BINS = 60
HARMONY = {"harmony_dreamerv3": True, "dreamerv3": False}
RUNS_PER_WORKER = 500


def summarise_all(folders: Sequence[Path], configs: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """Return the summaries of run folders, read by several processes where there are many; `configs` gains theirs."""
    workers = min(len(os.sched_getaffinity(0)), len(folders) // RUNS_PER_WORKER, 8)
    if workers < 2:
        return {folder: summarise(folder, configs) for folder in folders}
    found: dict[Path, dict[str, Any]] = {}
    parts = [[os.path.abspath(folder) for folder in folders[k::workers]] for k in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        texts = pool.map(_ask, parts)
        for k, text in enumerate(texts):
            part = json.loads(text)
            configs.update(part["configs"])
            found.update(zip(folders[k::workers], part["summaries"], strict=True))
    return found


def _ask(folders: Sequence[str]) -> bytes:
    """Have another process summarise folders; return what it wrote."""
    command, root = [sys.executable, "-m", "analysis.summary"], Path(__file__).resolve().parents[1]
    return subprocess.run(command, input=json.dumps(folders).encode(), stdout=PIPE, cwd=root, check=True).stdout


def _serve() -> None:
    """Summarise the folders listed on stdin, as one of several processes."""
    configs: dict[str, Any] = {}
    summaries = [summarise(Path(folder), configs) for folder in json.load(sys.stdin)]
    json.dump({"configs": configs, "summaries": summaries}, sys.stdout)


def summarise(folder: Path, configs: dict[str, Any]) -> dict[str, Any]:
    """Return the summary of a run folder; `configs` gains its flattened configuration under its config_id.

    Never raises for damaged content: each finding is a (place below the folder, reason) in `problems`, and what is
    sound is kept.
    """
    run, key = record.RunDir(folder), record.RunKey.of(folder)
    problems: list[tuple[str, str]] = []
    found: dict[str, Any] = {}
    found |= _evaluations(run, problems)
    found |= _state(run, problems)
    found |= _provenance(run, problems)
    found |= _attempts(run, problems)
    found["metrics"] = _metrics(run, problems)
    config = _config(run, configs, problems)
    found["config_id"] = config[0]
    if not config[0]:
        if found["frames"]:
            found["state"] = "damaged"
    elif (config[1], config[2]) != (key.task, key.seed):
        problems.append((str(run.config), f"says task {config[1]}, seed {config[2]}, unlike its folder; left out"))
        found["state"] = "damaged"
    elif HARMONY.get(key.method.partition("@")[0], harmony := configs[config[0]].get("harmony")) != harmony:
        problems.append((str(run.config), f"says harmony: {harmony}, unlike its folder {key.method}; left out"))
        found["state"] = "damaged"
    if found["state"] == "done" and not found["frames"]:
        problems.append((str(run.scores), "the run is complete but has no evaluation; left out"))
        found["state"] = "damaged"
    # Places are kept relative to the folder, which may be named otherwise when the summary comes from the cache.
    return found | {"problems": [(where.removeprefix(str(folder)), reason) for where, reason in problems]}


def _evaluations(run: record.RunDir, problems: list[tuple[str, str]]) -> dict[str, Any]:
    rows, damage = record.read_rows(run.scores)
    problems += [_split(text) for text in damage]
    points: dict[int, float] = {}
    unit = "success" if rows and all("success" in row for row in rows) else "return"
    for number, row in enumerate(rows, start=1):
        frames, score = row.get("frames"), row.get("success" if unit == "success" else "mean")
        where = f"{run.scores}, evaluation {number}"
        if not isinstance(frames, int) or isinstance(frames, bool) or frames < 0:
            problems.append(
                (where, f"frames is {_short(frames)}, a whole number is expected; this evaluation is left out")
            )
        elif not isinstance(score, (int, float)) or isinstance(score, bool) or not math.isfinite(score):
            problems.append(
                (where, f"the score is {_short(score)}, a finite number is expected; this evaluation is left out")
            )
        elif frames in points:
            problems.append((where, f"a second evaluation at {frames} frames; the first one counts"))
        else:
            points[frames] = float(score)
            _check_mean(where, row, problems)
    if list(points) != sorted(points):
        problems.append((str(run.scores), "evaluations are not in the order of their frames; they were sorted"))
    frames = sorted(points)
    return {"frames": frames, "scores": [points[frame] for frame in frames], "unit": unit}


def _check_mean(where: str, row: dict[str, Any], problems: list[tuple[str, str]]) -> None:
    episodes, mean = row.get("episodes"), row.get("mean")
    if not isinstance(episodes, list) or not episodes or not isinstance(mean, (int, float)):
        return
    try:
        true = math.fsum(cast("list[float]", episodes)) / len(cast("list[float]", episodes))
    except TypeError:
        problems.append((where, "its episodes are not all numbers; the stated mean counts"))
        return
    if not math.isclose(true, mean, rel_tol=1e-4, abs_tol=1e-4):
        problems.append((where, f"its mean says {mean:g} but its episodes average {true:g}; the stated mean counts"))


def _state(run: record.RunDir, problems: list[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {"state": "planned", "env_steps": 0, "total_env_steps": 0, "reason": "", "heartbeat": 0.0}
    try:
        status = record.read_status(run)
        if status is not None:
            found |= {
                "state": status.state,
                "env_steps": status.env_steps,
                "total_env_steps": status.total_env_steps,
                "reason": str(status.reason or ""),
                "heartbeat": status.heartbeat,
            }
    except record.RecordError as error:
        problems.append(_split(str(error)))
        found["state"] = "damaged"
    except TypeError as error:
        problems.append((str(run.status), f"a value has the wrong type ({str(error).splitlines()[0]})"))
        found["state"] = "damaged"
    try:
        result = record.read_json(run.result)
        if result is not None:
            found["state"] = "done"
        elif found["state"] == "done":
            problems.append((str(run.status), "says done, but there is no result.json; the run is left out"))
            found["state"] = "damaged"
    except record.RecordError as error:
        problems.append(_split(str(error)))
        found["state"] = "damaged"
    return found


def _provenance(run: record.RunDir, problems: list[tuple[str, str]]) -> dict[str, Any]:
    try:
        data = record.read_json(run.provenance) or {}
    except record.RecordError as error:
        problems.append(_split(str(error)))
        data = {}
    tree = data.get("code_tree") or "+".join(str(data[name]) for name in ("git_sha", "dirty") if data.get(name))
    packages = data.get("packages")
    return {
        "code": str(tree or ""),
        "packages": json.dumps(packages, sort_keys=True) if isinstance(packages, dict) else "",
        "device": str(data.get("device") or ""),
    }


def _attempts(run: record.RunDir, problems: list[tuple[str, str]]) -> dict[str, Any]:
    """Return device-seconds spent, and by reason those that no checkpoint or result kept."""
    spent, wasted = 0.0, dict[str, float]()
    for number in run.attempt_numbers():
        try:
            data = record.read_json(run.attempts / str(number) / "attempt.json") or {}
        except record.RecordError as error:
            problems.append(_split(str(error)))
            continue
        seconds = _number(data, "device_seconds") or _number(data, "gpu_seconds")
        whole = _number(data, "ended") - _number(data, "started")
        lost = seconds * min(1.0, _number(data, "lost_s") / whole) if whole > 0 else 0.0
        spent += seconds
        if lost > 0:
            reason = str(data.get("reason") or "unknown")
            wasted[reason] = wasted.get(reason, 0.0) + lost
    return {"device_seconds": spent, "wasted_seconds": wasted}


def _number(data: dict[str, Any], name: str) -> float:
    """Return a finite number of a record, 0 where it has none."""
    value = data.get(name)
    return (
        float(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        else 0.0
    )


def _metrics(run: record.RunDir, problems: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the loss and harmony series, averaged in at most METRIC_BINS bins of equal length in frames."""
    rows, damage = record.read_rows(run.metrics)
    problems += [_split(text) for text in damage]
    good = [row for row in rows if isinstance(row.get("frames"), int)]
    if not good:
        return {}
    width = max(1, -(-max(int(row["frames"]) for row in good) // METRIC_BINS))
    series: dict[str, dict[int, list[float]]] = {}
    odd: Counter[str] = Counter()
    for row in good:
        place = int(row["frames"]) // width
        for name, value in row.items():
            if not name.startswith(METRIC_GROUPS):
                continue
            if isinstance(value, (int, float)) and math.isfinite(value):
                series.setdefault(name, {}).setdefault(place, []).append(float(value))
            else:
                odd[name] += 1
    for name, n in sorted(odd.items()):
        problems.append(
            (str(run.metrics), f"{name} is not a finite number in {n} of {len(good)} rows; those are left out")
        )
    return {
        name: [
            [(place + 0.5) * width for place in sorted(bins)],
            [math.fsum(bins[p]) / len(bins[p]) for p in sorted(bins)],
        ]
        for name, bins in sorted(series.items())
    }


def _config(run: record.RunDir, configs: dict[str, Any], problems: list[tuple[str, str]]) -> tuple[str, str, int]:
    """Return (id, task, seed); the id is a digest of the text without its seed, so that equal texts are parsed once."""
    try:
        if run.config.stat().st_size > MAX_CONFIG_BYTES:
            problems.append((str(run.config), f"longer than {MAX_CONFIG_BYTES} bytes; the run is left out"))
            return "", "", -1
        text = run.config.read_text(encoding="utf-8")
    except FileNotFoundError:
        if run.scores.exists():
            problems.append((str(run.path), "no config.yaml: what it computed is unknown; the run is left out"))
        return "", "", -1
    except (OSError, UnicodeDecodeError) as error:
        problems.append((str(run.config), f"cannot be read ({type(error).__name__}); the run is left out"))
        return "", "", -1
    seed = re.search(r"^seed: (\d+)\s*$", text, re.MULTILINE)
    without = text if seed is None else text[: seed.start()] + text[seed.end() :]
    digest = hashlib.sha256(without.encode()).hexdigest()[:16]
    flat = configs.get(digest)
    if flat is None:
        flat = _parse(run.config, text, problems)
        if flat is None:
            return "", "", -1
        flat.pop("seed", None)
        configs[digest] = flat
    if seed is None:
        problems.append((str(run.config), "no line 'seed: K'; the run is left out"))
        return "", "", -1
    return digest, str(flat.get("task")), int(seed[1])


def _parse(path: Path, text: str, problems: list[tuple[str, str]]) -> dict[str, Any] | None:
    try:
        data: Any = YAML(typ="safe", pure=True).load(text)  # pyright: ignore[reportUnknownMemberType] # untyped
    except (YAMLError, ValueError) as error:
        problems.append((str(path), f"not YAML ({str(error).splitlines()[0]}); the run is left out"))
        return None
    if not isinstance(data, dict):
        problems.append((str(path), f"a mapping is expected, got {type(data).__name__}; the run is left out"))
        return None
    return _flatten(cast("dict[str, Any]", data), "")


def _flatten(node: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            flat |= _flatten(cast("dict[str, Any]", value), f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _split(text: str) -> tuple[str, str]:
    path, _, reason = text.partition(": ")
    return path, reason or "damaged"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


if __name__ == "__main__":
    _serve()
