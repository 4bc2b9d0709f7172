"""The JSON files of a golden agent folder: initial values, schedules, and the streams of driver and replay."""

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agent.contract.config import Config, make_config
from agent.envs.base import Step, record
from agent.envs.vector import VectorEnv
from agent.method.learner import init_train_state
from agent.nn import layers
from agent.run import replay, schedule
from agent.run.evaluate import Episodes
from agent.run.schedule import Every, Ratio
from agent.spec import ArraySpec, BoxAction, DiscreteAction, EnvSpec
from tests.golden.convert import IDENTITY, our_name, paths
from tests.golden.report import FileReport

# Draws per initialiser; its standard deviation is then known to about 0.2 %.
DRAWS = 100_000
STD_RTOL = 0.01
SIGMAS = 6.0


def check_json(path: Path) -> FileReport | None:
    """Return the report of a JSON file of the folder, or None when it is none that we know."""
    checks: dict[str, Callable[[FileReport, Any], None]] = {
        "initializers.json": check_initializers,
        "schedules.json": check_schedules,
        "driver_replay.json": check_driver,
    }
    if path.name not in checks:
        return None
    report = FileReport(path.name)
    checks[path.name](report, json.loads(path.read_text(encoding="utf-8")))
    return report


# ---- initial values


def check_initializers(report: FileReport, data: Any) -> None:
    """Drawn kernels against the published standard deviations and bounds, then whole agents."""
    for i, entry in enumerate(data["initializer_stats"]):
        name = f"initializer_stats/{i}"
        shape, fans = entry["shape"], {"fan_in": entry["fan_in"], "fan_out": entry["fan_out"]}
        report.equal(f"{name}/fan_in", fans["fan_in"], np.prod(shape[:-1]))
        report.equal(f"{name}/fan_out", fans["fan_out"], np.prod(shape[:-2]) * shape[-1])
        make = layers.truncated_normal if entry["dist"] == "normal" else layers.uniform
        rows = math.ceil(DRAWS / np.prod(shape))
        kernels = np.asarray(make((rows, *shape), **fans, scale=entry["outscale"], key=jax.random.key(i)))
        report.close(f"{name}/analytic_std", entry["analytic_std"], kernels.std(), STD_RTOL)
        report.close(f"{name}/measured_std", entry["measured_std"], kernels.std(), 2 * STD_RTOL)
        report.close(f"{name}/bound", entry["bound"], np.abs(kernels).max(), STD_RTOL)
        if np.abs(kernels).max() > entry["bound"] * (1 + 1e-6):
            report.failures.append(f"{name}/bound: a draw lies beyond it")
    for i, agent in enumerate(data["agents"]):
        _check_agent(report, f"agents/{i}", agent)


def _agent_config(params: dict[str, Any]) -> Config:
    """Return the sizes that an agent's parameter shapes tell."""

    def shape(name: str) -> list[int]:
        return params[f"agent/{name}"]["shape"]

    def layers(head: str) -> int:
        return len([name for name in params if re.fullmatch(rf"agent/{head}/h\d+/kernel", name)])

    stoch = math.isqrt(shape("wm/rssm/img_stats/bias")[0])
    heads = {"reward_head": "wm/rew", "cont_head": "wm/cont", "actor": "task_behavior/ac/actor",
             "critic": "task_behavior/critic/net"}  # fmt: skip
    sizes: dict[str, Any] = {
        "rssm.deter": shape("wm/rssm/initial")[0], "rssm.units": shape("wm/rssm/img_in/kernel")[1],
        "rssm.stoch": stoch, "rssm.classes": stoch,
        "encoder.cnn_depth": shape("wm/enc/cnn/s0res/kernel")[3],
        "decoder.cnn_depth": shape("wm/enc/cnn/s0res/kernel")[3],
    }  # fmt: skip
    for ours, theirs in heads.items():
        sizes |= {f"{ours}.layers": layers(theirs), f"{ours}.units": shape(f"{theirs}/h0/kernel")[1]}
    sizes["reward_head.bins"] = shape("wm/rew/dist_out/out/bias")[0]
    sizes["critic.bins"] = shape("task_behavior/critic/net/dist_out/out/bias")[0]
    return make_config((), {"task": "catch", **sizes})


