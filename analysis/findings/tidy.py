"""Runs and results as tidy pandas DataFrames, one row per number: for notebooks, figures, and the report's CSV files.

>>> from analysis.findings import results, tidy; from analysis.data import scores
>>> runs = scores.bundled(["dreamerv3_published"])
>>> curves = tidy.evaluations(runs)
>>> curves[curves.task == "atari_pong"].groupby("frames").score.mean().round(1).iloc[-1].item()
16.1
"""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# pandas is typed in part only, so that strict checking would flag most calls.

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from analysis.data.load import LoadedRun, Problem
from analysis.data.scores import RunScores
from analysis.findings.results import Comparison, Results, TaskGroup

RUN = ["method", "task", "seed"]


def evaluations(runs: Iterable[RunScores]) -> pd.DataFrame:
    """Return a row per evaluation (or training episode): method, task, seed, frames, score, complete, unit."""
    members = list(runs)
    sizes = [len(run.frames) for run in members]
    columns: dict[str, Any] = {name: _repeated([getattr(run, name) for run in members], sizes) for name in RUN}
    columns["frames"] = np.concatenate([np.array([], np.int64), *(run.frames for run in members)])
    columns["score"] = np.concatenate([np.array([], np.float64), *(run.scores for run in members)])
    columns |= {name: _repeated([getattr(run, name) for run in members], sizes) for name in ("complete", "unit")}
    return pd.DataFrame(columns)


def training(runs: Iterable[LoadedRun], names: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a row per run, bin and series of metrics.jsonl: method, task, seed, name, frames (the centre), value.

    Series are `loss/…` and `harmony/…`, averaged in at most 60 bins; `names` selects some.
    """
    found = [(run.key, name, s) for run in runs for name, s in run.training(names).items()]
    sizes = [len(values) for _, _, (_, values) in found]
    columns: dict[str, Any] = {name: _repeated([getattr(key, name) for key, _, _ in found], sizes) for name in RUN}
    columns["name"] = _repeated([name for _, name, _ in found], sizes)
    columns["frames"] = np.concatenate([np.array([], np.float64), *(frames for _, _, (frames, _) in found)])
    columns["value"] = np.concatenate([np.array([], np.float64), *(values for _, _, (_, values) in found)])
    return pd.DataFrame(columns)


def _repeated(values: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Return a column that repeats each value; texts as categories, which take a byte or two per row."""
    if values and isinstance(values[0], str):
        categories = sorted(set(values))
        place = {name: code for code, name in enumerate(categories)}
        return pd.Categorical.from_codes(np.repeat([place[value] for value in values], sizes), categories)
    return np.repeat(np.array(values, type(values[0]) if values else np.float64), sizes)


def aggregates(results: Results) -> pd.DataFrame:
    """Return aggregates.csv: method, metric, estimate, low, high, n_runs, n_tasks, frames_from, frames, scale."""
    columns = ["method", "metric", "estimate", "low", "high", "n_runs", "n_tasks", "frames_from", "frames", "scale"]
    rows = [
        [method, name, i.estimate, i.low, i.high, i.n_runs, i.n_tasks, *group.frames, group.scale.name]
        for group in results.groups
        for method, found in group.aggregates.items()
        for name, i in found.items()
    ]
    return _frame(rows, columns, ("estimate", "low", "high"))


def per_task(results: Results) -> pd.DataFrame:
    """Return per_task.csv: method, task, n, mean, std, normalised, frames_from, frames, unit."""
    columns = ["method", "task", "n", "mean", "std", "normalised", "frames_from", "frames", "unit"]
    rows = [
        [m, t, c.n, c.mean, c.std, c.normalised, *c.frames, results.units[t]]
        for m in results.methods
        for t in results.tasks
        if (c := results.cells.get((m, t)))
    ]
    return _frame(rows, columns, ("mean", "std", "normalised"))


def comparisons(results: Results) -> pd.DataFrame:
    """Return comparisons.csv: x, y, quantity, estimate, low, high, n_runs, n_tasks, frames_from, frames, scale."""
    columns = ["x", "y", "quantity", "estimate", "low", "high", "n_runs", "n_tasks", "frames_from", "frames", "scale"]
    rows = [row for group in results.groups for c in group.comparisons for row in _comparison_rows(group, c)]
    return _frame(rows, columns, ("estimate", "low", "high"))


def _comparison_rows(group: TaskGroup, c: Comparison) -> list[list[Any]]:
    whole = c.improvement.overall
    intervals = {"probability_of_improvement": whole, **{f"difference_{n}": i for n, i in c.differences.items()}}
    single = {
        "wins": c.wins,
        "ties": c.ties,
        "losses": c.losses,
        **({} if math.isnan(c.p_value) else {"signed_rank_p": c.p_value, "signed_rank_p_holm": c.holm}),
        "average_rank_x": group.average_rank[c.x],
        "average_rank_y": group.average_rank[c.y],
    }
    tail = [whole.n_runs, whole.n_tasks, *group.frames, group.scale.name]
    rows = [[c.x, c.y, name, i.estimate, i.low, i.high, *tail] for name, i in intervals.items()]
    return rows + [[c.x, c.y, name, value, None, None, *tail] for name, value in single.items()]


def coverage(runs: Iterable[LoadedRun], left_out: Mapping[int, str] | None = None) -> pd.DataFrame:
    """Return coverage.csv: task, method, seed, state, env_steps, total_env_steps, reason, evaluations, left_out.

    `left_out` says why a run is not in the report, by the identity of its scores (`trace.left_out`).
    """
    names, why = ["env_steps", "total_env_steps", "reason"], left_out or {}
    rows = [
        [r.key.task, r.key.method, r.key.seed, r.state, *(r.summary[name] for name in names), len(r.scores.frames),
         why.get(id(r.scores), "")]
        for r in runs
    ]  # fmt: skip
    columns = ["task", "method", "seed", "state", *names, "evaluations", "left_out"]
    return pd.DataFrame(rows, columns=columns)


def problems(found: Iterable[Problem]) -> pd.DataFrame:
    """Return problems.csv: path, reason."""
    return pd.DataFrame([[p.path, p.reason] for p in found], columns=["path", "reason"])


def _frame(rows: Sequence[Sequence[Any]], columns: list[str], floats: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(floats, np.float64))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the frame's rows as plain values for JSON, an unknown number as None."""
    rows = cast("list[dict[str, Any]]", frame.to_dict("records"))
    return [{name: None if value != value else value for name, value in row.items()} for row in rows]


def csv_text(frame: pd.DataFrame) -> str:
    """Return the frame as CSV: every float in the fewest digits that give it back, an unknown number blank."""
    return frame.to_csv(index=False, lineterminator="\n")
