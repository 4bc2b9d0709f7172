"""The examples of analysis/README.md, made from it by `python -m tests.examples`.

Run it from the top of the repository: `python examples/analyse.py`.
"""

# %% Adding a statistic
from analysis import stats
from analysis.stats.metrics import METRICS, Metric, Sample


def worst(sample: Sample):
    """Return the lowest mean of a task [reps]."""
    return sample.task_means.min(axis=1)


METRICS["worst"] = Metric("worst", "Worst task", worst)
print(stats.estimate("worst", [[0.9, 1.3], [0.3, 0.4]]))

# %% The statistics as a library
from analysis import stats

runs = [[0.9, 1.3, 1.1], [0.2, 0.4, 0.3]]  # one list of runs per task
print(stats.describe(runs[0]))  # one task by itself
print(stats.iqm(runs))
print(stats.aggregate(runs, seed=0)["iqm"].low)
print(stats.probability_of_improvement(runs, [[0.8, 1.0, 0.9], [0.3, 0.2, 0.3]]).overall)

# %% In a notebook
from analysis.data import scores
from analysis.findings import results, tidy

runs = scores.bundled()  # the published ones
print(tidy.evaluations(runs))  # method, task, seed, frames, score
found = results.compute(runs, results.Settings(reps=2000))
print(tidy.aggregates(found))
print(tidy.per_task(found))
print(tidy.comparisons(found))

# %% In a notebook
from pathlib import Path

from analysis.data import load

folder = Path("runs/demo")  # of `make demo`
if folder.is_dir():
    study = load.load_study(folder)
    print(study.problems)  # what is damaged
    print(tidy.evaluations([run.scores for run in study.runs]))
    print(tidy.training(study.runs, ["harmony/reward_weight"]))  # losses and weights, averaged in bins