def _check_agent(report: FileReport, name: str, agent: Any) -> None:
    """Shapes exactly; means, deviations and the kind of distribution within what that many draws allow."""
    params = {key: value for key, value in agent["params"].items() if key != IDENTITY}
    action = DiscreteAction(agent["actions"]) if agent["discrete"] else BoxAction(agent["actions"])
    spec = EnvSpec({"image": ArraySpec(tuple(agent["image"]), "uint8")}, action)
    ours = paths(init_train_state(_agent_config(params), spec, key=jax.random.key(0)))
    for key, theirs in params.items():
        full, path = f"{name}/{key}", our_name(key)
        if path not in ours:
            report.missed.append(full)
            continue
        leaf = np.asarray(ours[path], np.float64)
        report.equal(f"{full}/shape", theirs["shape"], np.array(leaf.shape, int))
        error = SIGMAS * max(theirs["std"], leaf.std()) / math.sqrt(leaf.size)
        for what, ours_is, allowed in (("mean", leaf.mean(), 2 * error), ("std", leaf.std(), error)):
            place = f"{full}/{what}"
            rule = f"±{allowed:.1e}"
            report.check(place, theirs[what], ours_is, lambda e, _, t=allowed: e <= t, rule, statistic=True)
        if "looks" in theirs:
            report.compared += 1
            if not theirs["looks"].startswith(_looks(leaf)):
                report.failures.append(f"{full}: ours looks {_looks(leaf)}, expected {theirs['looks']}")


def _looks(leaf: np.ndarray) -> str:
    if not leaf.any():
        return "zeros"
    return "uniform" if np.abs(leaf).max() / leaf.std() < 2 else "truncated normal"


# ---- schedules


def check_schedules(report: FileReport, data: Any) -> None:
    """When updates, evaluations and the end come."""
    for name, case in data["when"].items():
        if "repeats" in case:
            ratio = Ratio(case["ratio"])
            report.equal(f"when/{name}", case["repeats"], np.array([ratio.due(step) for step in case["steps"]]))
        elif "fires_at" in case:
            every = Every(case["every"], case["initial"])
            steps = range(case["start"], case["start"] + case["increment"] * case["count"], case["increment"])
            report.equal(f"when/{name}", case["fires_at"], np.array([step for step in steps if every.due(step)]))
        else:
            _check_until(report, name, case)
    for name, case in data["prefill"].items():
        envs, length = _number(r"(\d+) env", name), _number(r"length (\d+)", name)
        need = max(int(number) for number in re.findall(r"\d+", name[name.index("need") :]))
        settings = {"env.amount": envs, "batch_length": length, "batch_size": 1, "run.prefill": need}
        steps = schedule.prefill_steps(make_config((), settings))
        report.equal(f"prefill/{name}/steps", case["steps"], np.array(steps))
        sequences = replay.window_range(jnp.int32(steps), envs, length, steps)[1]
        report.equal(f"prefill/{name}/sequences", case["sequences"], np.asarray(sequences))
    for preset, case in data["updates_in_a_full_run"].items():
        config = make_config([preset])
        start, end = schedule.prefill_steps(config), schedule.final_step(config)
        ratio = Ratio(schedule.update_ratio(config))
        updates = sum(ratio.due(step) for step in range(start + 1, end + 1))
        report.equal(f"updates_in_a_full_run/{preset}/final_step", case["final_step"], np.array(end))
        report.equal(f"updates_in_a_full_run/{preset}/updates", case["updates"], np.array(updates))


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"{text!r}: expected something like {pattern!r}")
    return int(match[1])


def _check_until(report: FileReport, name: str, case: Any) -> None:
    """A run goes on while its step is below `run.steps`; theirs takes 0 for endless, ours a number never reached."""
    steps = _number(r"until_(\d+)", name) or 10**9
    config = make_config((), {"env.amount": 1, "batch_size": 1, "batch_length": 2, "run.block": 1, "run.steps": steps})
    asked = {int(k): v for k, v in case.items()} if isinstance(case, dict) else dict(enumerate(case))
    ours = np.array([step < schedule.final_step(config) for step in asked])
    report.equal(f"when/{name}", list(asked.values()), ours)


# ---- driver and replay


