"""HarmonyDream: learned weights that keep the world model's losses on one scale."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Harmony(eqx.Module):
    """The logarithms s of the three losses' learned scales, 0 at the start; plain DreamerV3 leaves them there."""

    reward: Float[Array, ""]
    image: Float[Array, ""]
    dyn: Float[Array, ""]

    def __init__(self):
        self.reward = jnp.zeros(())
        self.image = jnp.zeros(())
        self.dyn = jnp.zeros(())

    def metrics(self) -> dict[str, Float[Array, ""]]:
        """Return s, the loss weight exp(-s) and sigma exp(s/2) of each, as `harmony/NAME_WHAT`."""
        named = {"reward": self.reward, "image": self.image, "dyn": self.dyn}
        out = {}
        for name, s in named.items():
            out |= {f"harmony/{name}_s": s, f"harmony/{name}_weight": jnp.exp(-s)}
            out[f"harmony/{name}_sigma"] = jnp.exp(s / 2)
        return out


def harmonise(loss: Float[Array, "*batch"], s: Float[Array, ""], *, regularise: bool = True) -> Float[Array, "*batch"]:
    """Return loss·exp(-s), and with `regularise` log(1 + exp(s)) on top, which keeps the learned weight finite.

    Source: HarmonyDream, arXiv:2310.00344.
    """
    weighted = loss * jnp.exp(-s)
    return weighted + jax.nn.softplus(s) if regularise else weighted


def total_loss(
    losses: dict[str, Float[Array, "batch time"]], harmony: Harmony, on: Float[Array, ""], scales: dict[str, float]
) -> Float[Array, "batch time"]:
    """Return the world model's loss: harmonised where `on` is 1, the fixed-scale sum of DreamerV3 where it is 0.

    Harmonised: reward, image and dyn carry learned weights; rep shares that of dyn, without a second regulariser. The
    fixed scales of dyn and rep enter by their ratio, on dyn's regulariser too (5/6 at the defaults; the published
    PyTorch twin uses 1, `test_golden_agent` fixes our choice); other terms enter as they are.
    """
    plain = sum(loss * scales[name] for name, loss in losses.items())
    share = scales["dyn"] / (scales["dyn"] + scales["rep"])
    terms = dict(losses)
    terms["reward"] = harmonise(losses["reward"], harmony.reward)
    if "image" in losses:
        terms["image"] = harmonise(losses["image"], harmony.image)
    terms["dyn"] = share * harmonise(losses["dyn"], harmony.dyn)
    terms["rep"] = (1 - share) * harmonise(losses["rep"], harmony.dyn, regularise=False)
    return jnp.where(on > 0, sum(terms.values()), plain)
