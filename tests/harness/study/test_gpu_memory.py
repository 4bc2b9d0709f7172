"""The memory of GPUs by name."""

import pytest

from harness.study.gpu_memory import gpu_memory


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("rtx_2080_ti", 10, 11),
        ("NVIDIA GeForce RTX 2080 Ti", 10, 11),
        ("2080ti", 10, 11),
        ("gtx_1080_ti", 10, 11),
        ("v100", 15, 16),
        ("v100-16gb", 15, 16),
        ("Tesla V100-SXM2-32GB", 31, 32),
        ("v100s", 31, 32),
        ("a100", 39, 40),
        ("nvidia_a100-sxm4-80gb", 78, 80),
        ("a100_80", 78, 80),
        ("NVIDIA H100 80GB HBM3", 78, 80),
        ("h100_nvl", 92, 94),
        ("a10", 22, 23),
        ("a100_1g.5gb", 4, 5),
        ("nvidia_h100_80gb_hbm3_3g.40gb", 37, 40),
        ("1g.10gb", 9, 10),
        ("quadro_rtx_6000", 22, 24),
        ("NVIDIA RTX 6000 Ada Generation", 47, 48),
        ("rtx_a6000", 47, 48),
        ("titan_rtx", 23, 24),
        ("l40s", 44, 46),
    ],
)
def test_a_card_has_its_own_memory(name: str, least: float, most: float) -> None:
    assert least < (gpu_memory(name) or 0) <= most


@pytest.mark.parametrize("name", ["", "gpu", "a100x", "mi250", "rtx", "rtx_pro_6000", "h1000", "t400", "a1000"])
def test_a_name_that_is_not_known_is_not_taken_for_another_card(name: str) -> None:
    assert gpu_memory(name) is None
