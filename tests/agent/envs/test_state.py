"""Saved states as data: taken apart for a file, put together again, and checked by name before they are used."""

import ast
from pathlib import Path

import numpy as np
import pytest

from agent.envs.state import MT19937, PCG64, StateError, check, join, split
from agent.spec import ArraySpec
from tests.agent.envs.streams import changed, through_a_file

ROOT = Path(__file__).parents[3]
RUNS_WHAT_IT_READS = {"_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "shelve"}


def test_a_state_comes_back_from_arrays_and_json_as_it_was():
    state = {
        "a/b": {"~1": np.arange(3, dtype=np.int16), "k": 2**127},
        "x": np.float32(0.1),
        "n": None,
        "l": [1, "b"],
        "e": {},
    }
    arrays, plain = split(state)
    assert list(arrays) == ["a~1b/~01", "x"] and plain == {"a/b": {"k": 2**127}, "n": None, "l": [1, "b"], "e": {}}
    back = through_a_file(state)
    assert back["x"].dtype == np.float32 and back["x"] == np.float32(0.1)
    np.testing.assert_array_equal(back["a/b"].pop("~1"), state["a/b"]["~1"])
    assert {k: v for k, v in back.items() if k != "x"} == {"a/b": {"k": 2**127}, "n": None, "l": [1, "b"], "e": {}}


def test_what_is_split_off_does_not_change_any_more():
    state = {"a": np.zeros(2)}
    arrays, _ = split(state)
    state["a"][0] = 1
    assert arrays["a"].tolist() == [0, 0]


def test_neither_array_nor_plain_value_is_an_error_when_it_is_saved():
    with pytest.raises(TypeError, match="environment state a/b: object is neither an array nor a plain value"):
        split({"a": {"b": object()}})


@pytest.mark.parametrize(
    ("arrays", "plain", "message"),
    [
        ({"a/b": np.zeros(1)}, {}, "array a/b has no place in it"),
        ({"a/b": np.zeros(1)}, {"a": 1}, "array a/b has no place in it"),
        ({"a": np.zeros(1)}, {"a": 1}, "a is an array and 1 at once"),
        ({}, None, "None where an object is expected"),
        ({}, [1], r"\[1\] where an object is expected"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(arrays, plain, message):
    with pytest.raises(StateError, match=message):
        join(arrays, plain)


@pytest.mark.parametrize(
    ("value", "schema", "message"),
    [
        (True, range(2), "is True, a whole number from 0 to 1 is expected"),
        (2, range(2), "is 2, a whole number from 0 to 1 is expected"),
        (1.0, range(2), "is 1.0, a whole number"),
        (1, float, "is 1, a real number is expected"),
        (1, bool, "is 1, true or false is expected"),
        ("pong", "qbert", "is 'pong', 'qbert' is expected"),
        (np.zeros(3), ArraySpec((3,), "float32"), r"is float64\[3\], float32\[3\] is expected"),
        (np.zeros((2, 3)), ArraySpec((-1, 2), "float64"), r"is float64\[2, 3\], float64\[any, 2\] is expected"),
        ([0.0], ArraySpec((1,), "float64"), r"is \[0.0\], float64\[1\] is expected"),
        (1, (None, float), "is 1, None or a real number is expected"),
        ("x" * 70, range(2), r"is 'x+\.\.\., a whole number"),
    ],
)
def test_a_value_of_another_kind_is_named_with_both_sides(value, schema, message):
    with pytest.raises(StateError, match=f"^pong: the saved state at a/b {message}"):
        check({"a": {"b": value}}, {"a": {"b": schema}}, "pong")


def test_the_generators_states_are_what_numpy_takes():
    for generator, schema in ((np.random.PCG64(1), PCG64), (np.random.MT19937(1), MT19937)):
        legacy = {"has_gauss": 0, "gauss": 0.0} if schema is MT19937 else {}
        state = {**generator.state, **legacy}
        check(state, schema, "random")
    with pytest.raises(StateError, match="at state/pos is 700, a whole number from 0 to 624"):
        check(changed(state, ("state", "pos"), 700), MT19937, "random")


def test_nothing_here_imports_a_module_that_runs_what_it_reads():
    found = []
    for path in sorted(p for package in ("agent", "harness", "analysis") for p in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            bad = RUNS_WHAT_IT_READS & {name.split(".")[0] for name in names}
            if isinstance(node, ast.Attribute) and node.attr in ("read_pickle", "to_pickle"):
                bad.add(node.attr)
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                bad |= set() if isinstance(node.value, ast.Constant) and node.value.value is False else {"allow_pickle"}
            found += [f"{path.relative_to(ROOT)}: {name}" for name in bad]
    assert not found
