"""A stand-in for `agent.train`, for tests of what surrounds it: it counts steps instead of training.

It keeps the contract of the run folder: lease, status, scores, checkpoint, result, exit codes. `behave.json` in a run
folder makes it end otherwise: {"fail": "text"}, {"sleep": seconds per step}, {"exit": code}, {"kill": step}.
"""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

from agent.contract.files import append_row, keep_rows, write_json
from agent.contract.lease import Lease
from agent.contract.records import Result, StateWord, Status, write_record
from agent.contract.run_folder import RunDir, RunKey, read_plan, write_status

EVERY = 5


def main() -> int:
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, lambda number, frame: stopped.append(number))
    codes = [train(RunDir(Path(folder)), stopped) for folder in sys.argv[2:]]
    return max(codes)


def train(run: RunDir, stopped: list[int]) -> int:
    behave = json.loads((run.path / "behave.json").read_text()) if (run.path / "behave.json").exists() else {}
    total = int(re.search(r"(?m)^  steps: (\d+)", run.config.read_text())[1]) // 10  # pyright: ignore[reportOptionalSubscript]
    lease = Lease.claim(run, job_id=os.environ.get("HARMONY_BENCH_JOB_ID"))
    saved = run.checkpoint / "latest.json"
    step = json.loads(saved.read_text())["env_steps"] if saved.exists() else 0
    keep_rows(run.scores, lambda row: row["env_steps"] <= step)
    status = Status(total_env_steps=total, started=time.time(), attempt=run.attempt_numbers()[-1], env_steps=step)
    print("environment", json.dumps({k: v for k, v in os.environ.items() if k.startswith(("JAX", "XLA", "HARMONY"))}))
    print("code", Path(__file__).parent.parent)

    def tell(state: StateWord, reason: str | None = None, message: str | None = None) -> None:
        status.state, status.reason, status.message = state, reason, message
        status.env_steps = status.updates = step
        status.heartbeat = time.time()
        lease.beat()
        write_status(run, status)

    tell("running")
    while step < total:
        step += 1
        time.sleep(behave.get("sleep", 0.0))
        if behave.get("fail"):
            tell("failed", "code_error", behave["fail"])
            lease.release()
            raise RuntimeError(behave["fail"])
        if behave.get("kill") == step:
            os.kill(os.getpid(), signal.SIGKILL)
        if step % EVERY == 0:
            append_row(run.scores, {"env_steps": step, "frames": step, "mean": 1.0, "episodes": [1.0], "lengths": [1]})
            run.checkpoint.mkdir(exist_ok=True)
            write_json(saved, {"env_steps": step})
        if stopped:
            run.checkpoint.mkdir(exist_ok=True)
            write_json(saved, {"env_steps": step})
            tell("stopped", "stopped", f"asked to stop at step {step}")
            lease.release()
            return 75
        tell("running")
    plan = read_plan(run.path.parents[2])
    planned = {RunKey(row.task, row.method, row.seed): row.config_hash for row in plan.runs} if plan else {}
    score = 1.0 if total >= EVERY else None
    result = Result(
        env_steps=total, frames=total, updates=total, final_score=score, config_hash=planned[RunKey.of(run.path)]
    )
    write_record(run.result, result)
    tell("done")
    lease.release()
    return int(behave.get("exit", 0))


if __name__ == "__main__":
    sys.exit(main())
