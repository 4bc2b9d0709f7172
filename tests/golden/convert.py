"""From a golden folder's configuration and variable names to ours."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from pydantic import BaseModel

from agent.contract.config import Config
from agent.method.learner import TrainState, init_train_state
from agent.nn.distributions import Sampler
from agent.spec import ArraySpec, BoxAction, DiscreteAction, EnvSpec

Tree = TypeVar("Tree")
Arrays = Mapping[str, np.ndarray]

# Settings of the published code that ours has no choice about: any other value cannot be checked, and is said.
FIXED: dict[str, Any] = {
    "rssm.act": "silu", "rssm.norm": "layer", "rssm.initial": "learned", "rssm.winit": "normal", "rssm.fan": "avg",
    "encoder.act": "silu", "encoder.norm": "layer", "encoder.cnn": "resnet", "encoder.cnn_blocks": 0,
    "encoder.resize": "stride", "encoder.winit": "normal", "encoder.fan": "avg",
    "decoder.act": "silu", "decoder.norm": "layer", "decoder.cnn": "resnet", "decoder.cnn_blocks": 0,
    "decoder.resize": "stride", "decoder.winit": "normal", "decoder.fan": "avg", "decoder.image_dist": "mse",
    "decoder.vector_dist": "symlog_mse", "decoder.inputs": ["deter", "stoch"], "decoder.cnn_sigmoid": False,
    "reward_head.dist": "symlog_disc", "cont_head.dist": "binary", "critic.dist": "symlog_disc",
    "dyn_loss.impl": "kl", "rep_loss.impl": "kl", "actor_dist_disc": "onehot", "actor_dist_cont": "normal",
    "actor_grad_disc": "reinforce", "actor_grad_cont": "backprop", "critic_type": "vfunction",
    "critic_slowreg": "logprob", "retnorm.impl": "perc_ema", "task_behavior": "Greedy", "expl_behavior": "None",
} | {
    f"{head}.{key}": value
    for head in ("reward_head", "cont_head", "actor", "critic")
    for key, value in {"act": "silu", "norm": "layer", "outnorm": False, "winit": "normal", "fan": "avg",
                       "inputs": ["deter", "stoch"]}.items()
} | {
    f"{opt}.{key}": value
    for opt in ("model_opt", "actor_opt", "critic_opt")
    for key, value in {"opt": "adam", "wd": 0.0, "warmup": 0, "lateclip": 0.0}.items()
}  # fmt: skip

KEY = jax.random.key(0)

# Sections of our configuration that no golden folder speaks of.
OURS_ALONE = ("task", "seed", "env", "run", "replay", "jax")


@dataclass(frozen=True)
class Case:
    """One case of a folder: its configuration and observation and action spaces, in our terms."""

    name: str
    config: Config
    spec: EnvSpec
    grad_heads: tuple[str, ...]

    def initial_state(self, arrays: Arrays, *, harmony: bool, config: Config | None = None) -> TrainState:
        """Return a run's state holding the folder's variables (Adam moments zero)."""
        shapes = init_train_state(config or self.config, self.spec, key=KEY)
        state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return load(state._replace(method=jnp.asarray(int(harmony))), arrays)


@dataclass(frozen=True)
class Determined(Sampler):
    """The golden rule of drawing: the mode of categoricals, mean + `eps` deviations of normals."""

    eps: Any = 0.0

    def categorical_noise(self, key: Array, shape: tuple[int, ...]) -> Array:
        """No noise."""
        return jnp.zeros(shape)

    def categorical(self, probs: Array, noise: Array) -> Array:
        """The most likely class."""
        return jax.nn.one_hot(jnp.argmax(probs, -1), probs.shape[-1], dtype=jnp.float32)

    def normal_noise(self, key: Array, shape: tuple[int, ...]) -> Array:
        """`eps` everywhere."""
        return jnp.full(shape, self.eps)


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def read_case(path: Path) -> Case:
    """Return the case described by a `NAME_config.json`.

    Raises: ValueError for a setting of the published code that ours does not have.
    """
    described = json.loads(path.read_text(encoding="utf-8"))
    theirs = described["reference_config"]
    for key, value in flatten(theirs).items():
        if key in FIXED and value != FIXED[key]:
            raise ValueError(f"{path.name}: {key} is {value!r}, ours has only {FIXED[key]!r}")
    config = Config.model_validate(_settings(Config, theirs))
    action = DiscreteAction(described["actions"]) if described["discrete"] else BoxAction(described["actions"])
    shapes = {"image": described["image"]} if described.get("image") else {}
    shapes |= {name: [size] if isinstance(size, int) else size for name, size in described["vectors"].items()}
    obs = {
        name: ArraySpec(tuple(shape), "uint8" if name == "image" else "float32")
        for name, shape in shapes.items()
        if re.search(theirs["encoder"]["cnn_keys" if name == "image" else "mlp_keys"], name)
    }
    return Case(described["case"], config, EnvSpec(obs, action), tuple(described["grad_heads"]))


def _settings(model: type[BaseModel], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what our schema knows of their settings, numbers widened to the schema's types."""
    out: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if name not in theirs or (model is Config and name in OURS_ALONE):
            continue
        kind, value = field.annotation, theirs[name]
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            out[name] = _settings(kind, value)
        elif isinstance(value, list):
            out[name] = tuple(value)
        elif kind is float:
            out[name] = float(value)
        else:
            out[name] = value
    return out


