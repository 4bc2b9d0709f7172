"""Commands print in any locale: what its encoding lacks becomes `?`, and never a traceback."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.analysis.studies import TIDY, write_study

ROOT = Path(__file__).resolve().parents[3]
# Commands for people; `analysis.data.summary` answers its parent process in ASCII.
COMMANDS = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for package in ("agent", "harness", "analysis")
    for path in (ROOT / package).rglob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
} - {"analysis.data.summary"}


def run(folder: Path, encoding: str, *words: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a module in a process whose stdout and stderr take this encoding alone."""
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
    env = {**os.environ, **locale, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run([sys.executable, "-m", *words], cwd=folder, env=env, capture_output=True, timeout=120)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", ""])
def test_the_report_is_printed_where_the_locale_lacks_its_signs(tmp_path: Path, encoding: str) -> None:
    write_study(tmp_path / "runs" / "study", tasks=("atari_pong",))
    lines = [f"Müller→2,atari_pong,{seed},6400,{-seed}\n" for seed in (0, 1)]
    (tmp_path / "mïne.csv").write_text(TIDY + "".join(lines), encoding="utf-8")
    words = ["analysis.report", "grid=study", "extra=mïne.csv", "reps=200", "--no-figures"]
    done = run(tmp_path, encoding, *words)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    name = {"latin-1": "Müller?2".encode("latin-1")}.get(encoding, b"M?ller?2")
    assert name in done.stdout and b"report/index.html" in done.stdout
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "Müller→2" in text and "- Added: mïne.csv: sha256" in text and "'extra=mïne.csv'" in text


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_the_harness_prints_there_too(tmp_path: Path, encoding: str) -> None:
    program = (
        "from harness.command import run\nfrom agent.contract.words import ConfigError\n"
        "def body(command):\n    print('→ Müller')\n    raise ConfigError('Ł is refused')\n"
        "raise SystemExit(run('x', 'y', {}, body, ['grid=a']))\n"
    )
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    done = run(tmp_path, encoding, "program")
    assert (done.returncode, done.stderr) == (2, b"? is refused\n")
    assert done.stdout == {"latin-1": "? Müller\n".encode("latin-1")}.get(encoding, b"? M?ller\n")


def test_every_command_sets_its_streams_up() -> None:
    texts = {name: (ROOT / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8") for name in COMMANDS}
    through_run = re.compile(r"return run\(\"harness\.\w+\"")
    assert [
        name for name, text in texts.items() if "print_anywhere()" not in text and not through_run.search(text)
    ] == []
    assert len(COMMANDS) >= 9


@pytest.mark.parametrize(
    "program",
    [
        "harness.launch",
        "harness.status",
        "harness.resubmit",
        "harness.cancel",
        "harness.logs",
        "analysis.report",
        "agent.train",
    ],
)
def test_the_help_of_a_command_fits_a_terminal_of_80_columns(program: str) -> None:
    done = subprocess.run([sys.executable, "-m", program, "--help"], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) > 8
    assert [line for line in lines if len(line) > 80] == []
