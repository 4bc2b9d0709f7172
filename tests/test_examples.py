"""What lies in examples/ is as the documentation has it, and runs."""

import os
import subprocess
import sys
from pathlib import Path

from tests import examples
from tests.analysis.studies import write_study


def test_the_script_of_the_statistics_is_made_from_their_page_as_it_is() -> None:
    assert examples.SCRIPT.read_text(encoding="utf-8") == examples.script(), "make it anew: python -m tests.examples"


def test_what_a_notebook_would_show_is_printed_and_nothing_else() -> None:
    head = 'def f(x):\n    """Doc."""\n    return x\n\n\n'
    block = "f(1)  # one\nif f(2):\n    f(3)\n    y = f(4)\n    print(5)\n"
    shown = "print(f(1))  # one\nif f(2):\n    print(f(3))\n    y = f(4)\n    print(5)\n"
    assert examples.printing(head + block) == head + shown


def test_the_script_of_the_statistics_runs(tmp_path: Path) -> None:
    write_study(tmp_path / "runs" / "demo", tasks=("atari_pong",), metrics=True)
    there = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(examples.ROOT)}
    command = [sys.executable, "-W", "error", str(examples.SCRIPT)]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | there, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line in ("0.35", "0.675")] == ["0.35", "0.675"]
    assert "harmony_dreamerv3_published" in done.stdout and "atari_pong" in done.stdout.splitlines()[-4]
