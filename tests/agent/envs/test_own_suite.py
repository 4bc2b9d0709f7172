"""The suite that agent/envs/README.md spells out, in a copy of the tree: one file, and its tasks are known by name."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.contract.literals import FileError
from agent.contract.suites import describe

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "agent" / "envs" / "README.md").read_text(encoding="utf-8")
(TARGET,) = re.findall(r"^```python\n# agent/envs/target\.py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
TRAIN = "agent.train --configs debug --logdir run --env.amount 2 --env.processes on --run.steps 120 --run.eval_every 60"


@pytest.fixture
def tree(tmp_path):
    for name in ("agent", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "agent" / "envs" / "target.py").write_text(TARGET, encoding="utf-8")
    return tmp_path


def run(tree, *words):
    environ = {**os.environ, "PYTHONPATH": str(tree), "JAX_PLATFORMS": "cpu"}
    return subprocess.run([sys.executable, "-m", *words], cwd=tree, env=environ, capture_output=True, text=True)


@pytest.mark.slow
def test_a_suite_written_as_one_file_trains_with_its_own_settings(tree):
    done = run(tree, *TRAIN.split(), "--task", "target_near", "--env.target.length", "25")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tree / "run" / "scores.jsonl").read_text().splitlines()]
    assert rows and all(0 < length <= 25 for row in rows for length in row["lengths"])
    assert "  target:\n    repeat: 1\n    length: 25\n" in (tree / "run" / "config.yaml").read_text()


def test_tasks_and_settings_of_such_a_suite_are_refused_with_the_nearest(tree):
    for words, message in (
        (["--task", "target_naer"], "did you mean 'target_near'"),
        (["--task", "target"], "target_near"),
        (["--task", "target_near", "--env.target.lenght", "25"], "did you mean 'env.target.length'"),
        (["--task", "target_near", "--env.target.length", "long"], "env.target.length"),
    ):
        done = run(tree, *TRAIN.split(), *words)
        assert (done.returncode, (tree / "run").exists()) == (2, False)
        assert message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("my_suite.py", "SUITE = 'A'\nclass A: pass\n", "a suite's file is named by a-z and 0-9"),
        ("mine.py", "SUITE = 'B'\nclass A: pass\n", "SUITE is 'B'; the name of a class in this file is expected"),
        ("mine.py", "SUITE = 'A'\nTASKS = ['a']\nclass A: pass\n", "TASKS is ['a']; a tuple of texts is expected"),
        (
            "mine.py",
            "SUITE = 'A'\nclass A:\n    def __init__(self, task, seed, *, length=LIMIT): pass\n",
            "A's setting length needs a default",
        ),
        ("mine.py", "SUITE = 'A'\nclass A(:\n", "not a Python file"),
    ],
)
def test_a_suites_file_that_lacks_something_is_named_with_what_it_lacks(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(FileError, match=re.escape(name)) as caught:
        describe(tmp_path / name)
    assert message in str(caught.value)


def test_a_broken_file_of_a_suite_is_wrong_input_in_one_line(tree):
    (tree / "agent" / "envs" / "target.py").write_text("SUITE = 'Other'\n")
    done = run(tree, *TRAIN.split(), "--task", "catch")
    assert done.returncode == 2 and "target.py: SUITE is 'Other'" in done.stderr and done.stderr.count("\n") == 1
