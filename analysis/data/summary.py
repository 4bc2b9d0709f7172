"""What one run folder says, boiled down to plain values that can be cached as JSON."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE
from typing import Any, cast

from agent.contract import files, run_folder
from agent.contract.records import Provenance, Result, read_record
from analysis.data import samples
from analysis.data.identity import Identity, read_identity
from analysis.data.training import read_training
from analysis.data.values import MAX_FRAMES, is_finite, is_whole, short

SECONDS_PER_WORKER = 1.0  # what it takes to start one is half of it


def summarise_all(folders: Sequence[Path], configs: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """Return the summaries of run folders, read by several processes where there are many; `configs` gains theirs."""
    workers = min(len(os.sched_getaffinity(0)), int(sum(map(_seconds, folders)) / SECONDS_PER_WORKER), 8)
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


def _seconds(folder: Path) -> float:
    """Return about how long it takes to read a run folder, by the size of its rows."""
    try:
        size = os.stat(folder / "metrics.jsonl").st_size
    except OSError:
        size = 0
    return 2e-3 + min(size, samples.WHOLE) / 5e7 + size / 3e9


def _ask(folders: Sequence[str]) -> bytes:
    """Have another process summarise folders; return what it wrote."""
    command, root = [sys.executable, "-m", "analysis.data.summary"], Path(__file__).resolve().parents[2]
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
    run = run_folder.RunDir(folder)
    damage: list[str] = []
    found = _evaluations(run, damage)
    found["training"] = read_training(run.metrics, damage)
    found |= _state(run, damage)
    if found.pop("metrics_changed"):
        found["training"] = {}
    found |= _provenance(run, damage)
    found |= _attempts(run, damage)
    identity = read_identity(run, configs, damage)
    found["config_id"] = identity.config_id if identity else ""
    final = found.pop("final_score")
    if reason := _left_out(run, found, identity, configs) or _cut_short(run, found, final):
        damage.append(reason)
        found["state"] = "damaged"
    elif identity is None and found["frames"]:
        found["state"] = "damaged"
    # Places are kept relative to the folder, which may be named otherwise when the summary comes from the cache.
    places = [text.removeprefix(str(folder)).partition(": ") for text in damage]
    return found | {"problems": [(where, reason) for where, _, reason in places]}


def _left_out(run: run_folder.RunDir, found: dict[str, Any], identity: Identity | None, configs: dict[str, Any]) -> str:
    """Return why a readable run cannot be what its folder says, "" if it can."""
    key = run_folder.RunKey.of(run.path)
    if identity is not None:
        if (identity.task, identity.seed) != (key.task, key.seed):
            return (
                f"{run.config}: says task {identity.task}, seed {identity.seed}, unlike its folder; the run is left out"
            )
        method = configs[identity.config_id].get("method")
        if method is not None and method != key.method.partition("@")[0]:
            return f"{run.config}: says method {method}, unlike its folder {key.method}; the run is left out"
    if found["state"] == "done" and not found["frames"]:
        return f"{run.scores}: the run is complete but has no evaluation; left out"
    return ""


def _cut_short(run: run_folder.RunDir, found: dict[str, Any], final: Any) -> str:
    """Return how the evaluations of a complete run contradict its result, "" if they do not."""
    if found["state"] != "done" or not is_finite(final) or final == found["scores"][-1]:
        return ""
    return (
        f"{run.scores}: the last evaluation's score is {found['scores'][-1]:g}, but result.json says {final:g}: "
        "evaluations are missing or changed; the run is left out"
    )


def _evaluations(run: run_folder.RunDir, damage: list[str]) -> dict[str, Any]:
    path = str(run.scores)
    rows, unreadable = files.read_rows(run.scores)
    damage += unreadable
    points: dict[int, float] = {}
    unit = "success" if any("success" in row for row in rows) else "return"
    for number, row in enumerate(rows, start=1):
        frames, score = row.get("frames"), row.get("success" if unit == "success" else "mean")
        odd = _odd_evaluation(frames, score, points)
        if not odd:
            points[cast("int", frames)] = float(cast("float", score))
            odd = _odd_mean(row)
        if odd:
            damage.append(f"{path}, evaluation {number}: {odd}")
    if list(points) != sorted(points):
        damage.append(f"{path}: evaluations are not in the order of their frames; they were sorted")
    frames = sorted(points)
    return {"frames": frames, "scores": [points[frame] for frame in frames], "unit": unit}


def _odd_evaluation(frames: Any, score: Any, seen: Container[int]) -> str:
    """Return why an evaluation is left out, "" if it counts."""
    if not is_whole(frames, MAX_FRAMES):
        return f"frames is {short(frames)}, a whole number is expected; this evaluation is left out"
    if not is_finite(score):
        return f"the score is {short(score)}, a finite number is expected; this evaluation is left out"
    return f"a second evaluation at {frames} frames; the first one counts" if frames in seen else ""


def _odd_mean(row: dict[str, Any]) -> str:
    """Return how an evaluation's mean contradicts its episodes, "" if it does not."""
    episodes, mean = row.get("episodes"), row.get("mean")
    if not isinstance(episodes, list) or not episodes or not is_finite(mean):
        return ""
    try:
        true = math.fsum(cast("list[float]", episodes)) / len(cast("list[float]", episodes))
    except (TypeError, ValueError, OverflowError):
        return "its episodes are not all finite numbers; the stated mean counts"
    if math.isclose(true, mean, rel_tol=1e-4, abs_tol=1e-4):
        return ""
    return f"its mean says {mean:g} but its episodes average {true:g}; the stated mean counts"


