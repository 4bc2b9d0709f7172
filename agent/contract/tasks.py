"""Task names by suite: what can be known without importing an environment."""

ATARI_100K_GAMES = (
    "alien amidar assault asterix bank_heist battle_zone boxing breakout chopper_command crazy_climber demon_attack "
    "freeway frostbite gopher hero james_bond kangaroo krull kung_fu_master ms_pacman pong private_eye qbert "
    "road_runner seaquest up_n_down"
)
ATARI_100K: tuple[str, ...] = tuple(f"atari_{game}" for game in ATARI_100K_GAMES.split())

# Other names of a game, as its ROM's; one game is one task.
ALIASES: dict[str, str] = {"atari_jamesbond": "atari_james_bond"}

# ROMs in ale-py's wheel that its single-player interface cannot load (it ends the process).
ATARI_UNPLAYABLE: tuple[str, ...] = ("combat", "joust", "maze_craze", "warlords")

METAWORLD_NAMES = (
    "assembly basketball bin_picking box_close button_press_topdown button_press_topdown_wall button_press "
    "button_press_wall coffee_button coffee_pull coffee_push dial_turn disassemble door_close door_lock door_open "
    "door_unlock hand_insert drawer_close drawer_open faucet_open faucet_close hammer handle_press_side handle_press "
    "handle_pull_side handle_pull lever_pull peg_insert_side pick_place_wall pick_out_of_hole reach push_back push "
    "pick_place plate_slide plate_slide_side plate_slide_back plate_slide_back_side peg_unplug_side soccer stick_push "
    "stick_pull push_wall reach_wall shelf_place sweep_into sweep window_open window_close"
)
METAWORLD: tuple[str, ...] = tuple(f"metaworld_{name}" for name in METAWORLD_NAMES.split())

CATCH: tuple[str, ...] = ("catch",)

# Suites whose task names are only known to their own packages; the name is checked when the environment is made.
OPEN_SUITES: tuple[str, ...] = ("gym", "dmc", "crafter")

SUITES: tuple[str, ...] = ("atari", "metaworld", "catch", *OPEN_SUITES)
