"""One run's learning state, the pure update of it, and the policy; `run/programs.py` maps them over a pack."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped, UInt32

from agent.contract.config import Config
from agent.method import behavior
from agent.method.behavior import Actor, ActorOutputs, CriticOutputs, DiscreteActor, ReturnScale, Trajectory, make_actor
from agent.method.metrics import train_metrics
from agent.method.rssm import RSSM, Latent
from agent.method.world_model import Batch, Carry, Encoder, ModelOutputs, TwoHotHead, WorldModel, world_model_loss
from agent.nn import optim
from agent.nn.convolution import ConvForm
from agent.nn.distributions import DRAW, Sampler
from agent.nn.layers import in_compute_dtype
from agent.spec import EnvSpec
from agent.weighting import base as weighting
from agent.weighting.base import Weighting


class TrainState(NamedTuple):
    """Everything an update reads and writes of one run. Every leaf is a numeric array.

    `updates` counts updates of this run; `method` is the place of its method in the program; `key` is the
    run's key, from which update n draws with fold_in(key, n), so that numbers do not depend on the pack.
    """

    model: WorldModel
    actor: Actor
    critic: TwoHotHead
    slow: TwoHotHead
    model_opt: optim.AdamState
    actor_opt: optim.AdamState
    critic_opt: optim.AdamState
    scale: ReturnScale
    updates: Int[Array, "*pack"]
    method: Int[Array, "*pack"]
    key: UInt32[Array, "*pack 2"]


class PolicyParams(NamedTuple):
    """What acting needs of a run."""

    encoder: Encoder
    rssm: RSSM
    actor: Actor


class Update(NamedTuple):
    """What an update returns: the new state and carry, whether it stayed finite, and metrics (empty unless asked)."""

    state: TrainState
    carry: Carry
    finite: Bool[Array, "*pack"]
    metrics: dict[str, Float[Array, "*pack"]]


def conv_form(config: Config) -> ConvForm:
    """Return how convolutions are computed; `auto` is by matrix products, on a CPU of a few images at a time."""
    if config.jax.conv != "auto":
        return config.jax.conv
    return "chunks" if jax.default_backend() == "cpu" else "matmul"


def compute_dtype(config: Config) -> Any:
    """Return the type in which kernels multiply."""
    return jnp.dtype(config.jax.precision)


def init_train_state(config: Config, spec: EnvSpec, *, key: PRNGKeyArray, method: int | None = None) -> TrainState:
    """Return a run's state before its first update; `method` is its place in the program, by default in its own."""
    model_key, actor_key, critic_key, slow_key, run_key = jax.random.split(key, 5)
    model = WorldModel(config, spec, conv_form(config), key=model_key)
    size, head = model.rssm.feature_size, config.critic
    actor = make_actor(config, size, spec.action, key=actor_key)
    critic, slow = (
        TwoHotHead(size, head.layers, head.units, head.bins, head.outscale, key=k) for k in (critic_key, slow_key)
    )
    opts = (optim.init(model), optim.init(actor), optim.init(critic))
    place = weighting.number_of(config.method, weighting.together([config.method])) if method is None else method
    return TrainState(
        model, actor, critic, slow, *opts, ReturnScale(jnp.zeros(()), jnp.zeros(())), jnp.zeros((), jnp.int32),
        jnp.asarray(place, jnp.int32), jax.random.key_data(run_key),
    )  # fmt: skip


def initial_carry(state: TrainState, batch: int) -> Carry:
    """Return the carry before the first update (or a policy's first step) of one run: the learned initial state."""
    action = state.actor.out.bias.shape[-1]
    return Carry(state.model.rssm.initial(batch), jnp.zeros((batch, action)))


