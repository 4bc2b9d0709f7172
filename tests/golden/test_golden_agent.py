"""The learner meets the published agent's numbers: on the suite's own copy, and on whole folders where they are."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agent.contract.schema import Jax
from agent.nn import convolution
from tests.golden import __main__ as checker
from tests.golden import standalone
from tests.golden.report import FileReport

PUBLISHED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "golden_agent"
CASES = [pytest.param("disc", id="discrete"), pytest.param("vec", id="continuous-and-vectors")]


@functools.cache
def program(part, case_name, plain=False):
    """One compiled part of a case; both methods share it."""
    return jax.jit(functools.partial(getattr(standalone, part), case_of(case_name, plain)))


def case_of(name, plain=False):
    case, _ = load(name)
    jax_settings = Jax(scan="plain", conv="lax") if plain else case.config.jax
    return dataclasses.replace(case, config=case.config.model_copy(update={"jax": jax_settings}))


def load(name):
    return standalone.stored_case(standalone.STORE / f"{name}.npz")


def assert_agrees(report: FileReport):
    assert report.passed, report.lines()
    assert report.compared


@pytest.mark.parametrize("name", CASES)
def test_states_and_heads_are_the_published_ones(name):
    case, arrays = load(name)
    values = program("forward", name)(standalone.initial_state(case, arrays), standalone.batch(arrays, 0))
    assert_agrees(standalone.compare("forward", arrays, values))


@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_of_the_model_are_the_published_ones_for_both_methods(name):
    case, arrays = load(name)
    for number, method in enumerate(("off", "on")):
        state = standalone.initial_state(case, arrays)._replace(method=jnp.asarray(number))
        values = program("losses", name)(state, standalone.batch(arrays, 0))
        assert_agrees(standalone.compare(f"losses_{method}", arrays, values))
        if method == "off":
            assert not any(np.any(v) for k, v in values.items() if k.startswith("gradient/model.scalars"))


@pytest.mark.parametrize("name", CASES)
def test_imagination_returns_and_behaviour_gradients_are_the_published_ones(name):
    case, arrays = load(name)
    values = program("imagination", name)(standalone.initial_state(case, arrays), standalone.batch(arrays, 0))
    assert_agrees(standalone.compare("behavior", arrays, values))


@pytest.mark.slow
@pytest.mark.parametrize("harmony", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_three_full_updates_end_where_the_published_ones_do(name, harmony):
    case, arrays = load(name)
    assert_agrees(standalone.after_updates(case, arrays, harmony=harmony))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_plain_scans_meet_the_same_numbers(name):
    case, arrays = load(name)
    case = case_of(name, plain=True)
    state, batch = standalone.initial_state(case, arrays), standalone.batch(arrays, 0)
    assert_agrees(standalone.compare("forward", arrays, program("forward", name, plain=True)(state, batch)))
    assert_agrees(standalone.compare("behavior", arrays, program("imagination", name, plain=True)(state, batch)))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["off", "on"])
def test_images_in_chunks_meet_the_same_numbers(method, monkeypatch):
    case, arrays = load("disc")
    state = standalone.initial_state(case, arrays)._replace(method=jnp.asarray(int(method == "on")))

    def losses(state, batch):
        return standalone.losses(case, state, batch)

    def loops():
        return str(jax.make_jaxpr(losses)(state, standalone.batch(arrays, 0))).count("scan[")

    whole = loops()
    jax.clear_caches()
    monkeypatch.setattr(convolution, "CHUNK", 4)
    monkeypatch.setattr(convolution, "LEAST_CHUNK", 2)
    assert loops() > whole
    values = jax.jit(losses)(state, standalone.batch(arrays, 0))
    assert_agrees(standalone.compare(f"losses_{method}", arrays, values))


# Largest error over largest magnitude in bfloat16 compute (8 bits of mantissa; the stoch draws of both stay equal).
BFLOAT16 = {"embed": 0.02, "post/deter": 0.02, "post/logit": 0.05, "prior/logit": 0.05, "reward/mean": 0.1,
            "cont/logit": 0.05, "critic/mean": 0.1, "actor/entropy": 0.02}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_stays_within_its_bounds_and_keeps_parameters_in_float32(name):
    case, arrays = load(name)
    state = standalone.initial_state(case, arrays)
    rounded = standalone.in_compute_dtype(state, jnp.dtype("bfloat16"))
    values = program("forward", name)(rounded, standalone.batch(arrays, 0))
    for key, bound in BFLOAT16.items():
        theirs, ours = arrays[f"forward/{key}"], np.asarray(values[key], np.float32)
        error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        assert 0 < error < bound, (key, error)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.model)} == {jnp.dtype("float32")}


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no {PUBLISHED}")
def test_the_checker_finds_every_array_of_the_published_folder_in_agreement(capsys):
    assert checker.main([str(PUBLISHED)]) == 0, capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no {PUBLISHED}")
def test_the_checker_names_the_array_that_is_off_and_the_file_it_does_not_know(tmp_path, capsys):
    with np.load(PUBLISHED / "units.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["gru/y"] = arrays["gru/y"] * 1.001
    arrays["gru/another"] = arrays["gru/y"]
    np.savez(tmp_path / "units.npz", **arrays)
    (tmp_path / "strange.npz").write_bytes(b"")
    assert checker.main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "first out of tolerance: gru/y" in printed
    assert "not compared: gru/another" in printed
    assert "strange.npz" in printed


def test_a_path_that_is_no_golden_folder_is_refused_in_one_line(tmp_path, capsys):
    assert checker.main([str(tmp_path / "none")]) == 2
    assert checker.main([str(tmp_path)]) == 2
    assert all(len(line) < 300 for line in capsys.readouterr().err.splitlines())
