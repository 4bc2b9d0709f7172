"""Compare the statistics with rliable, side by side: equal numbers, and CPU time.

rliable needs pandas<3, so it lives in an environment of its own::

    python -m venv /tmp/rliable && /tmp/rliable/bin/pip install 'rliable==1.2.0' 'pandas<3'
    python -m tests.benchmarks.bench_stats /tmp/rliable/bin/python

Both compute mean, median, IQM and optimality gap with 50 000 bootstrap samples for the two published methods (5 runs ×
26 games each). Times are CPU seconds of one process without imports, the best of three for ours.
"""

import json
import subprocess
import sys
import time
from typing import Any

import numpy as np

from analysis import stats
from analysis.data import benchmarks, scores

REPS = 50_000
METRICS = ("mean", "median", "iqm", "optimality_gap")

THEIRS = """
import json, sys, time
import numpy as np
from rliable import library, metrics
matrices = {name: np.array(rows) for name, rows in json.load(sys.stdin).items()}
def all_metrics(x):
    return np.array([metrics.aggregate_mean(x), metrics.aggregate_median(x), metrics.aggregate_iqm(x),
                     metrics.aggregate_optimality_gap(x)])
np.random.seed(0)
start = time.process_time()
points, intervals = library.get_interval_estimates(matrices, all_metrics, reps=REPS)
print(json.dumps({"cpu_s": time.process_time() - start, "points": {k: v.tolist() for k, v in points.items()},
                  "intervals": {k: v.tolist() for k, v in intervals.items()}}))
"""


def matrices() -> dict[str, list[np.ndarray]]:
    """Return the published methods' human-normalised final scores, per task."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in scores.bundled():
        found.setdefault(run.method, {}).setdefault(run.task, []).append(run.final())
    return {method: benchmarks.normalised(runs, sorted(runs)) for method, runs in found.items()}


def ours(data: dict[str, list[np.ndarray]]) -> tuple[float, dict[str, dict[str, stats.Interval]]]:
    """Return the best CPU time of three and the intervals."""
    times: list[float] = []
    found: dict[str, dict[str, stats.Interval]] = {}
    for _ in range(3):
        start = time.process_time()
        found = {
            method: stats.aggregate(runs, METRICS, reps=REPS, seed=0, interval="percentile")
            for method, runs in data.items()
        }
        times.append(time.process_time() - start)
    return min(times), found


def theirs(python: str, data: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    """Return rliable's CPU time, points and intervals, computed by another interpreter."""
    text = json.dumps({method: np.array(runs).T.tolist() for method, runs in data.items()})
    program = THEIRS.replace("REPS", str(REPS))
    done = subprocess.run([python, "-c", program], input=text, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(python: str) -> dict[str, float]:
    """Return both CPU times, their ratio, and the largest differences of points and of interval ends."""
    data = matrices()
    other = theirs(python, data)
    cpu, found = ours(data)
    points, ends = [0.0], [0.0]
    for method, intervals in found.items():
        for k, metric in enumerate(METRICS):
            mine = intervals[metric]
            low, high = (row[k] for row in other["intervals"][method])
            points.append(abs(mine.estimate - other["points"][method][k]))
            ends += [abs((mine.low or 0.0) - low), abs((mine.high or 0.0) - high)]
    return {
        "ours_cpu_s": cpu,
        "rliable_cpu_s": other["cpu_s"],
        "ratio": other["cpu_s"] / cpu,
        "points": max(points),
        "ends": max(ends),
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.benchmarks.bench_stats PYTHON_WITH_RLIABLE")
    print(json.dumps(compare(sys.argv[1]), indent=1))
