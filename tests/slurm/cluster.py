"""The test cluster and a study on it, as the tests in this folder use them."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "slurm" / "testcluster"
CHEAP = "examples/cheap_train.py"  # where a lab has it, which the grids below train with
PAIR = f"""
train: [python, {CHEAP}]
tasks: [catch]
methods: [cheap, cheap_too]
seeds: 1
agent: {{run: {{steps: 400, eval_every: 40}}}}
"""
ONE = PAIR.replace("[cheap, cheap_too]", "[cheap]")
RUNS = ("catch/cheap/seed-0", "catch/cheap_too/seed-0")  # of PAIR
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "mariadbd", "munged", "sbatch")


def wait_until(condition: Callable[[], Any], seconds: float, what: str, pause_s: float = 0.2) -> Any:
    """Return the condition's first true value; fail with `what` when there is none in time."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, f"still not after {seconds:.0f} s: {what}"
        time.sleep(pause_s)


def text_of(*words: str, check: bool = True) -> str:
    """Return the stdout of a Slurm command."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def state_of(job: str) -> str:
    """Return Slurm's state of a job or element."""
    return text_of("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip()


@dataclass(frozen=True)
class Cluster:
    """The running test cluster."""

    def control(self, *words: str) -> None:
        """Run slurm/testcluster."""
        done = subprocess.run([SCRIPT, *words], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"testcluster {' '.join(words)}: {done.stderr}"

    def submit(self, script: str, *options: str) -> str:
        """Submit a shell line as a job and return its id."""
        return text_of("sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={script}").strip()

    def clear(self) -> None:
        """Cancel everything but the studies that run beside all tests, and wait until it is gone."""

        def others() -> set[str]:
            rows = text_of("squeue", "--noheader", "--format=%A %j").splitlines()
            return {row.split()[0] for row in rows if not row.split()[1].startswith("hb-beside")}

        if others():
            text_of("scancel", *others(), check=False)
        wait_until(lambda: not others(), 30, "an empty queue")


@dataclass(frozen=True)
class Answer:
    """What a harness command answered."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass
class Lab:
    """A copy of the code with its own runs folder: what is launched from it runs from a snapshot of the copy."""

    tree: Path
    env: dict[str, str]

    def run(self, module: str, *words: str, env: dict[str, str] | None = None, code: int | None = 0) -> Answer:
        """Run `python -m harness.MODULE words…` in the copy; its exit code is checked unless `code` is None."""
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", f"harness.{module}", *words],
            cwd=self.tree, env={**self.env, **(env or {})}, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        answer = Answer(done.returncode, done.stdout, done.stderr, time.monotonic() - began)
        assert code is None or answer.code == code, (
            f"{module} {' '.join(words)} → {answer.code}\n{done.stdout}{done.stderr}"
        )
        return answer

    def report(self, name: str, *words: str) -> dict[str, Any]:
        """Return what `analysis.report --json` says of a study; its page and tables lie beside the runs."""
        out = self.tree / "report"
        command = [sys.executable, "-m", "analysis.report", f"study={name}", f"runs={self.tree / 'runs'}", f"out={out}"]
        done = subprocess.run(
            [*command, *words, "--json"],
            cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert (out / "index.html").is_file()
        return json.loads(done.stdout)

    def study(self, name: str) -> Path:
        """The folder of a study."""
        return self.tree / "runs" / name

    def grid(self, name: str, text: str) -> str:
        """Write a grid file and return its name."""
        (self.tree / "configs" / "grids" / f"{name}.yaml").write_text(text)
        return name

    def states(self, name: str) -> dict[str, dict[str, Any]]:
        """Return `harness.status --json`, by run."""
        answer = self.run("status", f"grid={name}", "--json", code=None)
        assert answer.out, answer.err
        return {f"{run['task']}/{run['method']}/seed-{run['seed']}": run for run in json.loads(answer.out)["runs"]}

    def labels(self, name: str) -> dict[str, str]:
        """Return each run's state or reason."""
        return {run: str(state.get("reason") or state["state"]) for run, state in self.states(name).items()}

    def wait_all(self, name: str, label: str, seconds: float) -> None:
        """Wait until every run of a study has this state or reason."""
        if label == "done":  # cheaper than asking Slurm all the time
            results = [self.study(name) / run / "result.json" for run in run_names(self.study(name))]
            wait_until(lambda: all(result.is_file() for result in results), seconds, f"all of {name} done")
        wait_until(lambda: set(self.labels(name).values()) == {label}, seconds, f"all of {name} {label}", pause_s=1)

    def wait_running(self, name: str, steps: int = 20, seconds: float = 60) -> None:
        """Wait until every run of a study has made some steps."""

        def moving() -> bool:
            found = [self.study(name).joinpath(run) for run in run_names(self.study(name))]
            return all(steps_of(folder) >= steps for folder in found)

        wait_until(moving, seconds, f"all of {name} running")

    def job_ids(self, name: str) -> list[str]:
        """Return the Slurm ids of a study's jobs, launch by launch."""
        files = sorted(self.study(name).glob(".harness/launches/*/jobs.json"))
        return [job for file in files for job in json.loads(file.read_text())["jobs"].values()]


def slow(seconds: float = 1.0, **faults: str) -> dict[str, str]:
    """Return the environment in which 20 steps take this long, and runs fail as told."""
    return {"CHEAP": json.dumps({"tick_s": seconds, "faults": faults})}


def attempts(lab: Lab, name: str, run: str) -> list[dict[str, Any]]:
    """Return the records of a run's attempts."""
    files = (lab.study(name) / run).glob("attempts/*/attempt.json")
    return [json.loads(file.read_text()) for file in sorted(files, key=lambda file: int(file.parent.name))]


def run_names(study: Path) -> list[str]:
    """Return the names of a study's planned runs."""
    plan = json.loads((study / "plan.json").read_text())
    return [f"{run['task']}/{run['method']}/seed-{run['seed']}" for run in plan["runs"]]


def steps_of(run: Path) -> int:
    """Return the steps in a run's status, 0 without one."""
    try:
        return int(json.loads((run / "status.json").read_text())["env_steps"])
    except FileNotFoundError:
        return 0


def make_tree(folder: Path) -> Path:
    """Copy the code, and beside it the command that the tests' grids train with."""
    for name in ("agent", "harness", "configs", "slurm"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    (folder / CHEAP).parent.mkdir()
    shutil.copy(Path(__file__).with_name("cheap_train.py"), folder / CHEAP)
    return folder


def check_study(study: Path) -> None:
    """Check what must hold of every complete study: no run had two writers, none lost or repeated an evaluation."""
    for name in run_names(study):
        run = study / name
        assert (run / "result.json").is_file(), f"{name} is not complete"
        assert not (run / "OVERLAP").exists(), f"{name} was written by two processes at once"
        check_evaluations(run, first=40)


def check_evaluations(run: Path, first: int) -> None:
    """Check that a run's evaluations are all there, once and in order, every 40 steps from `first`."""
    steps = [json.loads(line)["env_steps"] for line in (run / "scores.jsonl").read_text().splitlines()]
    keys = dict(re.findall(r"^  (steps|eval_every): (\d+)", (run / "config.yaml").read_text(), re.MULTILINE))
    budget, every = int(keys["steps"]), int(keys["eval_every"])
    last = budget if first == every else budget - every  # the agent's own schedule ends before its last block
    assert steps == list(range(first, last + 1, every)), f"{run}: evaluations at {steps}"


def environment() -> dict[str, str]:
    """Return the environment for harness commands: nothing of the surrounding pytest."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "JAX_", "XLA_"))}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1"}


class Stand:
    """A folder in front of PATH whose programs stand for Slurm's: each call is counted, then answered as it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel"):
            self.answer(name, 'exec "$real" "$@"')

    def answer(self, name: str, script: str) -> None:
        """Let a program do this from now on; `$real` is Slurm's own."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\nreal={shutil.which(name)}\necho {name} >> {self.folder}/calls\n{script}\n")
        path.chmod(0o755)

    @property
    def env(self) -> dict[str, str]:
        """The environment in which these programs are found first."""
        return {"PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}"}

    def calls(self) -> list[str]:
        """Return the programs called since this was last asked."""
        log = self.folder / "calls"
        found = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return found


def slack() -> float:
    """Return how much longer than on an idle machine a command may take now: the load of each core, from 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