def train_step(
    state: TrainState,
    batch: Batch,
    carry: Carry,
    *,
    config: Config,
    weightings: Sequence[Weighting],
    sampler: Sampler = DRAW,
    metrics: bool = False,
) -> Update:
    """Return one update of one run: world model, then actor, then critic, then slow critic.

    `batch` holds uint8 images and float32 vectors, `action`, `reward`, `is_first`, `is_last`, `is_terminal`, all
    [batch, time, ...]. Imagination starts from the posteriors computed before the model's step, in the updated model;
    the critic's targets use the critic before its own step.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.updates)
    model_key, imagine_key = jax.random.split(key)
    (_, model_out), grads = model_gradient(
        state, batch, carry, config=config, weightings=weightings, sampler=sampler, key=model_key
    )
    model, model_opt, model_norm = optim.update(state.model, grads, state.model_opt, config.model_opt)

    start, is_terminal = imagination_start(model_out.post, batch)
    updated = state._replace(model=model)
    (actor_value, actor_out), grads = actor_gradient(
        updated, start, is_terminal, config=config, sampler=sampler, key=imagine_key
    )
    actor, actor_opt, actor_norm = optim.update(state.actor, grads, state.actor_opt, config.actor_opt)

    (critic_value, critic_out), grads = critic_gradient(
        state, actor_out.trajectory, actor_out.scores.returns, config=config, products=actor_out.scores.products
    )
    critic, critic_opt, critic_norm = optim.update(state.critic, grads, state.critic_opt, config.critic_opt)
    slow = behavior.update_slow(state.slow, critic, state.updates, config)

    new = state._replace(
        model=model, actor=actor, critic=critic, slow=slow, model_opt=model_opt, actor_opt=actor_opt,
        critic_opt=critic_opt, scale=actor_out.scale, updates=state.updates + 1,
    )  # fmt: skip
    next_carry = Carry(jax.tree.map(lambda x: x[:, -1], jax.lax.stop_gradient(model_out.post)), batch["action"][:, -1])
    norms = {"model": model_norm, "actor": actor_norm, "critic": critic_norm}
    finite = jnp.isfinite(model_norm + actor_norm + critic_norm)
    losses = {"actor": actor_value, "critic": critic_value}
    report = {}
    if metrics:
        weights = weighting.metrics(state.model.scalars, state.method, weightings)
        report = train_metrics(weights, batch, model_out, actor_out, critic_out, losses, norms)
    return Update(new, next_carry, finite, report)


def model_gradient(
    state: TrainState,
    batch: Batch,
    carry: Carry,
    *,
    config: Config,
    weightings: Sequence[Weighting],
    sampler: Sampler,
    key: PRNGKeyArray,
) -> tuple[tuple[Float[Array, ""], ModelOutputs], WorldModel]:
    """Return the world model's loss with what it computed, and the loss's gradient."""

    def loss(model: WorldModel) -> tuple[Float[Array, ""], ModelOutputs]:
        model = in_compute_dtype(model, compute_dtype(config))
        return world_model_loss(model, batch, carry, state.method, weightings, config, sampler=sampler, key=key)

    return jax.value_and_grad(loss, has_aux=True)(state.model)


def imagination_start(post: Latent, batch: Batch) -> tuple[Latent, Float[Array, " starts"]]:
    """Return every posterior state of the batch as one row of starts, detached, and whether its episode ended there."""
    start = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.lax.stop_gradient(post))
    return start, batch["is_terminal"].astype(jnp.float32).reshape(-1)


def actor_gradient(
    state: TrainState,
    start: Latent,
    is_terminal: Float[Array, " starts"],
    *,
    config: Config,
    sampler: Sampler,
    key: PRNGKeyArray,
) -> tuple[tuple[Float[Array, ""], ActorOutputs], Actor]:
    """Return the actor's loss in imagination with what it computed, and the loss's gradient."""
    dtype = compute_dtype(config)
    model, critic = in_compute_dtype((state.model, state.critic), dtype)

    def imagined(actor: Actor) -> Trajectory:
        return behavior.imagine(model, actor, start, is_terminal, config, sampler=sampler, key=key)

    # Discrete actions learn by REINFORCE: nothing is differentiated through imagination, so it stays outside.
    inside = config.jax.scan == "plain" or not isinstance(state.actor, DiscreteActor)
    given = None if inside else imagined(in_compute_dtype(state.actor, dtype))

    def loss(actor: Actor) -> tuple[Float[Array, ""], ActorOutputs]:
        actor = in_compute_dtype(actor, dtype)
        trajectory = imagined(actor) if given is None else given
        return behavior.actor_loss(actor, trajectory, model, critic, state.scale, config)

    return jax.value_and_grad(loss, has_aux=True)(state.actor)


def critic_gradient(
    state: TrainState,
    trajectory: Trajectory,
    returns: Float[Array, "horizon starts"],
    *,
    config: Config,
    products: Sequence[Float[Array, "time starts _"]] = (),
) -> tuple[tuple[Float[Array, ""], CriticOutputs], TwoHotHead]:
    """Return the critic's loss on a trajectory with what it computed, and the loss's gradient.

    `products`, if any, are those of the critic that `score` kept.
    """

    def loss(critic: TwoHotHead) -> tuple[Float[Array, ""], CriticOutputs]:
        fast, slow = in_compute_dtype((critic, state.slow), compute_dtype(config))
        return behavior.critic_loss(fast, slow, trajectory, returns, config, products)

    return jax.value_and_grad(loss, has_aux=True)(state.critic)


def make_train_step(
    config: Config, *, metrics: bool = False, sampler: Sampler = DRAW, donate: bool = True
) -> Callable[[TrainState, Batch, Carry], Update]:
    """Return the compiled update of one run, for use from Python; `run/programs.py` compiles those of the loop.

    Its methods are the configuration's and the paper's pair. The state and the carry given to it are consumed
    (`donate`).
    """
    weightings = weighting.together([config.method])

    def step(state: TrainState, batch: Batch, carry: Carry) -> Update:
        return train_step(state, batch, carry, config=config, weightings=weightings, sampler=sampler, metrics=metrics)

    return jax.jit(step, donate_argnums=(0, 2) if donate else ())


def policy_params(state: TrainState) -> PolicyParams:
    """Return the part of the state that acting needs."""
    return PolicyParams(state.model.encoder, state.model.rssm, state.actor)


def policy(
    params: PolicyParams,
    obs: Mapping[str, Shaped[Array, "envs ..."]],
    carry: Carry,
    key: PRNGKeyArray,
    *,
    config: Config,
    sampler: Sampler = DRAW,
) -> tuple[Float[Array, "envs action"], Carry]:
    """Return actions for a batch of environments and the carry for their next step; actions and states are drawn.

    `obs` holds the observations as stored and `is_first`, which begins a row anew. Discrete actions are one-hot;
    continuous ones may lie beyond ±1. Training and evaluation act alike.
    """
    params = in_compute_dtype(params, compute_dtype(config))
    post_key, action_key = jax.random.split(key)
    is_first = obs["is_first"]
    noise = sampler.categorical_noise(post_key, (len(is_first), config.rssm.stoch, config.rssm.classes))
    embed = params.encoder(obs)
    latent = params.rssm.obs_step(carry.latent, carry.action, embed, is_first, noise, sampler)
    noise = params.actor.noise(action_key, (len(is_first),), sampler)
    action = params.actor.act(latent.features, noise, sampler)
    return action, Carry(latent, action)


def initial_policy_carry(params: PolicyParams, envs: int) -> Carry:
    """Return the carry of environments that have not acted yet; `is_first` would make the same of any carry."""
    action = params.actor.out.bias.shape[-1]
    return Carry(params.rssm.initial(envs), jnp.zeros((envs, action)))
