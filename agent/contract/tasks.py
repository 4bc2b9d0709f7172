"""Task names that several packages speak of: what can be known without importing an environment."""

from agent.contract.suites import suites

ATARI_100K: tuple[str, ...] = suites()["atari"].tasks()
METAWORLD: tuple[str, ...] = suites()["metaworld"].tasks()

# Other names of a game, as its ROM's; one game is one task.
ALIASES: dict[str, str] = {"atari_jamesbond": "atari_james_bond"}

# ROMs in ale-py's wheel that its single-player interface cannot load (it ends the process).
ATARI_UNPLAYABLE: tuple[str, ...] = ("combat", "joust", "maze_craze", "warlords")
