"""The suite's own copy of a golden case: our names, small enough to live in the project.

`python -m tests.golden.standalone DIR` makes `tests/golden/cases/CASE.npz` from a folder in the published format:
configuration, observation and action spaces, variables and batches in full; results in full where they are small, and
where they are as large as the parameters (gradients, variables after three updates) as two numbers per array.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from agent.contract.config import from_dict
from agent.method import learner
from agent.method.learner import TrainState, init_train_state
from agent.nn.distributions import OneHot
from agent.nn.layers import in_compute_dtype as in_compute_dtype
from agent.spec import ArraySpec, BoxAction, DiscreteAction, EnvSpec
from agent.weighting.base import together
from tests.golden.convert import Arrays, Case, Determined, our_name, paths, read_case
from tests.golden.report import FileReport

STORE = Path(__file__).parent / "cases"
CASES = ("disc", "vec")
KEY = jax.random.key(0)
PAIR = together(())
Values = dict[str, Any]

# Their results and ours, per part: what the stored case compares.
FORWARD = {
    "out/embed": "embed", "out/observe/post/deter": "post/deter", "out/observe/post/logit": "post/logit",
    "out/observe/prior/logit": "prior/logit", "out/rew/mean": "reward/mean", "out/cont/logit": "cont/logit",
    "out/critic/mean": "critic/mean", "out/slow/mean": "slow/mean", "out/actor/entropy": "actor/entropy",
    "out/imagine/deter": "open_loop/deter", "out/initial/stoch": "initial/stoch",
}  # fmt: skip
BEHAVIOR = {
    "imag/traj/deter": "imagined/deter", "imag/traj/action": "imagined/action", "imag/traj/weight": "imagined/weight",
    "imag/rew": "imagined/reward", "imag/ret": "imagined/return", "imag/value": "imagined/value",
    "imag/adv": "imagined/advantage", "imag/logpi": "imagined/log_prob", "imag/entropy": "imagined/entropy",
    "imag/retnorm/low_after": "scale/low", "imag/retnorm/high_after": "scale/high",
    "imag/retnorm/invscale": "scale/scale", "imag/critic/elem": "critic/weighted",
    "actor/loss": "actor/loss", "critic/loss": "critic/loss",
}  # fmt: skip


def digest(array: Any) -> np.ndarray:
    """Return an array's norm and its projection on a fixed direction: two numbers that any change moves."""
    flat = np.asarray(array, np.float64).reshape(-1)
    return np.array([np.linalg.norm(flat), flat @ np.cos(1.7 * np.arange(flat.size) + 0.3)])


def stored_case(path: Path) -> tuple[Case, dict[str, np.ndarray]]:
    """Return a stored case and its arrays, digests under the names of what they digest."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    about = json.loads(str(arrays.pop("about")))
    arrays |= dict(zip(about["digests"], arrays.pop("digests"), strict=True))
    kind = DiscreteAction if about["discrete"] else BoxAction
    obs = {name: ArraySpec(tuple(shape), dtype) for name, (shape, dtype) in about["obs"].items()}
    config = from_dict(about["config"])
    return Case(path.stem, config, EnvSpec(obs, kind(about["actions"])), config.grad_heads), arrays


def below(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose name begins with `prefix`, which is cut off."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def initial_state(case: Case, arrays: Arrays) -> TrainState:
    """Return a run's state holding the stored variables."""
    template = init_train_state(case.config, case.spec, key=KEY)
    leaves = {
        name: jnp.asarray(arrays.get(f"variable/{name}", np.zeros(leaf.shape, leaf.dtype)))
        for name, leaf in paths(template).items()
    }
    return jax.tree.unflatten(jax.tree.structure(template), list(leaves.values()))


def batch(arrays: Arrays, index: int) -> Values:
    """Return one stored batch."""
    return {name: jnp.asarray(value) for name, value in below(arrays, f"batch{index}/").items()}