class Counting:
    """An environment that counts: it shows [its number, episode·100 + step] and rewards the action itself."""

    def __init__(self, number: int, lengths: list[int]) -> None:
        self.spec = EnvSpec({"value": ArraySpec((2,), "float32")}, BoxAction(1))
        self._number, self._lengths = number, lengths
        self._episode, self._step = -1, 0

    def _show(self) -> dict[str, np.ndarray]:
        return {"value": np.array([self._number, self._episode * 100 + self._step], np.float32)}

    def reset(self) -> Step:
        """Begin the next episode."""
        self._episode, self._step = self._episode + 1, 0
        return record(self._show(), 0.0, first=True)

    def step(self, action: Any) -> Step:
        """Count one on; the episode's length decides whether it ends."""
        self._step += 1
        over = self._step == self._lengths[self._episode % len(self._lengths)]
        return record(self._show(), float(action[0]), last=over, terminal=over)

    def save(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def close(self) -> None:
        """Nothing to let go."""


def _rounds(data: Any) -> Iterator[dict[str, np.ndarray]]:
    """Yield rounds of two counting environments as our loop stores them."""
    lengths = data["episode_lengths"]
    envs = len({t["worker"] for t in data["stream"]})
    actions = np.zeros((envs, 1), np.float32)
    with VectorEnv([lambda i=i: Counting(i, lengths) for i in range(envs)], processes=False) as vector:
        for n in range(len(data["stream"]) // envs):
            records = {key: np.array(value) for key, value in vector.step(actions).items()}
            actions = np.full((envs, 1), 0.5 + 0.001 * n, np.float32)
            yield {**records, "action": np.where(records["is_last"][:, None], 0.0, actions).astype(np.float32)}


def check_driver(report: FileReport, data: Any) -> None:
    """The stream of two environments, their episodes, and what the replay holds and hands out."""
    rounds = list(_rounds(data))
    stream = {key: np.stack([r[key] for r in rounds]) for key in rounds[0]}
    envs = stream["is_first"].shape[1]
    for i, theirs in enumerate(data["stream"]):
        n, env = divmod(i, envs)
        ours = {key: value[n, env] for key, value in stream.items()}
        # What the published driver also records: who, in which order, and that the action was a reset.
        ours |= {"worker": env, "counter": i + 1, "reset": ours["is_last"]}
        for key, value in theirs.items():
            if key in ours:
                report.close(f"stream/{i}/{key}", value, np.asarray(ours[key]), 1e-6)
            else:
                report.unlogged.append(f"stream/metric/{key}")
    _check_episodes(report, data, rounds)
    _check_windows(report, data, stream)


def _check_episodes(report: FileReport, data: Any, rounds: list[dict[str, np.ndarray]]) -> None:
    envs = len(rounds[0]["is_first"])
    episodes = Episodes(np.full(envs, 10**6))
    for records in rounds:
        episodes.add(records, np.ones(envs, bool))
    seen = [0] * envs
    for i, theirs in enumerate(data["episodes"]):
        env = theirs["worker"]
        report.equal(f"episodes/{i}/length", theirs["length"], np.array(episodes.lengths[env][seen[env]]))
        report.close(f"episodes/{i}/score", theirs["score"], np.array(episodes.returns[env][seen[env]]), 1e-6)
        seen[env] += 1


def _check_windows(report: FileReport, data: Any, stream: dict[str, np.ndarray]) -> None:
    settings, envs = data["replay"], stream["is_first"].shape[1]
    spec = replay.ReplaySpec(
        {k: ArraySpec(v.shape[2:], str(v.dtype)) for k, v in stream.items()}, envs, len(stream["reward"]),
        settings["length"], 1, settings["capacity"],
    )  # fmt: skip
    host = replay.empty(spec)
    replay.fill(host, stream, 0)
    buffers = {key: jnp.asarray(value) for key, value in host.items()}

    def held(transitions: int) -> dict[str, np.ndarray]:
        low, high = (int(x) for x in replay.window_range(jnp.int32(transitions), envs, spec.length, spec.capacity))
        window = np.arange(low, high)
        slots = (window // envs)[:, None] + np.arange(spec.length)
        batch = replay.gather(buffers, jnp.asarray(window % envs), jnp.asarray(slots))
        return {k: np.asarray(v) for k, v in batch.items()}

    counts = np.array([len(held(i + 1)["reward"]) for i in range(len(data["replay_len_after_each_add"]))])
    report.equal("replay_len_after_each_add", data["replay_len_after_each_add"], counts)
    for key in [key for key in data if key.startswith("table_after_")]:
        report.equal(key, data[key], held(int(key.removeprefix("table_after_")))["value"])
    # Their selector keeps the same windows in an order of its own; a sample is that order at a drawn index.
    latest, order = held(len(data["stream"])), data["selector_order_after_24"]
    report.equal("selector_order_after_24", sorted(order), np.array(sorted(latest["value"].tolist())))
    drawn = np.array([latest["value"].tolist().index(order[i]) for i in data["sampled_indices"]])
    places = np.array([order.index(latest["value"][i].tolist()) for i in drawn])
    report.equal("sampled_indices", data["sampled_indices"], places)
    for i, theirs in enumerate(data["samples"]):
        for key in ("value", "is_first", "action"):
            report.close(f"samples/{i}/{key}", theirs[key], latest[key][drawn[i]], 1e-6)
        report.compared += 1
        if set(theirs["keys"]) - {"id", "reset"} != set(latest):
            report.failures.append(f"samples/{i}/keys: ours {sorted(latest)}, expected {theirs['keys']}")
