"""`units.npz` of a golden agent folder: functions without sampling, one by one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agent.contract.schema import Adam, Config, RetNorm
from agent.method import behavior
from agent.method.behavior import ContinuousActor, DiscreteActor, ReturnScale
from agent.method.rssm import GRU, clip_action
from agent.method.world_model import scaled
from agent.nn import optim
from agent.nn.convolution import ConvForm
from agent.nn.distributions import (
    Bernoulli,
    Normal,
    OneHot,
    TwoHot,
    squared_error,
    symexp,
    symlog,
    symlog_squared_error,
    two_hot,
    two_hot_bins,
)
from agent.nn.layers import MLP, Conv, ConvTranspose, Dense, Linear, Norm
from agent.weighting.base import weighted
from tests.golden.agent_case import FORWARD, GRADIENT, below, entropy_bounds, read
from tests.golden.convert import Arrays, Determined
from tests.golden.report import FileReport

KEY = jax.random.key(0)
Values = dict[str, Any]


def put(module: Any, arrays: Arrays, prefix: str = "") -> Any:
    """Return the module with the leaves named `prefix` + path replaced."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(module)
    new = []
    for path, leaf in leaves:
        name = prefix + "/".join(k.name for k in path)
        new.append(jnp.asarray(arrays[name]) if name in arrays else leaf)
    return jax.tree.unflatten(structure, new)


def vjp(function: Callable[[jax.Array], jax.Array], x: Any, weight: Any = None) -> jax.Array:
    """Return the gradient of sum(function(x)·weight)."""
    return jax.grad(lambda x: (function(x) * (1.0 if weight is None else weight)).sum())(jnp.asarray(x))


def symlog_(a: Arrays) -> Values:
    return {"y": symlog(jnp.asarray(a["x"]))}


def symexp_(a: Arrays) -> Values:
    return {"y": symexp(jnp.asarray(a["x"]))}


def disc(a: Arrays) -> Values:
    dist, target = TwoHot(jnp.asarray(a["logits"])), jnp.asarray(a["target"])
    return {
        "bins": dist.bins, "twohot": two_hot(symlog(target), dist.bins), "log_prob": dist.log_prob(target),
        "mean": dist.mean(), "mode": dist.mean(),
        "grad_logits": vjp(lambda logits: TwoHot(logits).log_prob(target), a["logits"]),
    }  # fmt: skip


def disc_ident(a: Arrays) -> Values:
    dist, target = TwoHot(jnp.asarray(a["logits"])), jnp.asarray(a["target"])
    return {
        "twohot": two_hot(target, two_hot_bins(a["logits"].shape[-1])),
        "log_prob": dist.log_prob_in_bins(target),
        "mean": dist.mean_in_bins(),
    }


def mse(a: Arrays) -> Values:
    return {"log_prob": -squared_error(jnp.asarray(a["mode"]), jnp.asarray(a["value"]), a["value"].ndim - 2)}


def symlog_mse(a: Arrays) -> Values:
    mode = jnp.asarray(a["mode"])
    return {"log_prob": -symlog_squared_error(mode, jnp.asarray(a["value"])), "mean": symexp(mode)}


def bernoulli(a: Arrays) -> Values:
    dist = Bernoulli(jnp.asarray(a["logit"]))
    return {"mean": dist.mean(), "mode": dist.mode(), "log_prob": dist.log_prob(jnp.asarray(a["target"])),
            "entropy": dist.entropy()}  # fmt: skip


def onehot(a: Arrays) -> Values:
    share, raw, other = float(a["unimix"]), jnp.asarray(a["raw"]), jnp.asarray(a["raw2"])
    value, weight = jnp.asarray(a["value"]), a["weight"]

    def dist(raw: jax.Array) -> OneHot:
        return OneHot.unimix(raw, share)

    left, right = dist(raw), dist(other)
    noise, sampler = jnp.zeros(raw.shape), Determined()
    return {
        "logits": left.logits, "probs": left.probs, "mode": left.mode(), "log_prob": left.log_prob(value),
        "log_prob_sum": left.log_prob(value).sum(-1), "entropy_sum": left.entropy().sum(-1),
        "kl_sum": left.kl(right).sum(-1), "kl_grad_lhs": vjp(lambda raw: dist(raw).kl(right), raw),
        "kl_grad_rhs": vjp(lambda raw: left.kl(dist(raw)), other),
        "st_grad": vjp(lambda raw: dist(raw).sample(noise, sampler), raw, weight),
    }  # fmt: skip