def forward(case: Case, state: TrainState, batch: Values) -> Values:
    """Return the world model's and the heads' values on a batch, by our names."""
    model, sampler = state.model, Determined()
    embed = model.encoder(batch)
    rows = len(batch["reward"])
    initial = model.rssm.initial(rows)
    actions = jnp.concatenate([jnp.zeros_like(batch["action"][:, :1]), batch["action"][:, :-1]], 1)
    fast = case.config.jax.scan == "fast"
    post, prior = model.rssm.observe(embed, actions, batch["is_first"], initial, sampler=sampler, key=KEY, fast=fast)
    features = post.features
    return {
        "embed": embed, "post/deter": post.deter, "post/logit": post.logit, "prior/logit": prior.logits,
        "reward/mean": model.reward(features).mean(), "cont/logit": model.cont(features).logit,
        "critic/mean": state.critic(features).mean(), "slow/mean": state.slow(features).mean(),
        "actor/entropy": state.actor(features).entropy(), "initial/stoch": initial.stoch,
        "post/entropy": OneHot(post.logit).entropy().sum(-1),
    }  # fmt: skip


def losses(case: Case, state: TrainState, batch: Values) -> Values:
    """Return losses per [batch, time], their total, and a digest of each gradient."""
    carry = learner.initial_carry(state, len(batch["reward"]))
    (total, model_out), grads = learner.model_gradient(
        state, batch, carry, config=case.config, weightings=PAIR, sampler=Determined(), key=KEY
    )
    values: Values = {f"loss/{name}": loss for name, loss in model_out.losses.items()} | {"total": total}
    return values | {f"gradient/{name}": grad for name, grad in paths({"model": grads}).items()}


def imagination(case: Case, state: TrainState, batch: Values) -> Values:
    """Return trajectory, returns, losses and gradients of behaviour learning at the given variables."""
    config, sampler = case.config, Determined()
    carry = learner.initial_carry(state, len(batch["reward"]))
    (_, model_out), _ = learner.model_gradient(
        state, batch, carry, config=config, weightings=PAIR, sampler=sampler, key=KEY
    )
    start, terminal = learner.imagination_start(model_out.post, batch)
    (actor_loss, actor_out), actor_grads = learner.actor_gradient(
        state, start, terminal, config=config, sampler=sampler, key=KEY
    )
    (critic_loss, critic_out), critic_grads = learner.critic_gradient(
        state, actor_out.trajectory, actor_out.scores.returns, config=config
    )
    scores, trajectory = actor_out.scores, actor_out.trajectory
    values: Values = {
        "imagined/deter": trajectory.deter, "imagined/action": trajectory.action,
        "imagined/weight": trajectory.weight, "imagined/reward": scores.reward, "imagined/return": scores.returns,
        "imagined/value": scores.value, "imagined/advantage": actor_out.advantage,
        "imagined/log_prob": actor_out.log_prob,
        "imagined/entropy": actor_out.entropy, "scale/low": actor_out.scale.low, "scale/high": actor_out.scale.high,
        "scale/scale": actor_out.scale.scale(config.retnorm), "critic/weighted": critic_out.weighted,
        "actor/loss": actor_loss, "critic/loss": critic_loss,
    }  # fmt: skip
    grads = paths({"actor": actor_grads, "critic": critic_grads})
    return values | {f"gradient/{name}": grad for name, grad in grads.items()}


def compare(part: str, arrays: Arrays, values: Values) -> FileReport:
    """Return how the values of one part compare with the stored ones: 1e-5, gradients' digests 1e-4."""
    report = FileReport(part)
    for name, array in below(arrays, f"{part}/").items():
        if name.startswith("gradient/"):
            _check_digest(report, name, array, digest(values[name]), 2e-4)
        else:
            report.close(name, array, np.asarray(values[name]), 1e-5)
    return report


