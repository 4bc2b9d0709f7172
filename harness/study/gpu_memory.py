"""How much memory a GPU has, by the name that Slurm or the driver gives it. Unknown is better than too much."""

from __future__ import annotations

import re

# What nvidia-smi reports, in GiB. A name that stands for cards of several sizes has the smallest.
CARDS = {
    "b200": 178.0,
    "gh200": 95.0,
    "h200": 140.0,
    "h100": 79.0,
    "h100nvl": 93.0,
    "h800": 79.0,
    "a100": 39.5,
    "a800": 79.0,
    "a40": 44.9,
    "a30": 23.6,
    "a16": 14.9,
    "a10": 22.5,
    "a10g": 22.5,
    "a2": 14.9,
    "l40": 44.9,
    "l40s": 44.9,
    "l4": 22.5,
    "t4": 14.6,
    "v100": 15.8,
    "v100s": 31.7,
    "p100": 11.9,
    "p40": 22.4,
    "a6000": 47.5,
    "a5500": 23.6,
    "a5000": 23.6,
    "a4500": 19.7,
    "a4000": 15.7,
    "6000": 22.1,  # Quadro RTX 6000; the newer ones say ada or blackwell
    "6000ada": 47.9,
    "5000ada": 31.5,
    "8000": 44.5,
    "5090": 31.8,
    "5080": 15.8,
    "4090": 23.6,
    "4080": 15.7,
    "4070ti": 11.7,
    "4070": 11.7,
    "3090": 23.6,
    "3090ti": 23.6,
    "3080": 9.8,
    "3080ti": 11.8,
    "3070": 7.8,
    "3060": 11.7,
    "2080ti": 10.8,
    "2080": 7.8,
    "1080ti": 10.9,
    "titanrtx": 23.6,
    "titanv": 11.8,
    "titanxp": 11.9,
}
MAKERS = re.compile(r"nvidia|tesla|geforce|quadro|rtx|gtx")
NO_PART = re.compile(r"gpu|generation|hgx|pcie|sxm[0-9]*|hbm[0-9a-z]*")
SIZE = re.compile(r"([0-9]+)gb?|(16|24|32|40|48|80|94|96|141)")
SLICE = re.compile(r"[0-9]+g[._]([0-9]+)gb")


def gpu_memory(name: str) -> float | None:
    """Return the memory in GiB of a card, or of a slice of one (`a100_1g.5gb`), by its name; None where it is unknown.

    Maker, family and form may be named or not (`NVIDIA A100-SXM4-80GB`, `a100_80`, `rtx2080ti`); a size counts.
    """
    name = name.casefold()
    part = SLICE.search(name)
    if part:
        return 0.95 * int(part[1])
    words = [word for word in re.split(r"[^a-z0-9]+", name) if word and not NO_PART.fullmatch(word)]
    sizes = [size for word in words[1:] if (size := SIZE.fullmatch(word))]
    model = "".join(word for word in words if not (SIZE.fullmatch(word) and word != words[0]))
    card = CARDS.get(model) or CARDS.get(MAKERS.sub("", model))
    if card is None or not sizes:
        return card
    return 0.98 * int(sizes[-1][1] or sizes[-1][2])