def normal(a: Arrays) -> Values:
    inputs, outputs = a["d/out/kernel"].shape
    actor = ContinuousActor(
        MLP(inputs, inputs, 0, key=KEY), Linear(inputs, outputs, key=KEY), Linear(inputs, outputs, key=KEY),
        float(a["minstd"]), float(a["maxstd"]),
    )  # fmt: skip
    actor = put(actor, a, "d/")
    policy: Normal = actor(jnp.asarray(a["x"]))
    low, high = entropy_bounds(actor)
    return {"mean": policy.mean, "std": policy.std, "entropy": policy.entropy(), "minent": low, "maxent": high,
            "log_prob": policy.log_prob(jnp.asarray(a["action"]))}  # fmt: skip


def categorical(a: Arrays) -> Values:
    inputs, outputs = a["e/out/kernel"].shape
    actor = DiscreteActor(MLP(inputs, inputs, 0, key=KEY), Linear(inputs, outputs, key=KEY), Config().actor.unimix)
    actor = put(actor, a, "e/")
    policy = actor(jnp.asarray(a["x"]))
    low, high = entropy_bounds(actor)
    return {"logits": policy.logits, "entropy": policy.entropy(), "minent": low, "maxent": high,
            "log_prob": policy.log_prob(jnp.asarray(a["action"]))}  # fmt: skip


def linear(a: Arrays) -> Values:
    inputs, outputs = a["l/kernel"].shape
    layer = Dense(inputs, outputs, key=KEY)
    return {"y": put(layer, a, "l/")(jnp.asarray(a["x"]))}


def layernorm(a: Arrays) -> Values:
    return {"y": put(Norm(a["scale"].size), a)(jnp.asarray(a["x"]))}


def conv(a: Arrays, form: ConvForm) -> Values:
    inputs, outputs = a["c/kernel"].shape[2:]
    layer = Conv(inputs, outputs, form, key=KEY)
    return {"y": put(layer, a, "c/")(jnp.asarray(a["x"]))}


def conv_transpose(a: Arrays, form: ConvForm) -> Values:
    outputs, inputs = a["c/kernel"].shape[2:]
    layer = ConvTranspose(inputs, outputs, form, last=True, key=KEY)
    return {"y": put(layer, a, "c/")(jnp.asarray(a["x"]))}


def gru(a: Arrays) -> Values:
    deter, inputs = a["deter"].shape[-1], a["x"].shape[-1]
    cell = put(GRU(deter, inputs, key=KEY), a, "r/gru/")
    return {"y": cell(jnp.asarray(a["deter"]), jnp.asarray(a["x"]))}


def action_clip(a: Arrays) -> Values:
    return {"y": clip_action(jnp.asarray(a["x"]), float(a["clip"]))}


def harmonizer(a: Arrays) -> Values:
    loss, out = jnp.asarray(a["loss"]), {}
    for i in {name.split("/")[0] for name in a if "/" in name}:
        s = jnp.asarray(a[f"{i}/s"])
        for what, term in (("with_reg", jax.nn.softplus), ("no_reg", None)):
            out[f"{i}/{what}"] = weighted(loss, s, term)
            share = 1 / loss.size  # theirs are gradients of the mean
            out[f"{i}/grad_loss_{what}"] = vjp(lambda x, s=s, term=term: weighted(x, s, term), loss, share)
            out[f"{i}/grad_s_{what}"] = vjp(lambda s, term=term: weighted(loss, s, term), s, share)
    return out


def moments(a: Arrays) -> Values:
    decay, low, high, top = (float(x) for x in a["config"])
    settings = RetNorm(decay=round(decay, 6), perclo=low, perchi=high, max=top)
    scale, out = ReturnScale(jnp.zeros(()), jnp.zeros(())), {}
    for i in range(len([name for name in a if name.endswith("/x")])):
        x = jnp.asarray(a[f"{i}/x"])
        scale = behavior.update_scale(scale, x, settings)
        pair = behavior.percentiles(x, low, high)
        out |= {f"{i}/low": scale.low, f"{i}/high": scale.high, f"{i}/offset": scale.low,
                f"{i}/invscale": scale.scale(settings), f"{i}/perc_lo": pair[0], f"{i}/perc_hi": pair[1]}  # fmt: skip
    return out


def returns(a: Arrays) -> Values:
    horizon, lambda_ = (float(x) for x in a["config"])
    reward, value, cont = (jnp.asarray(a[name]) for name in ("rew", "value", "cont"))
    discount = 1 - 1 / horizon
    out = behavior.lambda_returns(reward, value, cont, discount, round(lambda_, 6))
    return {"ret": out, "weight": behavior.trajectory_weight(cont, horizon), "base": value[:-1]}