def _state(run: run_folder.RunDir, damage: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"state": "planned", "env_steps": 0, "total_env_steps": 0, "reason": "", "heartbeat": 0.0}
    found["final_score"] = None
    found["config_hash"], found["metrics_changed"] = "", False
    try:
        status = run_folder.read_status(run)
        if status is not None:
            found |= {"state": status.state, "reason": status.reason or "", "heartbeat": status.heartbeat}
            found |= {"env_steps": status.env_steps, "total_env_steps": status.total_env_steps}
    except files.RecordError as error:
        damage.append(str(error))
        found["state"] = "damaged"
    try:
        result = read_record(run.result, Result)
        if result is not None:
            found |= {"state": "done", "final_score": result.final_score, "config_hash": result.config_hash}
            run_folder.verify_vouched(run.scores, result)
            found["metrics_changed"] = _metrics_changed(run, result, damage)
        elif found["state"] == "done":
            damage.append(f"{run.status}: says done, but there is no result.json; the run is left out")
            found["state"] = "damaged"
    except files.RecordError as error:
        damage.append(str(error))
        found["state"] = "damaged"
    return found


def _metrics_changed(run: run_folder.RunDir, result: Result, damage: list[str]) -> bool:
    """Return whether a complete run's metrics are not those it wrote; of long ones, a sample of which is read, no."""
    try:
        if run.metrics.exists() and run.metrics.stat().st_size <= samples.WHOLE:
            run_folder.verify_vouched(run.metrics, result)
    except (OSError, files.RecordError) as error:
        damage.append(f"{error}; its curves of training are left out")
        return True
    return False


def _provenance(run: run_folder.RunDir, damage: list[str]) -> dict[str, Any]:
    data = None
    try:
        data = read_record(run.provenance, Provenance)
    except files.RecordError as error:
        damage.append(str(error))
    if data is None:
        return {"code": "", "packages": "", "device": ""}
    tree = data.code_tree or "+".join(filter(None, (data.git_sha, data.dirty)))
    return {"code": tree, "packages": json.dumps(data.packages, sort_keys=True), "device": data.device}


def _attempts(run: run_folder.RunDir, damage: list[str]) -> dict[str, Any]:
    """Return device-seconds spent, by reason those that no checkpoint or result kept, and the code trees in order."""
    spent, wasted, trees = 0.0, dict[str, float](), list[str]()
    try:
        numbers = run.attempt_numbers()
    except files.RecordError as error:
        damage.append(str(error))
        numbers = []
    for number in numbers:
        try:
            data = run_folder.read_attempt(run, number)
        except files.RecordError as error:
            damage.append(str(error))
            continue
        if data is None:
            continue
        seconds = data.device_seconds or data.gpu_seconds or 0.0
        whole = (data.ended or 0.0) - data.started
        lost = seconds * min(1.0, (data.lost_s or 0.0) / whole) if whole > 0 else 0.0
        spent += seconds
        if lost > 0:
            reason = data.reason or "unknown"
            wasted[reason] = wasted.get(reason, 0.0) + lost
        if data.code_tree:
            trees.append(data.code_tree)
    return {"device_seconds": spent, "wasted_seconds": wasted, "attempt_trees": list(dict.fromkeys(trees))}


if __name__ == "__main__":
    _serve()
