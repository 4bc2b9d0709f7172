"""Run folders as the agent and the harness write them, with made-up scores."""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from agent.contract import files, run_folder
from agent.contract.config import config_hash, dump_yaml, make_config
from agent.contract.records import Provenance, Result, StateWord, Status, read_record, write_record
from agent.contract.run_folder import RunDir, RunKey

PACKAGES = {"jax": "0.10.2", "numpy": "2.4.6"}
# The header of scores of one's own.
TIDY = "method,task,seed,frames,score\n"


def rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file of the report in this folder."""
    with open(Path("report") / name, newline="") as file:
        return list(csv.DictReader(file))


def curve(task: str, method: str, seed: int, number: int) -> float:
    """A score that grows with the evaluation's number, a bit faster for harmony, different for every seed."""
    return round(
        10.0 * number * (1.2 if method.startswith("harmony") else 1.0) + 3 * seed + len(task) + 0.1 * number * seed, 6
    )


def write_run(
    study: Path, key: RunKey, *, evaluations: int = 4, planned: int = 4, every: int = 400, frames_per_step: int = 4,
    state: StateWord = "done", overrides: dict[str, Any] | None = None, code: str = "tree-a", success: bool = False,
    metrics: bool = False, score: Callable[[str, str, int, int], float] = curve, reason: str | None = None,
    gpu_seconds: float = 36.0,
    heartbeat: float = 0.0, attempt_code: str | None = None,
) -> RunDir:  # fmt: skip
    """Write one run folder through the contract's own writers."""
    run = RunDir(key.folder(study))
    run.path.mkdir(parents=True)
    method = key.method.partition("@")[0]
    config = make_config(["catch"], {"task": key.task, "seed": key.seed, "method": method, **(overrides or {})})
    dump_yaml(config, run.config)
    files.write_json(
        run.provenance,
        {"git_sha": "abc", "dirty": "", "code_tree": code, "packages": PACKAGES, "device": "cpu"}
        | {"config_hash": config_hash(config)},
    )
    for number in range(1, evaluations + 1):
        mean = score(key.task, key.method, key.seed, number)
        row: dict[str, Any] = {
            "env_steps": number * every,
            "frames": number * every * frames_per_step,
            "walltime_s": 1.5 * number,
            "metric": "return",
            "mean": mean,
            "episodes": [mean - 1, mean + 1],
            "lengths": [5, 5],
        }
        if success:
            row |= {"success": min(1.0, number / 5), "successes": [0, 1], "metric": "success"}
        files.append_row(run.scores, row)
    if metrics:
        write_metrics(run, key, evaluations * every, frames_per_step)
    status = Status(
        state=state, env_steps=evaluations * every, total_env_steps=planned * every, reason=reason, heartbeat=heartbeat
    )
    run_folder.write_status(run, status)
    number, attempt = run.new_attempt()
    files.write_json(
        attempt / "attempt.json",
        {
            "attempt": number,
            "launch": "1",
            "started": 1000.0,
            "ended": 1000.0 + 2 * gpu_seconds,
            "device_seconds": gpu_seconds,
            "reason": reason or "done",
            "lost_s": 0.0 if state == "done" else 2 * gpu_seconds,
            "code_tree": attempt_code or code,
        },
    )
    if state == "done":
        steps = evaluations * every
        last = run_folder.last_score(run).score if evaluations else None
        result = Result(
            env_steps=steps,
            frames=steps * frames_per_step,
            updates=0,
            final_score=last,
            config_hash=config_hash(config),
        )
        write_record(run.result, result)
    plan_as(study, key, config_hash(config))
    return run


def plan_as(study: Path, key: RunKey, config_hash_: str) -> None:
    """Have the plan, if it names the run, name it with this configuration."""
    plan = run_folder.read_plan(study)
    if plan is None or key not in {RunKey(row.task, row.method, row.seed) for row in plan.runs}:
        return
    for row in plan.runs:
        if RunKey(row.task, row.method, row.seed) == key:
            row.config_hash = config_hash_
    write_record(run_folder.plan_path(study), plan)


def write_metrics(run: RunDir, key: RunKey, steps: int, frames_per_step: int) -> None:
    for step in range(0, steps, max(1, steps // 50)):
        row: dict[str, object] = {
            "env_steps": step,
            "frames": step * frames_per_step,
            "loss/image": 100 / (1 + step),
            "loss/reward": 2.0,
        }
        if key.method.startswith("harmony"):
            row |= {
                "harmony/image_weight": 1 / (1 + step / 500),
                "harmony/reward_weight": 1 + step / 900,
                "harmony/dyn_weight": 1.0,
            }
        files.append_row(run.metrics, row)


def write_plan(study: Path, keys: Iterable[RunKey]) -> None:
    rows: list[dict[str, Any]] = []
    for key in keys:
        known = read_record(RunDir(key.folder(study)).provenance, Provenance)
        config_hash_ = known.config_hash if known else "?"
        rows.append({"task": key.task, "method": key.method, "seed": key.seed, "config_hash": config_hash_})
    plan = {"study": study.name, "grid": study.name, "runs": rows}
    files.write_json(
        run_folder.plan_path(study),
        plan | {"estimate": {"hours": None, "known_hours": 1.5, "measured": 3, "unknown": 2}},
    )


def write_study(
    study: Path, tasks: Sequence[str] = ("atari_pong", "atari_boxing", "catch"),
    methods: Sequence[str] = ("dreamerv3", "harmony_dreamerv3"), seeds: int = 2, **options: Any,
) -> list[RunKey]:  # fmt: skip
    """Write a finished study with its plan and return its runs."""
    keys = [RunKey(task, method, seed) for seed in range(seeds) for task in tasks for method in methods]
    study.mkdir(parents=True, exist_ok=True)
    write_plan(study, keys)
    for key in keys:
        write_run(study, key, **options)
    return keys