# Their variable names to ours: patterns tried in order.
NAMES: tuple[tuple[str, str], ...] = (
    (r"agent/wm/model_opt/step/value", "model_opt.count"),
    (r"agent/task_behavior/ac/actor_opt/step/value", "actor_opt.count"),
    (r"agent/task_behavior/critic/critic_opt/step/value", "critic_opt.count"),
    (r"agent/task_behavior/critic/updates/value", "updates"),
    (r"agent/task_behavior/ac/retnorm_extr/(low|high)/value", r"scale.\1"),
    (r"agent/wm/har_s1/harmony_s", "model.scalars.reward"),
    (r"agent/wm/har_s2/harmony_s", "model.scalars.image"),
    (r"agent/wm/har_s3/harmony_s", "model.scalars.dyn"),
    (r"agent/wm/rssm/initial", "model.rssm.initial_deter"),
    (r"agent/wm/enc/cnn/s(\d+)res/(.+)", r"model.encoder.convs.\1.\2"),
    (r"agent/wm/enc/mlp/h(\d+)/(.+)", r"model.encoder.mlp.layers.\1.\2"),
    (r"agent/wm/dec/cnn/in/(.+)", r"model.decoder.image_in.\1"),
    (r"agent/wm/dec/cnn/s(\d+)res/(.+)", r"model.decoder.convs.\1.\2"),
    (r"agent/wm/dec/mlp/h(\d+)/(.+)", r"model.decoder.mlp.layers.\1.\2"),
    (r"agent/wm/dec/mlp/dist_(\w+)/out/(.+)", r"model.decoder.vectors.\1.\2"),
    (r"agent/wm/rew/h(\d+)/(.+)", r"model.reward.mlp.layers.\1.\2"),
    (r"agent/wm/rew/dist_out/out/(.+)", r"model.reward.out.\1"),
    (r"agent/wm/cont/h(\d+)/(.+)", r"model.cont.mlp.layers.\1.\2"),
    (r"agent/wm/cont/dist_out/out/(.+)", r"model.cont.out.\1"),
    (r"agent/wm/rssm/(\w+)/(.+)", r"model.rssm.\1.\2"),
    (r"agent/task_behavior/ac/actor/h(\d+)/(.+)", r"actor.mlp.layers.\1.\2"),
    (r"agent/task_behavior/ac/actor/dist_out/(out|std)/(.+)", r"actor.\1.\2"),
    (r"agent/task_behavior/critic/net/h(\d+)/(.+)", r"critic.mlp.layers.\1.\2"),
    (r"agent/task_behavior/critic/net/dist_out/out/(.+)", r"critic.out.\1"),
    (r"agent/task_behavior/critic/slow/h(\d+)/(.+)", r"slow.mlp.layers.\1.\2"),
    (r"agent/task_behavior/critic/slow/dist_out/out/(.+)", r"slow.out.\1"),
)

# A number that the published code multiplies plain losses by and never trains; ours has none.
IDENTITY = "agent/wm/identity/identity"


def our_name(theirs: str) -> str | None:
    """Return the dotted path in TrainState of one of their variables, or None where ours has none."""
    for pattern, path in NAMES:
        match = re.fullmatch(pattern, theirs)
        if match:
            return match.expand(path).replace("/", ".")
    return None


def paths(tree: Any) -> dict[str, Any]:
    """Return the leaves of a pytree by dotted path."""

    def join(path: tuple[Any, ...]) -> str:
        return ".".join(str(getattr(k, "name", getattr(k, "idx", getattr(k, "key", k)))) for k in path)

    return {join(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def load(tree: Tree, arrays: Arrays) -> Tree:
    """Return the tree with every leaf that has one of their names replaced by their array.

    Raises: ValueError for a name or a shape that does not fit.
    """
    ours = paths(tree)
    new = dict(ours)
    for name, array in arrays.items():
        path = our_name(name)
        if name == IDENTITY:
            continue
        if path not in ours:
            raise ValueError(f"{name}: no such variable in ours ({path or 'unknown name'})")
        if tuple(ours[path].shape) != array.shape:
            raise ValueError(f"{name}: shape {list(array.shape)}, ours {list(ours[path].shape)}")
        new[path] = jnp.asarray(array)
    return jax.tree.unflatten(jax.tree.structure(tree), list(new.values()))
