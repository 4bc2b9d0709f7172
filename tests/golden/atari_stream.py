"""Streams of Atari records: read a folder's, keep them in our own format, play them with our environment, compare."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

import numpy as np
from ale_py import roms

from agent.envs.atari import Atari, rom_of
from tests.golden.report import FileReport

THEIR_KEYS = {
    *("game", "seed", "length", "num_actions", "minimal_action_set", "rom_md5", "stream_sha256", "actions"),
    *("image_sha256_16", "reward", "is_first", "is_last", "over"),
}
FLAGS = ("is_first", "is_last", "is_terminal")
PUBLISHED_TERMINAL = "limit_is_terminal"

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class AtariStream:
    """What one game showed for given actions: a digest of every image, rewards, and the records with each flag set.

    `images` holds some of them in full, those of the records `shown`.
    """

    game: str
    seed: int
    limit_frames: int
    rom_md5: str
    action_set: np.ndarray
    actions: np.ndarray
    digests: np.ndarray
    rewards: np.ndarray
    first: np.ndarray
    last: np.ndarray
    game_over: np.ndarray
    whole: str
    shown: np.ndarray
    images: np.ndarray

    def save(self, path: Path) -> None:
        """Write the stream in our own format."""
        arrays: dict[str, Any] = {key: np.asarray(value) for key, value in vars(self).items()}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> "AtariStream":
        """Read a stream in our own format."""
        with np.load(path) as file:
            return cls(**{key: file[key].item() if file[key].ndim == 0 else file[key] for key in file.files})


def read(path: Path) -> AtariStream:
    """Translate a folder's JSON file and, where it has one, the `_frames.npz` beside it.

    Raises ValueError when the files hold something that would not be compared.
    """
    theirs = json.loads(path.read_text(encoding="utf-8"))
    frames = path.with_name(f"{path.stem}_frames.npz")
    shown, images = np.zeros(0, np.int64), np.zeros((0, 64, 64, 3), np.uint8)
    unknown = set(theirs) - THEIR_KEYS
    if frames.exists():
        with np.load(frames) as file:
            shown, images = file["index"], file["image"]
            unknown |= set(file.files) - {"index", "image"}
    if unknown:
        raise ValueError(f"not compared: {', '.join(sorted(unknown))}")
    if theirs["num_actions"] != len(theirs["minimal_action_set"]):
        raise ValueError(f"num_actions {theirs['num_actions']} for {len(theirs['minimal_action_set'])} actions")
    records = np.arange(len(theirs["reward"]))
    return AtariStream(
        game=theirs["game"],
        seed=theirs["seed"],
        limit_frames=theirs["length"],
        rom_md5=theirs["rom_md5"],
        action_set=np.array(theirs["minimal_action_set"]),
        actions=np.array(theirs["actions"]),
        digests=np.stack([np.frombuffer(bytes.fromhex(text), np.uint8) for text in theirs["image_sha256_16"]]),
        rewards=np.array(theirs["reward"], np.float64),
        first=np.isin(records, theirs["is_first"]),
        last=np.isin(records, theirs["is_last"]),
        game_over=np.isin(records, theirs["over"]),
        whole=theirs["stream_sha256"],
        shown=shown,
        images=images,
    )


def play(stream: AtariStream, make: Callable[..., Atari] = Atari) -> dict[str, np.ndarray]:
    """Play a stream's actions with our environment and return every array of its records, [records, ...].

    `is_terminal` is the end of the game alone; what the published setting calls terminal comes beside it.
    """
    honest, published = (
        make(stream.game, stream.seed, length=stream.limit_frames, limit_is_terminal=flag) for flag in (False, True)
    )
    records, terminal = [honest.reset()], [published.reset()["is_terminal"]]
    for action in stream.actions.tolist():
        over = records[-1]["is_last"]
        records.append(honest.reset() if over else honest.step(action))
        terminal.append((published.reset() if over else published.step(action))["is_terminal"])
    arrays = {key: np.stack([record[key] for record in records]) for key in records[0]}
    return {**arrays, PUBLISHED_TERMINAL: np.array(terminal)}


def compare(report: FileReport, stream: AtariStream, ours: Arrays) -> None:
    """Compare everything a stream holds, bit for bit."""
    actions = np.random.RandomState(1000 + stream.seed).randint(0, len(stream.action_set), len(stream.actions))
    report.equal("actions", stream.actions, actions)
    report.equal("minimal_action_set", stream.action_set, np.array(Atari(stream.game, 0).action_set))
    rom = Path(str(roms.get_rom_path(rom_of(stream.game)))).read_bytes()
    report.equal("rom_md5", as_numbers(stream.rom_md5), as_numbers(md5(rom).hexdigest()))
    report.equal("image_sha256_16", stream.digests, np.stack([digest(image) for image in ours["image"]]))
    report.equal("reward", stream.rewards, ours["reward"])
    report.equal("is_first", stream.first, ours["is_first"])
    report.equal("is_last", stream.last, ours["is_last"])
    report.equal("over", stream.game_over, ours["is_terminal"])
    report.equal("is_last (terminal in the published setting)", stream.last, ours[PUBLISHED_TERMINAL])
    report.equal("image (frames)", stream.images, ours["image"][stream.shown])
    whole = sha256()
    for image, reward, *marks in zip(*(ours[key] for key in ("image", "reward", *FLAGS)), strict=True):
        whole.update(image.tobytes() + np.float32(reward).tobytes() + bytes(map(bool, marks)))
    report.equal("stream_sha256", as_numbers(stream.whole), as_numbers(whole.hexdigest()))


def digest(image: np.ndarray) -> np.ndarray:
    """Return the first eight bytes of the image's SHA-256, as numbers."""
    return np.frombuffer(sha256(image.tobytes()).digest()[:8], np.uint8)


def as_numbers(hexadecimal: str) -> np.ndarray:
    """Return the bytes of a hexadecimal text, as numbers."""
    return np.frombuffer(bytes.fromhex(hexadecimal), np.uint8)
