"""The commands of README.md and CONTRIBUTING.md, executed as they are written, in order, in a copy of the clone."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md")

# Make's targets and the test programs are CI's own phases; here only make's view of them is checked.
BY_CI = re.compile(
    r"make [\w-]+( EXTRAS=\w+)?|bash \.ci/run|source \.venv/bin/activate|(JAX_PLATFORMS=\S+ )?python -m pytest.*"
)
# Trains for hours: started, left alone until a run has trained, then interrupted as by Ctrl-C.
HOURS = re.compile(r"python -m (harness\.launch grid=atari100k seeds=5|agent\.train --configs atari100k .*)")
TRAINED_WITHIN_S = 400


def commands(page: str) -> list[str]:
    """Return the lines of a page's `sh` blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def examples(page: str) -> dict[str, str]:
    """Return the files a page spells out: blocks whose first line is a comment with the file's name."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:yaml|python)\n(# ([\w./]+)\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    return {name: body for body, name in blocks}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the working tree as a git checkout of its own."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    return tmp_path


def environment() -> dict[str, str]:
    """The shell's environment with `python` being the interpreter that runs this test."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "HARMONY_BENCH_"))}
    return keep | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def login_node(clone: Path) -> dict[str, str]:
    """The environment of a login node, on which a submission would fail: a dry run must not make one."""
    programs = clone / "login-node"
    programs.mkdir(exist_ok=True)
    (programs / "sbatch").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (programs / "sbatch").chmod(0o755)
    return environment() | {"PATH": f"{programs}:{environment()['PATH']}", "SLURM_CONF": "/nowhere/slurm.conf"}


def finish(command: str, clone: Path, code: int = 0) -> None:
    shell = login_node(clone) if "cluster=default" in command else environment()
    done = subprocess.run(["bash", "-c", command], cwd=clone, env=shell, capture_output=True, text=True, timeout=900)
    assert done.returncode == code, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def interrupt(command: str, clone: Path) -> None:
    """Run until a run's metrics have a first row, then press Ctrl-C."""
    seen = {path: path.stat().st_size for path in clone.rglob("metrics.jsonl")}
    log = clone / "interrupted.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            # A suite in the background ignores Ctrl-C, and so would its children; a shell at a terminal heeds it.
            ["env", "--default-signal=INT", "bash", "-c", f"exec {command}"],
            cwd=clone,
            env=environment(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        deadline = time.monotonic() + TRAINED_WITHIN_S
        while time.monotonic() < deadline and process.poll() is None:
            if any(path.stat().st_size > seen.get(path, 0) for path in clone.rglob("metrics.jsonl")):
                break
            time.sleep(1)
        trained = process.poll() is None and time.monotonic() < deadline
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(timeout=240)
    assert trained, f"{command}\n{log.read_text()[-3000:]}"
    assert code in (75, 130), f"{command}: exit code {code}\n{log.read_text()[-3000:]}"


@pytest.mark.parametrize("page", PAGES)
def test_make_knows_the_targets_of_a_page(page: str) -> None:
    targets = [line for line in commands(page) if line.startswith("make ")]
    assert targets
    for line in targets:
        subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_commands_work_as_written(page: str, clone: Path) -> None:
    for name, body in examples(page).items():
        (clone / name).write_text(body, encoding="utf-8")
    interrupted = ""
    for command in commands(page):
        if BY_CI.fullmatch(command):
            continue
        if HOURS.fullmatch(command):
            interrupt(command, clone)
            interrupted = command
        else:  # a study that was stopped is not done, and status says so by its exit code
            grid = command.removeprefix("python -m harness.status ")
            finish(command, clone, code=1 if grid != command and grid in interrupted else 0)