def opt(a: Arrays) -> Values:
    out: Values = {}
    for name in {key.split("/")[0] for key in a}:
        b = below(a, f"{name}/")
        lr, eps, clip = (float(x) for x in b["config"])
        params = {key: jnp.asarray(b[f"init/toy/{key}"]) for key in ("b", "w")}
        state = optim.init(params)
        for i in range(len([key for key in b if key.endswith("/count")])):
            grads = {key: jnp.asarray(b[f"{i}/grad/{key}"]) for key in params}
            params, state, norm = optim.update(params, grads, state, Adam(lr=lr, eps=eps, clip=clip))
            out |= {f"{name}/{i}/count": state.count, f"{name}/{i}/grad_norm": norm}
            size = params["b"].size
            for moment in ("mu", "nu"):
                flat = getattr(state, moment)
                out[f"{name}/{i}/{moment}/toy/b"] = flat[:size]
                out[f"{name}/{i}/{moment}/toy/w"] = flat[size:].reshape(params["w"].shape)
            out |= {f"{name}/{i}/param/{key}": value for key, value in params.items()}
    return out


def slow(a: Arrays) -> Values:
    out: Values = {}
    for name in {key.split("/")[0] for key in a}:
        b = below(a, f"{name}/")
        fraction, period = float(b["config"][0]), int(b["config"][1])
        config = Config(slow_critic_fraction=round(fraction, 6), slow_critic_update=period)
        value = jnp.asarray(b["init_slow"])
        for i in range(len([key for key in b if key.endswith("/net")])):
            value = behavior.update_slow(value, jnp.asarray(b[f"{i}/net"]), jnp.int32(i), config)
            out[f"{name}/{i}/slow"] = value
    return out


def preprocess(a: Arrays) -> Values:
    return {"image_out": scaled(jnp.asarray(a["image_in"]))}


# What a group is fed with; every other array of it is a result that ours must have.
INPUTS: dict[str, tuple[str, ...]] = {
    "symlog": ("x",), "symexp": ("x",), "disc": ("logits", "target"), "disc_ident": ("logits", "target"),
    "mse": ("value", "mode"), "symlog_mse": ("value", "mode"), "bernoulli": ("logit", "target"),
    "onehot": ("unimix", "raw", "raw2", "value", "weight"), "normal": ("x", "action", "minstd", "maxstd", "d/"),
    "categorical": ("x", "action", "e/"), "linear": ("x", "l/"), "layernorm": ("x", "scale", "bias"),
    "conv4": ("x", "c/"), "conv8": ("x", "c/"), "convT4": ("x", "c/"), "convT8": ("x", "c/"),
    "gru": ("x", "deter", "r/"), "action_clip": ("x", "clip"), "harmonizer": ("loss", "s"), "moments": ("x", "config"),
    "returns": ("config", "rew", "value", "cont"), "opt": ("config", "init", "grad"), "slow": ("config", "init_slow",
    "net"), "preprocess": ("image_in",),
}  # fmt: skip

GROUPS: dict[str, list[Callable[[Arrays], Values]]] = {
    "symlog": [symlog_], "symexp": [symexp_], "disc": [disc], "disc_ident": [disc_ident], "mse": [mse],
    "symlog_mse": [symlog_mse], "bernoulli": [bernoulli], "onehot": [onehot], "normal": [normal],
    "categorical": [categorical], "linear": [linear], "layernorm": [layernorm], "gru": [gru],
    "action_clip": [action_clip], "harmonizer": [harmonizer], "moments": [moments], "returns": [returns],
    "opt": [opt], "slow": [slow], "preprocess": [preprocess],
} | {
    name: [lambda a: conv(a, "lax"), lambda a: conv(a, "matmul")] for name in ("conv4", "conv8")
} | {
    name: [lambda a: conv_transpose(a, "lax"), lambda a: conv_transpose(a, "matmul")] for name in ("convT4", "convT8")
}  # fmt: skip


def is_input(group: str, name: str) -> bool:
    """Whether an array of a group is given to the function rather than computed by it."""
    parts = name.split("/")
    return any(name.startswith(key) if key.endswith("/") else key in parts for key in INPUTS[group])


def check_units(path: Path) -> FileReport:
    """Return the report of `units.npz`: every result of every group, forward or gradient, in each form ours has."""
    report, arrays = FileReport(path.name), read(path)
    for group in sorted({name.split("/")[0] for name in arrays}):
        given = below(arrays, f"{group}/")
        if group not in GROUPS:
            report.missed += [f"{group}/{name}" for name in given]
            continue
        results = [function(given) for function in GROUPS[group]]
        for name, array in given.items():
            full = f"{group}/{name}"
            if name not in results[0] and is_input(group, name):
                report.equal(full, array, np.asarray(jnp.asarray(array)))
            elif name not in results[0]:
                report.missed.append(full)
            elif array.dtype.kind == "i":
                report.equal(full, array, np.asarray(results[0][name]))
            else:
                rtol = GRADIENT if "grad" in name or "/mu/" in name or "/nu/" in name else FORWARD
                report.close(full, array, np.asarray(results[0][name]), rtol)
                for other in results[1:]:
                    report.close(full, array, np.asarray(other[name]), rtol)
                    report.compared -= 1
    report.expect(len(arrays))
    return report
