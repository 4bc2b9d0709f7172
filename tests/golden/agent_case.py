"""One case of a golden agent folder against the production learner: forward values, losses, gradients, updates."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from agent.method import behavior, learner
from agent.method.learner import TrainState
from agent.method.metrics import train_metrics
from agent.method.rssm import Latent
from agent.method.world_model import Carry
from agent.nn.distributions import OneHot, symexp
from agent.nn.optim import AdamState
from agent.weighting.base import learned_weights, together
from tests.golden import metrics
from tests.golden.convert import IDENTITY, Arrays, Case, Determined, our_name, paths, read_case
from tests.golden.report import FileReport

FORWARD = 1e-5
GRADIENT = 1e-4
VARIABLE = 1e-4
# Adam turns the rounding of near-zero gradients into steps of up to the learning rate, on few entries.
STRAY_SHARE = 0.005

KEY = jax.random.key(0)
PAIR, LEARNED = together(()), ("reward", "image", "dyn")
Values = dict[str, Any]


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file."""
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def below(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose name begins with `prefix`, which is cut off."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def latent_of(arrays: Arrays, prefix: str) -> Latent:
    """Return the state stored below a prefix."""
    return Latent(*(jnp.asarray(arrays[f"{prefix}/{key}"]) for key in Latent._fields))


def entropy_bounds(actor: behavior.Actor) -> tuple[float, float]:
    """Return the smallest and the largest entropy of an action."""
    size = actor.out.bias.shape[-1]
    if isinstance(actor, behavior.DiscreteActor):
        return 0.0, math.log(size)
    unit = 0.5 * math.log(2 * math.pi * math.e)
    return size * (unit + math.log(actor.minstd)), size * (unit + math.log(actor.maxstd))


def named(prefix: str, latent: Latent) -> Values:
    """Return a state's arrays under their names."""
    return {f"{prefix}/{key}": value for key, value in latent._asdict().items()}


class CaseCheck:
    """The files of one case; each method returns the report of one file."""

    def __init__(self, folder: Path, case: Case):
        self.folder, self.case = folder, case
        self.params = read(folder / f"{case.name}_params.npz")
        batches = read(folder / f"{case.name}_batches.npz")
        count = len({name.split("/")[0] for name in batches})
        self.batches = [{k: jnp.asarray(v) for k, v in below(batches, f"batch{i}/").items()} for i in range(count)]
        self.state = case.initial_state(self.params, harmony=True)
        # One computation for both methods: a run's method is a number in its state.
        self.gradient = jax.jit(self._model_gradient)
        self.behave = jax.jit(self._behavior)
        self.step = learner.make_train_step(case.config, metrics=True, sampler=Determined(), donate=False)

    def run(self) -> Iterator[FileReport]:
        """Yield the report of every file of the case that is there."""
        checks: dict[str, Callable[[FileReport, Arrays], None]] = {
            "params": self.check_params, "batches": self.check_batches, "forward": self.check_forward,
            "wmloss": self.check_wmloss, "behavior": self.check_behavior, "train": self.check_train,
        }  # fmt: skip
        for what, check in checks.items():
            path = self.folder / f"{self.case.name}_{what}.npz"
            if path.exists():
                report, arrays = FileReport(path.name), read(path)
                check(report, arrays)
                report.expect(len(arrays))
                yield report

    def check_params(self, report: FileReport, arrays: Arrays) -> None:
        """Every variable is one of ours, and every one of ours that updates change is given."""
        ours = paths(self.state)
        for name, array in arrays.items():
            report.equal(name, array, array if name == IDENTITY else ours[str(our_name(name))])
        given = {our_name(name) for name in arrays}
        absent = [p for p in ours if p not in given and not p.endswith((".mu", ".nu")) and p not in ("method", "key")]
        report.failures += [f"{path}: ours has it, the file does not" for path in absent]

    def check_batches(self, report: FileReport, arrays: Arrays) -> None:
        """The arrays the update is fed with, as stored."""
        for name, array in arrays.items():
            batch, key = name.split("/", 1)
            report.equal(name, array, np.asarray(self.batches[int(batch.removeprefix("batch"))][key]))

    def compare(self, report: FileReport, arrays: Arrays, ours: Values, rtol: float, prefix: str = "") -> None:
        """Compare every array below `prefix` with ours of the same name; what ours lacks is a failure."""
        for name, array in below(arrays, prefix).items():
            if name in ours:
                report.close(prefix + name, array, np.asarray(ours[name]), rtol)
            else:
                report.missed.append(f"{prefix}{name}")

    # ---- forward

    def check_forward(self, report: FileReport, arrays: Arrays) -> None:
        """Encoder, RSSM, heads and policy at the initial parameters."""
        for name, array in below(arrays, "in/").items():
            report.equal(f"in/{name}", array, np.asarray(jnp.asarray(array)))
        self.compare(report, arrays, jax.jit(self._forward)(arrays), FORWARD, "out/")
        self.compare(report, arrays, self._policy(), FORWARD, "policy/")
        report.missed += [n for n in arrays if not n.startswith(("in/", "out/", "policy/"))]

    def _forward(self, arrays: Arrays) -> Values:
        model, batch, sampler = self.state.model, self.batches[0], Determined()
        rssm, embed = model.rssm, model.encoder(batch)
        rows = len(batch["is_first"])
        prev, action = latent_of(arrays, "in/prev"), jnp.asarray(arrays["in/action"])
        noise = jnp.zeros((rows, rssm.settings.stoch, rssm.settings.classes))

        def prior_state(deter: jax.Array, prior: OneHot) -> Latent:
            return Latent(deter, prior.logits, prior.mode())

        post = rssm.obs_step(prev, action, embed[:, 0], jnp.asarray(arrays["in/is_first"]), noise, sampler)
        out = {"embed": embed} | named("initial", rssm.initial(rows)) | named("obs_step/post", post)
        out |= named("obs_step/prior", prior_state(post.deter, rssm.prior(post.deter)))
        out |= named("img_step", rssm.img_step(prev, action, noise, sampler))
        imagined, state = [], prev
        for t in range(arrays["in/actions"].shape[1]):
            state = rssm.img_step(state, jnp.asarray(arrays["in/actions"][:, t]), noise, sampler)
            imagined.append(state)
        out |= named("imagine", jax.tree.map(lambda *x: jnp.stack(x, 1), *imagined))
        actions = jnp.concatenate([jnp.zeros_like(batch["action"][:, :1]), batch["action"][:, :-1]], 1)
        start = rssm.initial(rows)
        post, prior = rssm.observe(embed, actions, batch["is_first"], start, sampler=sampler, key=KEY)
        out |= named("observe/post", post) | named("observe/prior", prior_state(post.deter, prior))
        out["kl_raw"] = OneHot(post.logit).kl(prior).sum(-1)
        out["post_entropy"] = OneHot(post.logit).entropy().sum(-1)
        out["prior_entropy"] = prior.entropy().sum(-1)
        return out | self._heads(post)

    def _heads(self, post: Latent) -> Values:
        model, features = self.state.model, post.features
        out: Values = {}
        for name, mean in model.decoder(features).items():
            out[f"dec/{name}/raw"] = mean
            out[f"dec/{name}/mean"] = symexp(mean)
        reward, cont, critic = model.reward(features), model.cont(features), self.state.critic(features)
        out |= {"rew/logits": reward.logits, "rew/mean": reward.mean()}
        out |= {"cont/logit": cont.logit, "cont/prob": cont.mean(), "cont/mode": cont.mode()}
        out |= {"critic/logits": critic.logits, "critic/mean": critic.mean()}
        out["slow/mean"] = self.state.slow(features).mean()
        policy = self.state.actor(features)
        low, high = entropy_bounds(self.state.actor)
        out |= {"actor/entropy": policy.entropy(), "actor/minent": np.float32(low), "actor/maxent": np.float32(high)}
        return out | {f"actor/{name}": value for name, value in policy._asdict().items()}

    def _policy(self) -> Values:
        act = jax.jit(partial(learner.policy, config=self.case.config, sampler=Determined()))
        params, batch = learner.policy_params(self.state), self.batches[0]
        rows, steps = batch["is_first"].shape
        carry, out = learner.initial_policy_carry(params, rows), {}
        for t in range(steps):
            obs = {name: batch[name][:, t] for name in (*self.case.spec.obs, "is_first")}
            action, carry = act(params, obs, carry, KEY)
            out[f"{t}/action"] = action
            out[f"{t}/log_entropy"] = params.actor(carry.latent.features).entropy()
            out |= named(str(t), carry.latent)
        return out

    # ---- losses and gradients

    def check_wmloss(self, report: FileReport, arrays: Arrays) -> None:
        """World-model losses and their gradients, without and with harmony."""
        for method in ("off", "on"):
            values, grads = self._wmloss(method == "on")
            theirs = below(arrays, f"{method}/")
            for name, array in theirs.items():
                if name.startswith("grad/"):
                    self._gradient(report, f"{method}/{name}", array, grads)
                elif name in values:
                    rtol = GRADIENT if name == "grad_norm" else FORWARD
                    report.close(f"{method}/{name}", array, np.asarray(values[name]), rtol)
                else:
                    report.missed.append(f"{method}/{name}")
        report.missed += [name for name in arrays if not name.startswith(("off/", "on/"))]

    def _model_gradient(self, state: TrainState, batch: Values, carry: Carry) -> Any:
        return learner.model_gradient(
            state, batch, carry, config=self.case.config, weightings=PAIR, sampler=Determined(), key=KEY
        )

    def _wmloss(self, harmony: bool) -> tuple[Values, Values]:
        state = self.case.initial_state(self.params, harmony=harmony)
        batch = self.batches[0]
        carry = learner.initial_carry(state, len(batch["reward"]))
        (total, model_out), grads = self.gradient(state, batch, carry)
        values: Values = {f"loss/{name}": loss for name, loss in model_out.losses.items()}
        values |= {"total": total, "model_loss_mean": model_out.total.mean(), "model_loss_std": model_out.total.std()}
        values["grad_norm"] = jnp.linalg.norm(ravel_pytree(grads)[0])
        values |= {
            f"metric/{m}": v for m, v in metrics.theirs_of(learned_weights(state.model.scalars, LEARNED)).items()
        }
        last = jax.tree.map(lambda x: x[:, -1], model_out.post)
        return values | named("carry", last) | {"carry/action": batch["action"][:, -1]}, paths({"model": grads})

    @staticmethod
    def _gradient(report: FileReport, name: str, array: np.ndarray, grads: Values) -> None:
        path = our_name(name[name.index("agent/") :])
        if path in grads:
            report.close(name, array, np.asarray(grads[path]), GRADIENT)
        else:
            report.missed.append(name)

    # ---- behaviour

    def check_behavior(self, report: FileReport, arrays: Arrays) -> None:
        """Imagination, actor and critic losses and gradients at the initial parameters."""
        for prefix, eps in (("", 0.0), ("eps05/", 0.5)):
            plain = {name: array for name, array in arrays.items() if not name.startswith("eps05/")}
            theirs = below(arrays, prefix) if prefix else plain
            if not theirs:
                continue
            values, grads, logged = self.behave(self.state, self.batches[0], jnp.float32(eps))
            for name, array in theirs.items():
                if "grad/" in name:
                    self._gradient(report, prefix + name, array, grads)
                elif "/metric/" in name:
                    key = name.rsplit("/", 1)[-1]
                    if key in logged:
                        metrics.check(report, prefix + name, theirs, name, logged[key])
                    else:
                        report.unlogged.append(prefix + name)
                elif name in values:
                    rtol = GRADIENT if name.endswith("grad_norm") else FORWARD
                    report.close(prefix + name, array, np.asarray(values[name]), rtol)
                else:
                    report.missed.append(f"{prefix}{name}")

    def _behavior(self, state: TrainState, batch: Values, eps: jax.Array) -> tuple[Values, Values, Values]:
        config, sampler = self.case.config, Determined(eps)
        carry = learner.initial_carry(state, len(batch["reward"]))
        (_, model_out), _ = learner.model_gradient(
            state, batch, carry, config=config, weightings=PAIR, sampler=sampler, key=KEY
        )
        start, terminal = learner.imagination_start(model_out.post, batch)
        (actor_value, actor_out), actor_grads = learner.actor_gradient(
            state, start, terminal, config=config, sampler=sampler, key=KEY
        )
        (critic_value, critic_out), critic_grads = learner.critic_gradient(
            state, actor_out.trajectory, actor_out.scores.returns, config=config, products=actor_out.scores.products
        )
        values = named("start", start) | {"start/is_terminal": terminal}
        values |= self._imagined(state, start, actor_out, critic_out)
        values |= {"actor/loss": actor_value, "critic/loss": critic_value, "critic/target": actor_out.scores.returns}
        values["actor/grad_norm"] = jnp.linalg.norm(ravel_pytree(actor_grads)[0])
        values["critic/grad_norm"] = jnp.linalg.norm(ravel_pytree(critic_grads)[0])
        losses = {"actor": actor_value, "critic": critic_value}
        weights = learned_weights(state.model.scalars, LEARNED)
        logged = train_metrics(weights, batch, model_out, actor_out, critic_out, losses, {})
        return values, paths({"actor": actor_grads, "critic": critic_grads}), metrics.theirs_of(logged)

    def _imagined(self, state: TrainState, start: Latent, actor_out: Any, critic_out: Any) -> Values:
        config, trajectory = self.case.config, actor_out.trajectory
        settings, features = config.retnorm, trajectory.features(config)
        low, high = behavior.percentiles(actor_out.scores.returns, settings.perclo, settings.perchi)
        values: Values = {
            f"imag/traj/{name}": getattr(trajectory, name) for name in trajectory._fields if name != "products"
        }
        prior = state.model.rssm.prior(trajectory.deter[1:]).logits
        values["imag/traj/logit"] = jnp.concatenate([start.logit[None], prior])
        values |= {f"imag/actor/{name}": value for name, value in actor_out.policy._asdict().items()}
        values |= {
            "imag/rew": actor_out.scores.reward, "imag/ret": actor_out.scores.returns,
            "imag/value": actor_out.scores.value,
            "imag/base": actor_out.scores.value[:-1], "imag/adv": actor_out.advantage, "imag/logpi": actor_out.log_prob,
            "imag/entropy": actor_out.entropy, "imag/slow_value": state.slow(features).mean(),
            "imag/cont_logit": state.model.cont(features).logit, "imag/perc_lo": low, "imag/perc_hi": high,
            "imag/critic/nll": critic_out.nll, "imag/critic/reg": critic_out.regulariser,
            "imag/critic/elem": critic_out.weighted,
            "imag/retnorm/low_before": state.scale.low, "imag/retnorm/high_before": state.scale.high,
            "imag/retnorm/low_after": actor_out.scale.low, "imag/retnorm/high_after": actor_out.scale.high,
            "imag/retnorm/offset": actor_out.scale.low, "imag/retnorm/invscale": actor_out.scale.scale(settings),
        }  # fmt: skip
        return values

    # ---- full updates

    def check_train(self, report: FileReport, arrays: Arrays) -> None:
        """Variables, Adam moments, metrics and carry after each of the updates, without and with harmony."""
        for method in ("off", "on"):
            theirs = below(arrays, f"{method}/")
            if not theirs:
                continue
            state = self.case.initial_state(self.params, harmony=method == "on")
            carry = learner.initial_carry(state, len(self.batches[0]["reward"]))
            for n, batch in enumerate(self.batches, start=1):
                update = self.step(state, batch, carry)
                state, carry = update.state, update.carry
                self._compare_step(report, f"{method}/step{n}/", below(theirs, f"step{n}/"), update, n)
        known = tuple(f"{m}/step{n}/" for m in ("off", "on") for n in range(1, len(self.batches) + 1))
        report.missed += [name for name in arrays if not name.startswith(known)]

    def _compare_step(self, report: FileReport, prefix: str, theirs: Arrays, update: learner.Update, n: int) -> None:
        state, ours = update.state, paths(update.state)
        moments = self._moments(state)
        logged = metrics.theirs_of(update.metrics)
        logged |= {f"{name}_loss_mean": update.metrics.get(f"loss/{name}") for name in self._loss_names(update)}
        logged |= {
            "model_opt_grad_steps": state.model_opt.count, "actor_opt_grad_steps": state.actor_opt.count,
            "extr_critic_critic_opt_grad_steps": state.critic_opt.count,
        }  # fmt: skip
        carry: Values = named("carry", update.carry.latent) | {"carry/action": update.carry.action}
        for name, array in theirs.items():
            kind, rest = name.split("/", 1)
            if kind == "carry" and name in carry:
                report.close(prefix + name, array, np.asarray(carry[name]), VARIABLE)
            elif kind == "adam" and rest in moments:
                rule = report.equal if array.dtype.kind == "i" else report.close
                rule(prefix + name, array, np.asarray(moments[rest]), *(() if array.dtype.kind == "i" else (GRADIENT,)))
            elif kind == "metric" and rest in logged:
                metrics.check(report, prefix + name, theirs, name, logged[rest])
            elif kind == "metric":
                report.unlogged.append(prefix + name)
            elif kind == "var" and rest == IDENTITY:
                report.equal(prefix + name, array, self.params[IDENTITY])
            elif kind == "var" and our_name(rest) in ours:
                self._variable(report, prefix + name, array, np.asarray(ours[str(our_name(rest))]), rest, n)
            else:
                report.missed.append(f"{prefix}{name}")

    def _loss_names(self, update: learner.Update) -> list[str]:
        names = [name.removeprefix("loss/") for name in update.metrics if name.startswith("loss/")]
        return [name for name in names if name not in ("actor", "critic")]

    def _variable(self, report: FileReport, name: str, theirs: np.ndarray, ours: np.ndarray, key: str, n: int) -> None:
        if theirs.dtype.kind == "i":
            report.equal(name, theirs, ours)
            return
        config = self.case.config
        part = "actor" if "/ac/" in key else "critic" if "/critic/" in key else "model"
        lr = {"actor": config.actor_opt.lr, "critic": config.critic_opt.lr, "model": config.model_opt.lr}[part]

        def within(error: np.ndarray, scale: float) -> bool:
            stray = error > VARIABLE * scale
            return bool(stray.mean() <= STRAY_SHARE and (error[stray] <= VARIABLE * scale + n * lr).all())

        report.check(name, theirs, ours, within, f"tolerance {VARIABLE:.0e}, {STRAY_SHARE:.1%} of entries up to {n} lr")

    def _moments(self, state: TrainState) -> Values:
        values: Values = {}
        parts = {"model": state.model, "actor": state.actor, "critic": state.critic}
        opts = {"model": state.model_opt, "actor": state.actor_opt, "critic": state.critic_opt}
        for part, params in parts.items():
            opt: AdamState = opts[part]
            _, unravel = ravel_pytree(params)
            values[f"{part}_opt/count"] = opt.count
            for moment in ("mu", "nu"):
                leaves = paths({part: unravel(getattr(opt, moment))})
                values |= {f"{part}_opt/{moment}/{name}": leaves[p] for name, p in self._names() if p in leaves}
        return values

    def _names(self) -> list[tuple[str, str]]:
        return [(name, str(our_name(name))) for name in self.params if our_name(name)]


def check_case(config: Path) -> Iterator[FileReport]:
    """Yield the reports of the case that `config` describes."""
    yield from CaseCheck(config.parent, read_case(config)).run()
