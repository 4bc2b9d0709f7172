"""Atari 2600 through the Arcade Learning Environment's own interface, frame by frame as the published runs saw it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from ale_py import Action, ALEInterface, ALEState, LoggerMode, roms

from agent.contract.tasks import ATARI_UNPLAYABLE
from agent.contract.words import ConfigError, nearest
from agent.envs.base import State, Step, check_seed, discrete, record
from agent.envs.state import ANY, MT19937, StateError, check
from agent.spec import ArraySpec, DiscreteAction, EnvSpec

SUITE = "Atari"
PACKAGE = "ale_py"
WORKERS_FROM = 4
# Those of Atari-100k; every other ROM is a task, too.
TASKS = (
    "alien amidar assault asterix bank_heist battle_zone boxing breakout chopper_command crazy_climber demon_attack "
    "freeway frostbite gopher hero james_bond kangaroo krull kung_fu_master ms_pacman pong private_eye qbert "
    "road_runner seaquest up_n_down"
)
ROM_OF_GAME = {"james_bond": "jamesbond"}

cv2.setNumThreads(0)
ALEInterface.setLoggerMode(LoggerMode.Error)


def games() -> list[str]:
    """List every game that can be played: our names where they differ from the ROM's, the ROM's otherwise."""
    ours = {rom: game for game, rom in ROM_OF_GAME.items()}
    playable = (rom for rom in roms.get_all_rom_ids() if rom and rom not in ATARI_UNPLAYABLE)
    return sorted(ours.get(rom, rom) for rom in playable)


def rom_of(game: str) -> str:
    """Return the ROM id of `game`.

    Raises ConfigError naming the nearest game when there is none of this name.
    """
    rom = ROM_OF_GAME.get(game, game)
    if rom not in roms.get_all_rom_ids() or rom in ATARI_UNPLAYABLE:
        raise ConfigError(nearest(f"atari_{game}", [f"atari_{name}" for name in games()], "task"))
    return rom


def resize_area(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Return uint8 [height, width, channels] shrunk to `size` (height, width), each pixel the exact mean of its area.

    For 210×160 to 64×64 that is floor((n + 262) / 525) with n the sum weighted in units of 1/64 pixel (tested).
    """
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)


