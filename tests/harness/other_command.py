"""Another agent, for tests of the door that a grid opens with `train`: nothing of this repository is imported.

`python other_command.py RUN_FOLDER`. Its settings say how it behaves: `steps` (a row every 5), `pause` (seconds of a
step), `saves` (whether it leaves a checkpoint), and what goes wrong, on the first attempt only: `fault`.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

EVERY = 5


def setting(text: str, key: str, default: str) -> str:
    found = re.search(rf"(?m)^{key}: (.*)$", text)
    return found[1] if found else default


def main(run: Path) -> int:
    text = (run / "config.yaml").read_text()
    steps, pause = int(setting(text, "steps", "20")), float(setting(text, "pause", "0"))
    saves = setting(text, "saves", "false") == "true"
    first = len(list((run / "attempts").iterdir())) == 1
    fault = setting(text, "fault", "") if first else ""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    if fault == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if fault == "child":
        child = subprocess.Popen(["sleep", "300"])
        (run / "child").write_text(str(child.pid))
    if fault == "traceback":
        raise KeyError("reward")
    saved = run / "checkpoint" / "latest.json"
    step = json.loads(saved.read_text())["env_steps"] if saves and saved.exists() else 0
    while step < steps:
        step += 1
        time.sleep(pause)
        if step % EVERY == 0:
            row = {"env_steps": step, "frames": step, "mean": float(step)}
            with open(run / "scores.jsonl", "a") as file:
                file.write(json.dumps(row) + "\n")
        if (saves and step % 10 == 0) or (saves and asked):
            saved.parent.mkdir(exist_ok=True)
            saved.write_text(json.dumps({"env_steps": step}))
        if fault == "kill" and step == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        if asked:
            return 75
    result = {"env_steps": steps, "frames": steps, "updates": 0, "final_score": float(steps // EVERY * EVERY)}
    result["config_hash"] = os.environ["HARMONY_BENCH_CONFIG_HASH"]
    if fault == "result":
        del result["frames"]
    (run / "result.json").write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
