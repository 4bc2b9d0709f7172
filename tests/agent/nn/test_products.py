"""Products with one-hot features, looked up, and products that are known already."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agent.nn import products
from agent.nn.products import Features

KEY = jax.random.key(0)
DETER, STOCH, CLASSES, UNITS = 5, 11, 4, 7


def features(form, batch=(3, 2), deter=True):
    classes = jax.random.randint(KEY, (*batch, STOCH), 0, CLASSES)
    return Features(jax.random.normal(KEY, (*batch, DETER)) if deter else None, jax.nn.one_hot(classes, CLASSES), form)


def kernel(deter=True, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(1), (DETER * deter + STOCH * CLASSES, UNITS), dtype)


def value_and_gradients(dot, *arguments):
    value, pull = jax.vjp(dot, *arguments)
    return value, *jax.tree.leaves(pull(jnp.cos(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape)))


@pytest.mark.parametrize("deter", [True, False])
@pytest.mark.parametrize("batch", [(), (6,), (3, 2)])
def test_looking_rows_up_gives_a_products_value_and_gradients(batch, deter):
    found, multiplied = (
        value_and_gradients(products.dot, features(form, batch, deter), kernel(deter)) for form in ("lookup", "matmul")
    )
    assert len(found) == 3 + deter
    for a, b in zip(found, multiplied, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_lookup_multiplies_nothing_and_the_joined_features_do():
    def of(form):
        return str(jax.make_jaxpr(products.dot)(features(form, deter=False), kernel(deter=False)))

    assert "gather" in of("lookup") and "dot_general" not in of("lookup")
    assert "dot_general" in of("matmul") and "gather" not in of("matmul")


def test_bfloat16_kernels_are_summed_in_float32():
    found = products.dot(features("lookup", deter=False), kernel(False, jnp.bfloat16))
    exact = products.dot(features("matmul", deter=False), kernel(False, jnp.bfloat16).astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))


def test_every_run_of_a_pack_looks_up_in_its_own_kernel():
    x, kernels = features("lookup", (2, 6)), jnp.stack([kernel(), -kernel()])
    packed = jax.vmap(products.dot)(x, kernels)
    for run in range(2):
        alone = products.dot(products.at(x, slice(run, run + 1)), kernels[run])
        np.testing.assert_allclose(packed[run], alone[0], rtol=1e-6, atol=1e-6)


def test_what_is_no_number_finds_a_row_of_the_kernel():
    x = features("lookup", deter=False)
    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        broken = Features(None, x.stoch.at[0, 0].set(bad), "lookup")
        value = products.dot(broken, kernel(deter=False))
        np.testing.assert_array_equal(value[1:], products.dot(x, kernel(deter=False))[1:])


def test_the_form_is_that_asked_for_and_by_default_lookup_on_a_cpu_alone():
    assert products.one_hot_form("auto") == "lookup"
    assert products.one_hot_form("auto", "gpu") == "matmul"
    assert [products.one_hot_form(form, "gpu") for form in ("lookup", "matmul")] == ["lookup", "matmul"]


@pytest.mark.parametrize("form", ["lookup", "matmul"])
def test_known_products_are_used_as_they_are_and_have_a_products_gradients(form):
    x, k = features(form), kernel()
    kept = []
    value, *gradients = value_and_gradients(products.recording(kept), x, k)
    known, *same = value_and_gradients(products.recorded([kept[0] + 100.0]), x, k)
    np.testing.assert_array_equal(known, value + 100.0)
    for a, b in zip(gradients, same, strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_known_products_they_are_computed():
    assert products.recorded([]) is products.dot


def test_kept_products_have_no_gradient():
    def loss(k):
        kept = []
        products.recording(kept)(features("lookup"), k)
        return kept[0].sum()

    assert not jax.grad(loss)(kernel()).any()


def test_more_products_than_are_known_are_refused():
    dot = products.recorded([jnp.zeros((3, 2, UNITS))])
    dot(features("lookup"), kernel())
    with pytest.raises(StopIteration):
        dot(features("lookup"), kernel())