class Atari:
    """One game. A step repeats its action and shows the elementwise maximum of the last two raw frames."""

    def __init__(
        self,
        game: str,
        seed: int,
        *,
        length: int = 108_000,
        noops: int = 30,
        repeat: int = 4,
        size: int = 64,
        sticky: float = 0.0,
        limit_is_terminal: bool = True,
        full_actions: bool = False,
    ) -> None:
        """Load the game.

        `length` is the episode's limit in raw frames (no-ops not counted), a reset is followed by `randint(noops)`
        no-ops (30: 0 to 29); `sticky` the probability that the emulator repeats the previous action instead;
        `limit_is_terminal` reports the limit as a true end, as the published code does.
        Raises ConfigError for an unknown game and for a setting out of range.
        """
        least = {"length": (length, 1), "noops": (noops, 0), "repeat": (repeat, 1), "size": (size, 1)}
        for name, (value, bound) in least.items():
            if value < bound:
                raise ConfigError(f"env.atari.{name}={value}: expected at least {bound}")
        if not 0.0 <= sticky < 1.0:
            raise ConfigError(f"env.atari.sticky={sticky}: expected a probability below 1")
        self._name = f"atari_{game}"
        self._length, self._noops, self._repeat = length, noops, repeat
        self._limit_is_terminal = limit_is_terminal
        self._random = np.random.RandomState(check_seed(seed))
        self._ale = _load(rom_of(game), seed, sticky)
        self._actions = list(self._ale.getLegalActionSet() if full_actions else self._ale.getMinimalActionSet())
        height, width = self._ale.getScreenDims()
        self._newest = np.zeros((height, width, 3), np.uint8)
        self._previous = np.zeros((height, width, 3), np.uint8)
        self._pooled = np.zeros((height, width, 3), np.uint8)
        self._frames, self._running = 0, False
        self._space = DiscreteAction(len(self._actions))
        self.spec = EnvSpec({"image": ArraySpec((size, size, 3), "uint8")}, self._space, repeat)

    @property
    def action_set(self) -> tuple[int, ...]:
        """The emulator's code of every action."""
        return tuple(int(action.value) for action in self._actions)

    def reset(self) -> Step:
        """Start a game, let a drawn number of frames pass, and return the first record."""
        self._ale.reset_game()
        count = self._random.randint(self._noops) if self._noops else 0
        for _ in range(count):
            self._ale.act(Action.NOOP)
            if self._ale.game_over():
                self._ale.reset_game()
        self._ale.getScreenRGB(self._newest)
        self._previous.fill(0)
        self._frames, self._running = 0, True
        return record({"image": self._shrink(self._newest)}, 0.0, first=True)

    def step(self, action: Any) -> Step:
        """Repeat `action` (an index into the action set) and return what follows, the reward summed and not clipped.

        Raises RuntimeError after the last record of an episode, ValueError for an unknown action.
        """
        if not self._running:
            raise RuntimeError(f"{self._name}: the episode is over; call reset()")
        code = self._actions[discrete(action, self._space)]
        ale, reward, over = self._ale, 0, False
        for frame in range(self._repeat):
            reward += ale.act(code)
            self._frames += 1
            if frame == self._repeat - 2:
                ale.getScreenRGB(self._previous)
            over = ale.game_over(with_truncation=False)
            if over:
                break
        ale.getScreenRGB(self._newest)
        np.maximum(self._newest, self._previous, out=self._pooled)
        limit = self._frames >= self._length
        self._running = not (over or limit)
        return record(
            {"image": self._shrink(self._pooled)},
            float(reward),
            last=over or limit,
            terminal=over or (limit and self._limit_is_terminal),
        )

    def save(self) -> State:
        """Return the emulator's state with its random numbers, both frame buffers, the no-op generator and counters."""
        return {
            "name": self._name,
            "actions": list(self.action_set),
            "emulator": np.frombuffer(self._emulator(), np.uint8),
            "newest": self._newest.copy(),
            "previous": self._previous.copy(),
            "random": self._random.get_state(legacy=False),
            "frames": self._frames,
            "running": self._running,
        }

    def load(self, state: State) -> None:
        """Continue exactly from what `save` returned.

        A fresh emulator is run for one frame first: restoring straight into it is inexact for some games (Q*bert).
        The emulator only prints about a part that it cannot read, and keeps its own: so it is restored from two places.
        Raises StateError when the state belongs to another game, or the emulator does not take it.
        """
        frame = ArraySpec(self._newest.shape, "uint8")
        schema = {"name": self._name, "actions": list(self.action_set), "emulator": ArraySpec((ANY,), "uint8")}
        schema |= {"newest": frame, "previous": frame, "random": MT19937}
        check(state, {**schema, "frames": range(self._length + self._repeat), "running": bool}, self._name)
        self._ale.reset_game()
        emulator = state["emulator"].tobytes()
        results: set[bytes] = set()
        for _ in range(2):
            self._ale.act(Action.NOOP)
            results.add(self._restored(emulator))
        if len(results) > 1:
            raise StateError(f"{self._name}: the emulator cannot read a part of its saved state")
        self._newest[:], self._previous[:] = state["newest"], state["previous"]
        self._random.set_state(state["random"])
        self._frames, self._running = state["frames"], state["running"]

    def close(self) -> None:
        """Nothing to let go of but memory."""

    def _emulator(self) -> bytes:
        return self._ale.cloneState(include_rng=True).serialize()

    def _restored(self, emulator: bytes) -> bytes:
        try:
            self._ale.restoreState(ALEState(emulator))
        except (RuntimeError, ValueError, SystemError) as error:
            raise StateError(f"{self._name}: the emulator cannot read its saved state ({error})") from error
        return self._emulator()

    def _shrink(self, image: np.ndarray) -> np.ndarray:
        return resize_area(image, self.spec.obs["image"].shape[:2])


def _load(rom: str, seed: int, sticky: float) -> ALEInterface:
    """Return an emulator with the game in it; its settings only take effect when set before the ROM is loaded."""
    ale = ALEInterface()
    ale.setInt("random_seed", seed)
    ale.setInt("system_random_seed", seed)
    ale.setFloat("repeat_action_probability", sticky)
    ale.setInt("max_num_frames_per_episode", 0)
    ale.setBool("truncate_on_loss_of_life", False)
    ale.loadROM(str(roms.get_rom_path(rom)))
    return ale
