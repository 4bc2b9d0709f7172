"""Time the commands of a big study: `python -m tests.benchmarks.bench_harness` prints JSON.

Launch of 26 tasks × 2 methods × 5 seeds, then `status` over 1 000 finished runs of 1 002, each as its own process and
with programs of Slurm's names that answer at once: what is measured is the harness. The best of three is given, with
the CPU seconds of the process and its children, and how often Slurm was called.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from agent.contract.files import append_row
from agent.contract.records import AttemptRecord, Result, Status, write_record
from agent.contract.run_folder import RunDir, write_status
from harness.study.folder import Study
from tests.slurm.cluster import Answer, Lab, Stand, environment, make_tree

ROUNDS = 3
ANSWERS = {
    "scontrol": 'echo "MaxArraySize            = 5001"',
    "sbatch": 'echo "Submitted batch job 1"',
    "squeue": "true",
    "sacct": "true",
}
CATCH = "tasks: [catch]\npreset: [catch, debug]\nmethods: [dreamerv3, harmony_dreamerv3]\nseeds: 501\n"


def measure(lab: Lab, stand: Stand, *words: str) -> tuple[dict[str, Any], Answer]:
    """Return seconds by the clock and of CPU, and calls of Slurm, of one command, and what it answered."""
    stand.calls()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = lab.run(*words, env=stand.env, code=None)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(answer.seconds, 3), "cpu_s": round(cpu, 3), "calls": Counter(stand.calls())}, answer


def best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the round that took the least time."""
    return min(rows, key=lambda row: row["wall_s"])


def launch_times(lab: Lab, stand: Stand) -> dict[str, Any]:
    """Return what a launch of 260 runs takes."""
    rows: list[dict[str, Any]] = []
    for index in range(ROUNDS):
        words = ("launch", "grid=atari100k", f"study=launch-{index}", "cluster=test", "seeds=5", "pack=10")
        row, answer = measure(lab, stand, *words)
        assert "260 runs in 26 jobs" in answer.out, answer.out + answer.err
        rows.append(row)
    return best(rows)


def status_times(lab: Lab, stand: Stand) -> dict[str, Any]:
    """Return what `status` takes over 1 000 finished runs and two that Slurm is asked about."""
    lab.grid("many", CATCH)
    lab.run("launch", "grid=many", "cluster=test", "pack=50", env=stand.env)
    for planned in Study(lab.study("many")).planned()[:1000]:
        finish(RunDir(lab.study("many") / planned.name), planned.config_hash)
    rows: list[dict[str, Any]] = []
    for _ in range(ROUNDS):
        row, answer = measure(lab, stand, "status", "grid=many")
        assert "1002 runs: 1000 done" in answer.out, answer.out + answer.err
        rows.append(row)
    return best(rows)


def finish(run: RunDir, config_hash: str) -> None:
    """Leave what a complete run leaves."""
    number, folder = run.new_attempt()
    attempt = AttemptRecord(
        attempt=number, launch="1", reason="done", pack=50, started=1.0, ended=61.0, device_seconds=60.0, lost_s=0.0
    )
    write_record(folder / "attempt.json", attempt, durable=False)
    write_status(run, Status(state="done", env_steps=160, total_env_steps=160, attempt=number))
    append_row(run.scores, {"env_steps": 160, "frames": 160, "mean": 0.5, "metric": "return", "episodes": [0.5] * 10})
    result = Result(env_steps=160, frames=160, updates=0, final_score=0.5, config_hash=config_hash)
    write_record(run.result, result, durable=False)


def main() -> None:
    """Print the measurements."""
    with tempfile.TemporaryDirectory() as folder:
        lab, stand = Lab(make_tree(Path(folder) / "tree"), environment()), Stand(Path(folder) / "stand")
        for name, script in ANSWERS.items():
            stand.answer(name, script)
        began = time.perf_counter()
        found = {"launch_260_runs": launch_times(lab, stand), "status_1000_finished_runs": status_times(lab, stand)}
        print(json.dumps({**found, "limits_s": {"launch": 3.0, "status": 2.0}, "took_s": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