def after_updates(case: Case, arrays: Arrays, *, harmony: bool) -> FileReport:
    """Return how variables compare after three full updates, each by its digest of the change."""
    state = initial_state(case, arrays)._replace(method=jnp.asarray(int(harmony)))
    before = paths(state)
    carry = learner.initial_carry(state, len(arrays["batch0/reward"]))
    step = learner.make_train_step(case.config, sampler=Determined(), donate=False)
    for index in range(3):
        state, carry, *_ = step(state, batch(arrays, index), carry)
    method, report, after = "on" if harmony else "off", FileReport("updates"), paths(state)
    for name, value in below(arrays, f"change/{method}/").items():
        change = digest(np.asarray(after[name], np.float64) - np.asarray(before[name], np.float64))
        _check_digest(report, name, value, change, 2e-2)
    moments = unflattened_moments(state)
    for name, value in below(arrays, f"moments/{method}/").items():
        _check_digest(report, name, value, digest(moments[name]), 1e-3)
    return report


def _check_digest(report: FileReport, name: str, theirs: np.ndarray, ours: np.ndarray, rtol: float) -> None:
    """Compare two digests relative to the norm; near-zero gradients make Adam's steps less certain than gradients."""
    scale = max(float(np.abs(theirs).max()), 1e-30)
    report.check(name, theirs, ours, lambda error, _: error <= rtol * scale, f"tolerance {rtol:.0e}")


def unflattened_moments(state: TrainState) -> Values:
    """Return Adam's moments by `mu.PATH` and `nu.PATH`."""
    out: Values = {}
    for part in ("model", "actor", "critic"):
        opt = getattr(state, f"{part}_opt")
        _, unravel = ravel_pytree(getattr(state, part))
        for moment in ("mu", "nu"):
            leaves = paths({part: unravel(getattr(opt, moment))})
            out |= {f"{moment}.{name}": leaf for name, leaf in leaves.items()}
    return out


def convert(folder: Path, name: str) -> None:
    """Write one case of a published folder in our own format."""
    case = read_case(folder / f"{name}_config.json")

    def read(what: str) -> dict[str, np.ndarray]:
        with np.load(folder / f"{name}_{what}.npz") as stored:
            return {key: stored[key] for key in stored.files}

    params, train = read("params"), read("train")
    out: Values = {f"variable/{our_name(key)}": value for key, value in params.items() if our_name(key)}
    out |= read("batches")
    theirs = read("forward")
    out |= {f"forward/{ours}": theirs[key] for key, ours in FORWARD.items() if ours != "open_loop/deter"}
    theirs = read("wmloss")
    for method in ("off", "on"):
        for key, value in below(theirs, f"{method}/").items():
            if key.startswith("loss/") or key == "total":
                out[f"losses_{method}/{key}"] = value
            elif key.startswith("grad/"):
                out[f"losses_{method}/gradient/{our_name(key.removeprefix('grad/'))}"] = digest(value)
    theirs = read("behavior")
    out |= {f"behavior/{ours}": theirs[key] for key, ours in BEHAVIOR.items()}
    for part in ("actor", "critic"):
        for key, value in below(theirs, f"{part}/grad/").items():
            out[f"behavior/gradient/{our_name(key)}"] = digest(value)
    for method in ("off", "on"):
        for key, value in below(train, f"{method}/step3/var/").items():
            if our_name(key) and value.dtype.kind == "f":
                start = params[key].astype(np.float64)
                out[f"change/{method}/{our_name(key)}"] = digest(value.astype(np.float64) - start)
        for key, value in below(train, f"{method}/step3/adam/").items():
            _, moment, variable = key.split("/", 2) if key.count("/") > 1 else ("", "", "")
            if our_name(variable):
                out[f"moments/{method}/{moment}.{our_name(variable)}"] = digest(value)
    digests = [key for key, value in out.items() if key.startswith(("change/", "moments/")) or "/gradient/" in key]
    about = {
        "config": json.loads(case.config.model_dump_json()), "discrete": isinstance(case.spec.action, DiscreteAction),
        "actions": case.spec.action.size, "obs": {k: [list(v.shape), v.dtype] for k, v in case.spec.obs.items()},
        "digests": digests,
    }  # fmt: skip
    out["digests"] = np.stack([out.pop(key) for key in digests])
    STORE.mkdir(exist_ok=True)
    np.savez_compressed(STORE / f"{name}.npz", about=np.array(json.dumps(about)), **out)


if __name__ == "__main__":
    for each in CASES:
        convert(Path(sys.argv[1]), each)
