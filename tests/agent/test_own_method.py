"""The method that agent/README.md spells out, in a copy of the clone: one file, and every command knows it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GRID = """\
preset: debug
tasks: [catch]
methods: [dreamerv3, harmony_dreamerv3, joint_dreamerv3]
pack: 3
pack.mode: vmap
agent: {run: {steps: 120, eval_every: 60, eval_episodes: 2, log_every: 20}}
"""


def run(clone: Path, *words: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(clone), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", *words]
    made = subprocess.run(command, cwd=clone, env=environ, capture_output=True, text=True, timeout=500)
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


@pytest.mark.slow
def test_a_method_written_as_one_file_trains_in_a_pack_and_stands_in_tables_and_figures(tmp_path):
    clone = tmp_path / "clone"
    for name in ("agent", "harness", "analysis", "configs", "scores", "slurm"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", clone)
    page = (ROOT / "agent/README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n# agent/weighting/joint\.py\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (clone / "agent/weighting/joint.py").write_text(block, encoding="utf-8")
    (clone / "mine.yaml").write_text(GRID)
    subprocess.run(["git", "init", "-q"], cwd=clone, check=True)
    run(clone, "harness.launch", "grid=./mine.yaml", "runs=runs", "cluster=local")
    rows = {
        method: json.loads((clone / f"runs/mine/catch/{method}/seed-0/metrics.jsonl").read_text().splitlines()[-1])
        for method in ("dreamerv3", "harmony_dreamerv3", "joint_dreamerv3")
    }
    assert not [name for name in rows["dreamerv3"] if name.startswith("harmony/")]
    assert "harmony/dyn_weight" in rows["harmony_dreamerv3"]
    assert "harmony/all_weight" not in rows["harmony_dreamerv3"]
    assert rows["joint_dreamerv3"]["harmony/all_s"] != 0
    assert "harmony/dyn_weight" not in rows["joint_dreamerv3"]
    run(clone, "analysis.report", "grid=./mine.yaml", "runs=runs", "out=report")
    page = (clone / "report/index.html").read_text(encoding="utf-8")
    assert "DreamerV3, one learned weight" in page
    svg = (clone / "report/figures/harmony_weights.svg").read_text(encoding="utf-8")
    assert ">all</text>" in svg  # the legend's word for harmony/all_weight
