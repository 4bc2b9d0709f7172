"""Layers and convolutions: hand-computed numbers, and the forms of each convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agent.nn import convolution, layers
from agent.nn.layers import Conv, ConvTranspose, Linear, Norm, in_compute_dtype, stages

KEY = jax.random.key(0)


def test_a_norm_has_epsilon_a_thousandth_inside_the_root():
    x = jnp.array([1.0, 2.0, 3.0, 6.0])
    np.testing.assert_allclose(Norm(4)(x), (x - 3.0) / np.sqrt(3.5 + 1e-3), rtol=1e-6)


def test_truncated_normals_have_the_asked_deviation_and_end_at_two_raw_ones():
    for seed in range(3):
        kernel = np.asarray(layers.truncated_normal((300, 500), fan_in=300, fan_out=500, key=jax.random.key(seed)))
        assert kernel.std() == pytest.approx(np.sqrt(1 / 400), rel=0.01)
        assert 0.99 < np.abs(kernel).max() / (2 * np.sqrt(1 / 400) / 0.87962566103423978) <= 1 + 1e-6


def test_output_layers_start_uniform_and_at_scale_zero_silent():
    kernel = np.asarray(Linear(300, 500, key=KEY).kernel)
    assert 0.99 < np.abs(kernel).max() / np.sqrt(3 / 400) <= 1
    assert kernel.std() == pytest.approx(np.sqrt(1 / 400), rel=0.01)
    assert not np.asarray(Linear(300, 500, scale=0.0, key=KEY).kernel).any()


FEW, MANY = 3, convolution.FEW + 1
LAYERS = {
    "conv": lambda form: [Conv(FEW, 5, form, key=KEY), Conv(5, 4, form, key=KEY)],
    "conv of many channels": lambda form: [Conv(FEW, MANY, form, key=KEY), Conv(MANY, MANY + 2, form, key=KEY)],
    "transposed": lambda form: [ConvTranspose(FEW, 5, form, last=False, key=KEY)],
    "transposed of many channels": lambda form: [
        ConvTranspose(FEW, MANY + 2, form, last=False, key=KEY),
        ConvTranspose(MANY + 2, MANY, form, last=False, key=KEY),
        ConvTranspose(MANY, FEW, form, last=True, key=KEY),
    ],
}


def value_and_gradients(layers, images, form):
    """Return what the layers make of images, and the gradients of a weighted sum of it."""
    made = LAYERS[layers](form)
    value, pull = jax.vjp(lambda made, x: convolution.in_chunks(made, x, form), made, images)
    return value, *jax.tree.leaves(pull(jnp.cos(jnp.arange(value.size, dtype=jnp.float32)).reshape(value.shape)))


def loops(made, images):
    return "scan[" in str(jax.make_jaxpr(lambda x: convolution.in_chunks(made, x, "chunks"))(images))


@pytest.mark.parametrize("form", ["matmul", "chunks"])
@pytest.mark.parametrize("side", [4, 8])
@pytest.mark.parametrize("layers", LAYERS)
def test_a_convolution_and_its_gradients_are_the_same_in_every_form(layers, side, form):
    x = jax.random.normal(KEY, (2, side, side, 3))
    for a, b in zip(value_and_gradients(layers, x, "lax"), value_and_gradients(layers, x, form), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layers", LAYERS)
def test_many_images_go_through_in_chunks_with_the_same_numbers(layers):
    x = jax.random.normal(KEY, (2 * convolution.CHUNK, 8, 8, 3))
    assert loops(LAYERS[layers]("chunks"), x)
    whole, chunked = (value_and_gradients(layers, x, form) for form in ("matmul", "chunks"))
    for a, b in zip(whole, chunked, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("convolve", [convolution.conv, convolution.conv_transpose])
def test_the_runs_of_a_pack_convolve_with_their_own_kernels(convolve):
    images = jax.random.normal(KEY, (2, 4, 8, 8, MANY))
    kernels = jax.random.normal(KEY, (2, 4, 4, MANY, MANY))

    def work(images, kernel):
        value, pull = jax.vjp(lambda x, k: convolve(x, k, "chunks"), images, kernel)
        return value, *pull(jnp.sin(value))

    for run in range(2):
        for packed, alone in zip(jax.vmap(work)(images, kernels), work(images[run], kernels[run]), strict=True):
            np.testing.assert_allclose(packed[run], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, convolution.CHUNK, 37, 2 * 37])
def test_numbers_of_images_without_a_fitting_chunk_go_through_whole(count):
    assert not loops(LAYERS["conv"]("chunks"), jnp.ones((count, 8, 8, 3)))


def test_only_kernels_are_cast_to_the_compute_type():
    layer = in_compute_dtype(Conv(3, 4, "matmul", key=KEY), jnp.dtype("bfloat16"))
    assert layer.kernel.dtype == jnp.bfloat16
    assert layer.norm.scale.dtype == jnp.float32


@pytest.mark.parametrize("shape", [(60, 60, 3), (64, 32, 3), (4, 4, 3)])
def test_an_image_that_does_not_halve_to_its_end_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected a square of 4·2\^k"):
        stages(shape, 4)
