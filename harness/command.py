"""The grammar all commands share: `key=value` configures, `--flags` steer the tool."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.contract.exit_codes import DONE, FAILED, INTERRUPTED, WRONG_INPUT
from agent.contract.files import RecordError
from agent.contract.ownership import ForeignError, tighten_umask
from agent.contract.terminal import fit, print_anywhere
from agent.contract.words import ConfigError, nearest


class SubmissionError(Exception):
    """Jobs were not taken, or it cannot be known whether they were; the message is one sentence."""


# What every command understands, with one line of help.
KEYS: dict[str, str] = {
    "grid": "name of a file in configs/grids, or a path to one",
    "seeds": "0..4, or 1,3; 5 alone is seed 5, and for launch the seeds 0..4",
    "tasks": "comma list; the suite's prefix may be left out",
    "methods": "dreamerv3, harmony_dreamerv3 (or the start of a name)",
    "cluster": "name of a profile in slurm/, the path of one, or local",
    "pack": "runs of one task per job, or auto",
    "pack.mode": "vmap (one process) or process (one process per run)",
    "jobs": "packs at once on cluster=local",
    "runs": "folder of all studies (default: runs)",
    "study": "folder of this study inside it (default: the grid's name)",
    "preset": "the agent's presets instead of the grid's",
}
PREFIXES = ("agent.", "cluster.")


def counted(number: int, noun: str) -> str:
    """Return a number of things as text: `1 run`, `2 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Flag:
    """A `--flag`: its help, and the name of its value if it takes one."""

    help: str
    value: str | None = None


@dataclass(frozen=True)
class Command:
    """A parsed command line: settings and overrides as text, flags with their values ("" for plain ones)."""

    settings: dict[str, str] = field(default_factory=dict[str, str])
    agent: dict[str, str] = field(default_factory=dict[str, str])
    cluster: dict[str, str] = field(default_factory=dict[str, str])
    flags: dict[str, str] = field(default_factory=dict[str, str])

    def selectors(self, *keys: str) -> str:
        """Return the given settings as a shell takes them, for the command to run next."""
        return " ".join(f"{key}={shlex.quote(self.settings[key])}" for key in keys if key in self.settings)

    def words(self) -> str:
        """Return all settings and overrides as a shell takes them."""
        pairs = [*self.settings.items(), *((f"agent.{k}", v) for k, v in self.agent.items())]
        pairs += [(f"cluster.{k}", v) for k, v in self.cluster.items()]
        return " ".join(f"{key}={shlex.quote(value)}" for key, value in pairs)


def parse(argv: Sequence[str], flags: Mapping[str, Flag]) -> Command:
    """Return the parsed command line; ConfigError names what is unknown, given twice or lacks its value."""
    command = Command()
    words = list(argv)
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            _take_flag(word[2:], words, flags, command)
        elif "=" in word:
            key, _, value = word.partition("=")
            _take_setting(key, value, command)
        else:
            example = f"did you mean '--{word}'?" if word in flags else "settings are key=value, as in grid=demo"
            raise ConfigError(f"{word!r} is not understood; {example}")
    return command


def _take_flag(text: str, words: list[str], flags: Mapping[str, Flag], command: Command) -> None:
    name, equals, value = text.partition("=")
    if name not in flags:
        if name in KEYS or name.startswith(PREFIXES):
            raise ConfigError(f"--{name}: settings are written key=value, as in {name}={value or 'VALUE'}")
        raise ConfigError(nearest(f"--{name}", [f"--{flag}" for flag in flags], "flag"))
    if name in command.flags:
        raise ConfigError(f"--{name} is given twice")
    if flags[name].value is None and equals:
        raise ConfigError(f"--{name} takes no value, got {value!r}")
    if flags[name].value is not None and not equals:
        if not words or words[0].startswith("--"):
            raise ConfigError(f"--{name} needs a value: --{name} {flags[name].value}")
        value = words.pop(0)
    command.flags[name] = value


def _take_setting(key: str, value: str, command: Command) -> None:
    table, name = command.settings, key
    if key.startswith(PREFIXES):
        prefix, name = key.split(".", 1)
        table = command.agent if prefix == "agent" else command.cluster
    elif key not in KEYS:
        raise ConfigError(nearest(key, [*KEYS, "agent.KEY", "cluster.KEY"], "setting"))
    if name in table:
        both = "" if key.startswith("cluster.env.") else f": {table[name]!r} and {value!r}"  # which may be secrets
        raise ConfigError(f"{key} is given twice{both}")
    if not value:
        raise ConfigError(f"{key}= needs a value: {KEYS.get(key, 'any value of that key')}")
    table[name] = value


def usage(program: str, summary: str, flags: Mapping[str, Flag]) -> str:
    """Return the text of `--help`."""
    lines = [f"usage: python -m {program} grid=NAME [key=value ...] [--flag ...]", "", summary, "", "settings:"]
    lines += [f"  {key + '=':<12} {text}" for key, text in KEYS.items()]
    lines += [f"  {'agent.KEY=':<12} a key of the agent's configuration; a comma list becomes a grid axis"]
    lines += [f"  {'cluster.KEY=':<12} a key of the cluster profile", "", "flags:"]
    for name, flag in flags.items():
        lines.append(f"  --{name + (' ' + flag.value if flag.value else ''):<22} {flag.help}")
    return fit("\n".join(lines))


def run(
    program: str, summary: str, flags: Mapping[str, Flag], body: Callable[[Command], int], argv: Sequence[str] | None
) -> int:
    """Run one command line and return its exit code: 2, with one line on stderr, when the input was wrong."""
    print_anywhere()
    words = list(sys.argv[1:] if argv is None else argv)
    flags = {**flags, "debug": Flag("show the traceback of an error"), "help": Flag("show this text")}
    if "--help" in words or "-h" in words:
        print(usage(program, summary, flags))
        return DONE
    debug = "--debug" in words
    tighten_umask()
    try:
        return body(parse(words, flags))
    except (ConfigError, ForeignError) as error:
        if debug:
            raise
        print(error, file=sys.stderr)
        return WRONG_INPUT
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - closed with the process
        return DONE
    except (RecordError, SubmissionError) as error:
        if debug:
            raise
        print(error, file=sys.stderr)
        return FAILED
    except OSError as error:
        if debug:
            raise
        print(f"{error.filename or program}: {error.strerror or error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
