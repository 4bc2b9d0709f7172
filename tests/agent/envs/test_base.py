"""The environment interface: what it accepts, what it refuses, and in which words."""

import numpy as np
import pytest

from agent.envs.base import EnvironmentFault, box, check_seed, check_step, discrete, record
from agent.spec import ArraySpec, BoxAction, DiscreteAction, EnvSpec

SPEC = EnvSpec({"image": ArraySpec((2, 2, 3), "uint8"), "speed": ArraySpec((2,), "float32")}, DiscreteAction(3))
OBS = {"image": np.zeros((2, 2, 3), np.uint8), "speed": np.zeros(2, np.float32)}


def test_a_record_has_the_arrays_its_spec_names():
    assert check_step(record(OBS, 1.0), SPEC, "env").keys() == SPEC.arrays.keys()


def test_success_is_a_part_of_the_record_only_where_the_suite_knows_it():
    spec = EnvSpec(SPEC.obs, SPEC.action, success=True)
    assert "log_success" in spec.arrays and "log_success" not in SPEC.arrays
    check_step(record(OBS, 1.0, log_success=1.0), spec, "env")


@pytest.mark.parametrize("action", [3, -1, 1.0, True, "1", None, np.ones(2, int), np.float32(1)])
def test_a_discrete_action_out_of_range_or_of_another_kind_is_refused(action):
    with pytest.raises(ValueError, match="expected one integer from 0 to 2"):
        discrete(action, DiscreteAction(3))


def test_a_continuous_action_is_clipped_to_the_box():
    np.testing.assert_array_equal(box([2.0, -3.0, 0.5], BoxAction(3)), np.array([1, -1, 0.5], np.float32))


@pytest.mark.parametrize("action", [[0.0], [0.0, np.nan], [0.0, np.inf], 0.0])
def test_a_continuous_action_of_another_shape_or_not_finite_is_refused(action):
    with pytest.raises(ValueError, match="expected 2 finite numbers"):
        box(action, BoxAction(2))


@pytest.mark.parametrize("seed", [-1, 2**31, True])
def test_a_seed_that_not_every_suite_understands_is_refused(seed):
    with pytest.raises(ValueError, match="expected a whole number from 0 to 2147483647"):
        check_seed(seed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": np.float32("nan")}, "'reward' is not finite"),
        ({"speed": np.array([0, np.inf], np.float32)}, "'speed' is not finite"),
        ({"speed": np.zeros(3, np.float32)}, r"'speed' is float32\[3\], its spec says float32\[2\]"),
        ({"image": np.zeros((2, 2, 3), np.float32)}, "'image' is float32"),
    ],
)
def test_a_step_that_breaks_its_spec_names_environment_and_entry(change, message):
    with pytest.raises(EnvironmentFault, match=f"env: {message}"):
        check_step({**record(OBS, 0.0), **change}, SPEC, "env")


def test_a_step_that_lacks_an_entry_is_named():
    step = record(OBS, 0.0)
    del step["is_last"]
    with pytest.raises(EnvironmentFault, match="lacks 'is_last'"):
        check_step(step, SPEC, "env")
