"""Streams of Meta-world states: read a folder's, keep them in our own format, play them with our simulator, compare."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from agent.envs.metaworld import Simulator
from tests.golden.atari_stream import as_numbers
from tests.golden.report import FileReport

ATOL = 1e-6
THEIR_ARRAYS = {
    *("seed", "rand_vec", "actions", "obs", "reward", "success", "is_first"),
    *("expert_actions", "expert_obs", "expert_reward", "expert_success", "expert_is_first"),
}
THEIR_KEYS = {"task", "seed", "rand_vec", "seeded_rand_vecs", "random", "expert"}
PARTS = {"random": "", "expert": "expert_"}

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class MetaworldStream:
    """What one task computed for given goals and actions: in two episodes of random play and one of an expert's.

    `seeded_goals` are the goals of the first resets of a simulator that draws its own. The expert's actions are given;
    the random ones are drawn from the seed.
    """

    task: str
    seed: int
    goals: np.ndarray
    seeded_goals: np.ndarray
    random_actions: np.ndarray
    random_observations: np.ndarray
    random_rewards: np.ndarray
    random_successes: np.ndarray
    random_first: np.ndarray
    expert_actions: np.ndarray
    expert_observations: np.ndarray
    expert_rewards: np.ndarray
    expert_successes: np.ndarray
    expert_first: np.ndarray

    def save(self, path: Path) -> None:
        """Write the stream in our own format."""
        arrays: dict[str, Any] = {key: np.asarray(value) for key, value in vars(self).items()}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> "MetaworldStream":
        """Read a stream in our own format."""
        with np.load(path) as file:
            return cls(**{key: file[key].item() if file[key].ndim == 0 else file[key] for key in file.files})


def read(path: Path, report: FileReport) -> MetaworldStream:
    """Translate a folder's `.npz` and the JSON beside it, whose sums and digests must agree with the arrays.

    Raises ValueError when the files hold something that would not be compared.
    """
    with np.load(path) as file:
        theirs = {key: file[key] for key in file.files}
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    unknown = (set(theirs) - THEIR_ARRAYS) | (set(about) - THEIR_KEYS)
    if unknown:
        raise ValueError(f"not compared: {', '.join(sorted(unknown))}")
    report.equal("seed (json)", theirs["seed"], np.array(about["seed"]))
    report.equal("rand_vec (json)", theirs["rand_vec"], np.array(about["rand_vec"]))
    for part, prefix in PARTS.items():
        _check_summary(report, {key: theirs[prefix + key] for key in ("obs", "reward", "success")}, about[part], part)
    names = {
        "observations": "obs",
        "rewards": "reward",
        "successes": "success",
        "first": "is_first",
        "actions": "actions",
    }
    arrays = {f"{part}_{ours}": theirs[PARTS[part] + name] for part in PARTS for ours, name in names.items()}
    return MetaworldStream(
        task=about["task"].replace("-", "_"),
        seed=int(theirs["seed"]),
        goals=theirs["rand_vec"],
        seeded_goals=np.array(about["seeded_rand_vecs"]),
        **arrays,
    )


def _check_summary(report: FileReport, theirs: Arrays, about: dict[str, Any], part: str) -> None:
    for key in ("obs", "reward"):
        found = sha256(theirs[key].tobytes()).hexdigest()
        report.equal(f"{part}.{key}_sha256 (json)", as_numbers(about[f"{key}_sha256"]), as_numbers(found))
    for key in ("reward", "success"):
        report.close(f"{part}.{key}_sum (json)", np.array(about[f"{key}_sum"]), theirs[key].sum(), 1e-6)


def play(simulator: Simulator, episodes: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Play episodes of given goals and actions; return observations [records, 39], rewards, successes and first."""
    rows: list[tuple[np.ndarray, float, float, bool]] = []
    for goal, actions in episodes:
        rows.append((simulator.reset(goal), 0.0, 0.0, True))
        rows.extend((*simulator.step(action), False) for action in actions)
    names = ("observations", "rewards", "successes", "first")
    return {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def compare(report: FileReport, stream: MetaworldStream, make: Callable[[str, int], Simulator] = Simulator) -> None:
    """Compare everything a stream holds: numbers to 1e-6, success exactly."""
    simulator = make(stream.task, stream.seed)
    space = simulator._env._random_reset_space  # of the vector of goal and object positions
    low, high = space.low, space.high
    goals = np.random.RandomState(2000 + stream.seed).uniform(low, high, (3, low.size))
    _near(report, "rand_vec", stream.goals, goals)
    actions = np.random.RandomState(1000 + stream.seed).uniform(-1, 1, stream.random_actions.shape)
    report.equal("actions", stream.random_actions, actions.astype(np.float32))
    half = len(actions) // 2
    random = [(goals[0], stream.random_actions[:half]), (goals[1], stream.random_actions[half:])]
    for part, episodes in (("random", random), ("expert", [(goals[2], stream.expert_actions)])):
        ours = play(make(stream.task, stream.seed), episodes)
        for key in ("observations", "rewards"):
            _near(report, f"{part}_{key}", getattr(stream, f"{part}_{key}"), ours[key])
        for key in ("successes", "first"):
            report.equal(f"{part}_{key}", getattr(stream, f"{part}_{key}"), ours[key])
    drawn = [simulator._env._last_rand_vec.copy() for _ in stream.seeded_goals if simulator.reset() is not None]
    _near(report, "seeded_rand_vecs", stream.seeded_goals, np.stack(drawn))


def _near(report: FileReport, name: str, theirs: np.ndarray, ours: np.ndarray) -> None:
    report.check(name, theirs, ours, lambda error, scale: error <= ATOL, f"tolerance {ATOL:.0e}")
