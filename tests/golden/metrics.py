"""Metrics of a golden agent folder: which of ours each of theirs is, and how far the two may differ."""

from typing import Any

import numpy as np

from tests.golden.convert import Arrays
from tests.golden.report import FileReport

TOLERANCE = 1e-4

# Their metric to ours. Harmony's and optimizers' names are spelled out; the rest of theirs is not logged.
METRICS = {
    "actor_opt_grad_norm": "grad_norm/actor",
    "actor_opt_loss": "loss/actor",
    "adv_mag": "actor/advantage_mag",
    "adv_mean": "actor/advantage",
    "adv_std": "actor/advantage_std",
    "cont_avg": "model/cont_avg",
    "cont_pred": "model/cont_pred",
    "extr_critic_critic_opt_grad_norm": "grad_norm/critic",
    "extr_critic_critic_opt_loss": "loss/critic",
    "extr_critic_mean": "critic/value",
    "extr_return_raw_mean": "imagined/return",
    "extr_return_raw_std": "imagined/return_std",
    "extr_reward_mean": "imagined/reward",
    "model_loss_mean": "loss/model",
    "model_opt_grad_norm": "grad_norm/model",
    "model_opt_loss": "loss/model",
    "policy_entropy_mean": "actor/entropy",
    "policy_logprob_mean": "actor/log_prob",
    "post_ent_mean": "model/post_entropy",
    "prior_ent_mean": "model/prior_entropy",
    "reward_avg": "model/reward_avg",
    "reward_max_data": "model/reward_max_data",
    "reward_max_pred": "model/reward_max_pred",
    "reward_pred": "model/reward_pred",
} | {
    f"{theirs}{i}": f"harmony/{name}_{ours}"
    for theirs, ours in (("harmony_s", "s"), ("coeff", "weight"), ("sigma", "sigma"))
    for i, name in ((1, "reward"), (2, "image"), (3, "dyn"))
}

# Means whose terms may cancel, and the metric that tells how large the terms are.
MEAN_OF = {"reward_pred": "reward_max_pred", "reward_avg": "reward_max_data", "actor_opt_loss": "adv_mag"}


def theirs_of(ours: dict[str, Any]) -> dict[str, Any]:
    """Return our metrics under their names, those that both log."""
    return {theirs: ours[name] for theirs, name in METRICS.items() if name in ours}


def check(report: FileReport, name: str, theirs: Arrays, key: str, ours: Any) -> None:
    """Compare a metric; a mean is measured against the largest magnitude of what it is the mean of."""
    array, (folder, what) = theirs[key], key.rsplit("/", 1)
    of = MEAN_OF.get(what, what.removesuffix("_mean") + "_mag" if what.endswith("_mean") else what)
    scale = max(float(np.abs(theirs.get(f"{folder}/{of}", array)).max()), float(np.abs(array).max()))
    report.check(name, array, np.asarray(ours), lambda error, _: error <= TOLERANCE * scale, "tolerance 1e-04")
