"""ARCHITECTURE.md says what is so."""

import re
from pathlib import Path

from harness.state.vocabulary import State
from tests import architecture

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_the_picture_is_drawn_from_the_code_as_it_is() -> None:
    block = architecture.BLOCK.search(PAGE)
    assert block is not None
    assert block[0] == architecture.picture(), "draw it anew: python -m tests.architecture"


def test_arrows_that_a_longer_way_says_are_left_out() -> None:
    assert architecture.reduced({("a", "b"), ("b", "c"), ("c", "d"), ("a", "c"), ("a", "d")}) == {
        ("a", "b"),
        ("b", "c"),
        ("c", "d"),
    }


def test_every_file_that_the_page_names_is_there() -> None:
    names = re.findall(r"`([\w./]+\.(?:py|md)|[\w/]+/)`", PAGE)
    assert len(names) > 40
    known = [
        str(path.relative_to(ROOT)) for package in architecture.PACKAGES for path in (ROOT / package).rglob("*.py")
    ]
    assert [n for n in names if not (ROOT / n).exists() and not any(k.endswith(f"/{n}") for k in known)] == []


def test_every_state_stands_in_its_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows == [str(state) for state in State]
