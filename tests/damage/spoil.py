"""Ways to damage one file of a run: what disks, networks, copies and editors do to files."""

import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

Spoil = Callable[[Path, random.Random, list[Path]], None]
"""Damages a file; the folders are those of other runs and of other checkpoints of the same run."""
LENGTHS = (0, 1, 10, 100, 512, 4096)


def truncate(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Cut to a length of one of the classes: nothing, a header, a block, a random part, all but a byte."""
    size = path.stat().st_size
    os.truncate(path, min(rng.choice([*LENGTHS, rng.randrange(size + 1), size // 2, max(0, size - 1)]), size))


def flip(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def change_digit(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Change one decimal digit to another."""
    data = bytearray(path.read_bytes())
    places = [match.start() for match in re.finditer(rb"[0-9]", data)]
    if places:
        place = rng.choice(places)
        data[place] = rng.choice([digit for digit in b"0123456789" if digit != data[place]])
    path.write_bytes(data)


def blank(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Fill a block with zeros, as a file system does after a crash."""
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    data[start : start + 512] = bytes(len(data[start : start + 512]))
    path.write_bytes(data)


def lose_a_line(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Remove, repeat or exchange lines."""
    lines = path.read_bytes().splitlines(keepends=True)
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        del lines[first]
    elif kind == 1:
        lines.insert(first, lines[second])
    else:
        lines[first], lines[second] = lines[second], lines[first]
    path.write_bytes(b"".join(lines))


def append(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Write something behind the end."""
    with open(path, "ab") as file:
        file.write(rng.choice([b"\0", b"\n", b'{"env_steps": 90}\n', b"x" * 4096]))


def exchange(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Put a file of the same kind from another run, another method or another checkpoint there."""
    other = rng.choice(others)
    kind = re.sub(r"\d+", "*", path.name)
    found = sorted(file for file in other.rglob(kind) if file.name[-5:] == path.name[-5:])
    shutil.copyfile(rng.choice(found or sorted(other.rglob("*.json"))), path)


def exchange_within(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Put another file of the same run there."""
    run = next(parent for parent in path.parents if (parent / "config.yaml").exists())
    shutil.copyfile(rng.choice(sorted(file for file in run.rglob("*") if file.is_file() and file != path)), path)


def delete(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Remove it."""
    path.unlink()


def to_folder(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()


def to_link(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Put a link in its place: to its own content, to nothing, to itself."""
    aside = path.with_name("aside")
    path.rename(aside)
    path.symlink_to(rng.choice([aside, path.with_name("nothing"), path]))


def to_pipe(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Put a pipe that nobody writes into in its place."""
    path.unlink()
    os.mkfifo(path)


KINDS: list[Spoil] = [
    truncate, truncate, flip, flip, change_digit, blank, lose_a_line, append, exchange, exchange, exchange_within,
    delete, to_folder, to_link, to_pipe,
]  # fmt: skip


def exchange_folder(run: Path, rng: random.Random, others: list[Path]) -> None:
    """Put the checkpoint of another run, or another one of the same run, in the place of the run's."""
    shutil.rmtree(run / "checkpoint")
    shutil.copytree(rng.choice(others) / "checkpoint", run / "checkpoint")


def lose_folder(run: Path, rng: random.Random, others: list[Path]) -> None:
    """Remove the checkpoint, or its replay."""
    shutil.rmtree(run / rng.choice(["checkpoint", "checkpoint/replay"]))


FOLDERS: list[Spoil] = [exchange_folder, lose_folder]
