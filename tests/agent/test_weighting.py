"""Methods of loss weighting: values by hand, where learned weights come to rest or run away, and files of methods."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agent.contract import methods as registry
from agent.contract.config import make_config
from agent.contract.literals import FileError
from agent.contract.methods import describe, methods, scalar_names
from agent.contract.words import ConfigError
from agent.weighting import base
from agent.weighting.base import load, together, total_loss, weighted

SCALES = {"image": 1.0, "reward": 1.0, "cont": 1.0, "dyn": 0.5, "rep": 0.1}
PAIR = together(())


def losses(**values):
    return {name: jnp.full((2, 3), float(values.get(name, 1.0))) for name in SCALES}


def scalars(**values):
    return {name: jnp.float32(values.get(name, 0.0)) for name in scalar_names()}


def descend(method, values, name, steps):
    """Return a learned scalar after steps of gradient descent on the method's loss, the others held at 0."""

    def loss(s):
        return load(method).total(values, scalars(**{name: s}), SCALES).mean()

    return float(jax.jit(lambda s: jax.lax.fori_loop(0, steps, lambda _, s: s - 0.3 * jax.grad(loss)(s), s))(0.0))


def test_a_weight_and_its_regulariser_by_hand():
    loss, s = jnp.float32(3.0), jnp.float32(0.5)
    assert float(weighted(loss, s, jax.nn.softplus)) == pytest.approx(3 * np.exp(-0.5) + np.log1p(np.exp(0.5)))
    assert float(weighted(loss, s)) == pytest.approx(3 * np.exp(-0.5))


def test_at_the_start_the_methods_differ_by_the_dynamics_share_and_the_regularisers():
    values = losses(image=5, reward=2, dyn=3, rep=4, cont=0.5)
    plain, harmony, uncertainty = (
        float(load(name).total(values, scalars(), SCALES)[0, 0])
        for name in ("dreamerv3", "harmony_dreamerv3", "uncertainty_dreamerv3")
    )
    assert plain == pytest.approx(5 + 2 + 0.5 + 0.5 * 3 + 0.1 * 4)
    log2 = np.log(2)
    assert harmony == pytest.approx(5 + 2 + 2 * log2 + 0.5 + 5 / 6 * (3 + log2) + 1 / 6 * 4, rel=1e-6)
    assert uncertainty == pytest.approx(5 + 2 + 0.5 + 5 / 6 * 3 + 1 / 6 * 4, rel=1e-6)


@pytest.mark.parametrize(("name", "expected"), [("reward", 0.3), ("image", 7.0), ("dyn", 5 / 6 / 2.5)])
def test_at_rest_harmonys_w_times_one_plus_w_is_one_over_the_loss(name, expected):
    # reward: L = 1/0.3; image: L = 1/7; dynamics: L = (0.5 dyn + 0.1 rep)/0.6 = 2.5, with 5/6 of a regulariser.
    values = losses(reward=1 / 0.3, image=1 / 7, dyn=2.5, rep=2.5)
    weight = np.exp(-descend("harmony_dreamerv3", values, name, 400))
    assert weight * (1 + weight) == pytest.approx(expected, rel=1e-3)


def test_without_rectification_the_weight_of_a_vanishing_loss_runs_away_where_harmonys_slows_down():
    values = losses(reward=1e-6)
    early, late = (np.exp(-descend("uncertainty_dreamerv3", values, "reward", steps)) for steps in (20, 40))
    assert late > 1e5
    assert late / early > 100
    harmony = np.exp(-descend("harmony_dreamerv3", values, "reward", 40))
    assert harmony < 20


@pytest.mark.parametrize("number", range(len(PAIR)))
def test_a_run_takes_the_loss_and_the_gradient_of_its_own_method(number):
    values, at = losses(image=5, reward=2, dyn=3, rep=4), scalars(reward=0.3, dyn=-0.2)

    def mixed(s):
        return total_loss(values, s, jnp.int32(number), PAIR, SCALES).mean()

    def own(s):
        return PAIR[number].total(values, s, SCALES).mean()

    np.testing.assert_array_equal(mixed(at), own(at))
    gradients, expected = jax.grad(mixed)(at), jax.grad(own)(at)
    np.testing.assert_array_equal(list(gradients.values()), list(expected.values()))


def test_the_papers_pair_is_in_every_program_so_that_both_share_it():
    assert [w.name for w in together(["dreamerv3"])] == ["dreamerv3", "harmony_dreamerv3"]
    assert [w.name for w in together(["uncertainty_dreamerv3"])][-1] == "uncertainty_dreamerv3"
    assert base.foreign(PAIR)["harmony_dreamerv3"] == frozenset()
    assert "harmony/dyn_weight" in base.foreign(PAIR)["dreamerv3"]


def test_every_method_describes_itself_without_being_run():
    assert list(methods()) == ["dreamerv3", "harmony_dreamerv3", "uncertainty_dreamerv3"]
    assert methods()["harmony_dreamerv3"].label == "Harmony DreamerV3"
    assert "loss_scales.reward" in methods()["harmony_dreamerv3"].ignores


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LABEL = 'x'\n", "NAME is None"),
        ("NAME = 'Mine!'\nLABEL = 'x'\n", "NAME is 'Mine!'"),
        ("NAME = 'mine'\nLABEL = make()\n", "LABEL is None"),
        ("NAME = 'mine'\nLABEL = 'x'\nSCALARS = ['a']\n", "SCALARS is ['a']; a tuple of texts"),
        ("NAME = 'mine'\nLABEL = 'x'\nIGNORES = ('a', 1)\n", "IGNORES is"),
        ("def broken(:\n", "not a Python file"),
    ],
)
def test_a_methods_file_that_lacks_something_is_named_with_what_it_lacks(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(FileError, match=r"mine\.py") as caught:
        describe(path)
    assert message in str(caught.value)


def test_two_files_of_one_name_are_refused_as_wrong_input(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text("NAME = 'mine'\nLABEL = 'Mine'\n")
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    registry.methods.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"b\.py: NAME 'mine' is taken by a\.py"):
            make_config((), {"task": "catch"})
    finally:
        registry.methods.cache_clear()


@pytest.mark.parametrize("switch", ["True", "False"])
def test_the_published_switch_names_a_method(switch):
    assert make_config((), {"harmony": switch}).method == ("harmony_dreamerv3" if switch == "True" else "dreamerv3")


def test_a_switch_that_contradicts_the_method_is_refused():
    with pytest.raises(ConfigError, match="harmony: False means method 'dreamerv3', but method is 'harmony_dreamerv3'"):
        make_config((), {"harmony": "False", "method": "harmony_dreamerv3"})
    with pytest.raises(ConfigError, match="unknown method 'harmny_dreamerv3'; did you mean 'harmony_dreamerv3'"):
        make_config((), {"method": "harmny_dreamerv3"})
