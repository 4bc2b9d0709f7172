"""The profiles in slurm/ load, and the template shows every key with its real default."""

import re

import pytest

from harness.study.profiles import PROFILES, Profile, load, names


@pytest.mark.parametrize("name", ["a100", "h100", "local", "template", "test"])
def test_a_shipped_profile_loads(name: str) -> None:
    assert name in names()
    assert load(name).description


def test_the_template_shows_every_key_and_its_values_are_the_defaults() -> None:
    text = (PROFILES / "template.yaml").read_text()
    shown = set(re.findall(r"^(?:# )?(\w+):", text, re.MULTILINE))
    assert shown >= set(Profile.model_fields) - {"name"}
    profile = load("template")
    assert profile == Profile(name="template", description=profile.description)
