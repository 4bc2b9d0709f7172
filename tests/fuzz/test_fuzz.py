"""Whatever the text, a reader reads it or says in one line what is wrong; `python -m tests.fuzz` looks for longer."""

import random
from pathlib import Path

import pytest

from agent.contract.words import ConfigError
from tests.fuzz.__main__ import fuzz, outcome
from tests.fuzz.mutate import mutated
from tests.fuzz.readers import Reader, readers
from tests.harness.test_damage import make


def test_what_is_right_is_read(tmp_path: Path) -> None:
    """Otherwise its mutations would be refused for another reason."""
    for reader in readers(make(tmp_path / "runs").path):
        assert reader.texts
        for text in reader.texts:
            reader.read(text, tmp_path)


@pytest.mark.slow
def test_no_mutated_input_makes_a_traceback_or_hangs(tmp_path: Path) -> None:
    counts, bad = fuzz(20, 0, tmp_path)
    assert not bad, "\n\n".join(bad.values())
    assert all(counts[reader, "refused"] for reader, _ in counts if reader not in ("squeue", "sacct", "scores.jsonl"))


def test_the_command_tells_what_should_not_be(tmp_path: Path) -> None:
    def reader(text: str, _: Path) -> None:
        if "9" * 5000 in text:
            int("9" * 5000)
        if not text:
            raise ConfigError("")

    assert outcome(Reader("x", reader, ()), "7", tmp_path) == "read"
    assert outcome(Reader("x", reader, ()), "9" * 5000, tmp_path).startswith("ValueError")
    assert outcome(Reader("x", reader, ()), "", tmp_path).endswith("which is not one line")


def test_equal_seeds_make_equal_mutations() -> None:
    one, two = (mutated("some text", random.Random(5), "other") for _ in range(2))
    assert one == two != "some text"
