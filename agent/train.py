"""The command line that trains: `python -m agent.train --configs PRESET… --task T --seed K --harmony B --logdir DIR`.

Any key of the configuration is a flag (`--model_opt.lr 1e-4`) or `key=value`. Running the same command again
continues the run; another configuration in the same folder is refused. `--runs DIR…` trains prepared run folders as
one pack. Exit codes: 0 complete, 1 error, 2 wrong input, 75 asked to stop (checkpointed, run the same command again).
"""

from __future__ import annotations

from agent.run.stop import StopFlag, Stopped, leave

STOP = StopFlag() if __name__ == "__main__" else None  # before anything that takes time to import

import contextlib
import os
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agent.contract import config as configuration
from agent.contract.config import Config
from agent.contract.exit_codes import DONE, FAILED, STOPPED, WRONG_INPUT
from agent.contract.files import RecordError, set_aside, write_json
from agent.contract.ownership import make_private, refuse_foreign_cache, refuse_foreign_run, tighten_umask
from agent.contract.records import Provenance, read_record
from agent.contract.run_folder import RunDir, read_result
from agent.contract.terminal import fit, print_anywhere
from agent.contract.variables import JOB_ID
from agent.contract.words import ConfigError, typed_path
from agent.envs.registry import check_available

if TYPE_CHECKING:
    from agent.run.member import Member

USAGE = "python -m agent.train --configs atari100k --task atari_pong --seed 0 --harmony True --logdir DIR [KEY=VALUE]…"


@dataclass
class Arguments:
    """What the command line asked for."""

    configs: list[str] = field(default_factory=list[str])
    logdir: str | None = None
    runs: list[str] = field(default_factory=list[str])
    overrides: dict[str, str] = field(default_factory=dict[str, str])
    debug: bool = False
    help: bool = False


def parse(words: list[str]) -> Arguments:
    """Return the command line's meaning; ConfigError for a word that has none."""
    given = Arguments()
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("--"):
            key, equals, value = word.partition("=")
            if not equals:
                raise ConfigError(f"{word!r}: expected --KEY VALUE or KEY=VALUE, as in: {USAGE}")
            _set(given, key, [value])
            continue
        key, equals, value = word[2:].partition("=")
        if key in ("debug", "help") and not equals:
            setattr(given, key, True)
            continue
        values = [value] if equals else []
        many = key in ("configs", "runs")
        while not equals and position < len(words) and not _is_flag(words[position]):
            if values and (not many or (key == "configs" and "=" in words[position])):
                break  # a run folder may have a "=" in its name, so nothing is set behind --runs
            values.append(words[position])
            position += 1
        if not values:
            raise ConfigError(f"--{key}: a value is missing")
        _set(given, key, values)
    return given


def _is_flag(word: str) -> bool:
    return word.startswith("--") and len(word) > 2


def _set(given: Arguments, key: str, values: list[str]) -> None:
    if key == "configs":
        given.configs += [name for value in values for name in value.split(",") if name]
    elif key == "runs":
        given.runs += values
    elif key == "logdir":
        if given.logdir is not None:
            raise ConfigError(f"logdir is given twice: {given.logdir!r} and {values[0]!r}")
        given.logdir = values[0]
    else:
        if key in given.overrides:
            raise ConfigError(f"{key} is given twice: {given.overrides[key]!r} and {values[0]!r}")
        if key not in configuration.FIELD_TYPES:
            raise ConfigError(configuration.nearest_key(key, extra=("configs", "logdir", "runs")))
        given.overrides[key] = values[0]


def prepare(given: Arguments) -> list[tuple[Config, RunDir]]:
    """Return the runs to train, their folders made and holding their configuration.

    Raises: ConfigError before anything is written when the input is wrong; RecordError when a folder can't be used.
    """
    if given.runs:
        if given.configs or given.overrides or given.logdir:
            raise ConfigError("--runs trains folders as their config.yaml says; it takes no other settings")
        folders = [RunDir(typed_path("--runs", name)) for name in given.runs]
        for run in folders:
            refuse_foreign_run(run.path)
        pairs = [(_saved(run), run) for run in folders]
        _check_pack(pairs)
        _check_cache(pairs[0][0])
        return pairs
    if given.logdir is None:
        raise ConfigError(f"--logdir is missing: {USAGE}")
    if "task" not in given.overrides:
        raise ConfigError(f"--task is missing: {USAGE}")
    config, run = (
        configuration.make_config(given.configs, given.overrides),
        RunDir(typed_path("--logdir", given.logdir)),
    )
    refuse_foreign_run(run.path)
    _check_cache(config)
    check_available(config.task, config.env)
    if run.config.exists():
        refuse_other(config, _saved(run), run)
    try:
        make_private(run.path)
        if not run.config.exists():
            configuration.dump_yaml(config, run.config)
    except OSError as error:
        raise RecordError(f"{run.path}: cannot be written ({error.strerror})") from error
    return [(config, run)]


def _check_cache(config: Config) -> None:
    """Raise ForeignError when the compilation cache that a configuration names may hold programs of others'."""
    if config.jax.compilation_cache not in ("auto", "off"):
        refuse_foreign_cache(Path(config.jax.compilation_cache))


def _saved(run: RunDir) -> Config:
    if not run.config.exists():
        raise ConfigError(f"{run.config}: no such file; --runs takes folders that launch prepared")
    return configuration.from_dict(configuration.read_yaml(run.config))


def refuse_other(config: Config, saved: Config, run: RunDir) -> None:
    """Raise ConfigError with the differing keys when a folder belongs to another configuration."""
    changes = configuration.differences(saved, config)
    if changes:
        raise ConfigError(
            f"{run.path}: holds a run of another configuration ({'; '.join(changes)}); choose another --logdir, or "
            "repeat the first command to continue that run"
        )


def _check_pack(pairs: list[tuple[Config, RunDir]]) -> None:
    first = pairs[0][0]
    for config, run in pairs[1:]:
        alike = config.model_copy(update={"seed": first.seed, "method": first.method})
        changes = configuration.differences(first, alike, of=configuration.flatten)
        if changes:
            raise ConfigError(f"{run.path}: runs of a pack differ in seed and method only, not in {'; '.join(changes)}")
    folders = [run.path.resolve() for _, run in pairs]
    if len(set(folders)) < len(folders):
        raise ConfigError("--runs: a folder is given twice")


def train(pairs: list[tuple[Config, RunDir]], stop: StopFlag) -> int:
    """Train runs as one pack and return the exit code."""
    if stop():
        report_stop(run for _, run in pairs)
        return STOPPED
    from agent.run import device, heap

    device.configure(pairs[0][0])
    kind = device.describe()
    device.verify_pool()
    if device.is_cpu():
        heap.unite()
    from agent.run import provenance, replay
    from agent.run.failure import reason_of
    from agent.run.loop import Loop
    from agent.run.member import Member
    from agent.run.programs import Programs
    from agent.run.watchdog import Watchdog

    members: list[Member] = []
    failed = 0
    for config, run in pairs:
        try:
            job = os.environ.get(JOB_ID)
            member = Member(config, run, pack_size=len(pairs), job_id=job, interrupted=stop.interrupts)
            try:
                member.claim.status.device = kind
                if not _has_provenance(run):
                    write_json(run.provenance, provenance.collect(kind) | {"config_hash": member.hash})
            except Exception as error:
                member.end("failed", *reason_of(error))
                raise
            members.append(member)
        except Stopped:
            break
        except Exception as error:  # noqa: BLE001 - ends this run only, with its traceback
            failed += 1
            report_failure(run, error)
    if stop():
        for member in members:
            member.end("stopped", "stopped", "asked to stop before it began")
        report_stop(run for _, run in pairs)
        return STOPPED
    if not members:
        return FAILED if failed else DONE
    config, spec = members[0].config, members[0].spec
    try:
        rows = replay.replay_spec(config, spec)
        programs = Programs(config, spec, rows, [member.config.method for member in members])
        on_device = device.replay_fits(config, rows.nbytes * len(members))
    except Exception as error:
        for member in members:
            member.end("failed", *reason_of(error))
        raise
    with Watchdog(members, config.env.hang_s, stop.heard):
        outcomes = Loop(members, programs, on_device=on_device, stopped=stop).run()
    if failed or "failed" in outcomes:
        return FAILED
    return STOPPED if "stopped" in outcomes else DONE


def _has_provenance(run: RunDir) -> bool:
    """Return whether a run says what it began with; a damaged file is kept aside."""
    try:
        return read_record(run.provenance, Provenance) is not None
    except RecordError as error:
        print(f"{error}; kept as {set_aside(run.provenance).name}", file=sys.stderr)
        return False


def report_stop(runs: Iterable[RunDir]) -> None:
    """Record in status.json of runs that nobody holds, and that have not failed, that a stop came before they began."""
    from agent.contract.lease import is_held
    from agent.contract.records import Status
    from agent.contract.run_folder import read_status, write_status

    for run in runs:
        if is_held(run) or run.result.exists():
            continue
        try:
            status = read_status(run) or Status(state="stopped")
        except RecordError:  # a damaged one is replaced
            status = Status(state="stopped")
        if status.state in ("running", "stopped"):
            status.state, status.reason, status.phase = "stopped", "stopped", "ended"
            status.message = status.message or "asked to stop before it began"
            write_status(run, status)


def report_failure(run: RunDir, error: Exception) -> None:
    """Print a run's error and record it in status.json, unless another process owns the folder."""
    from agent.contract.lease import is_held
    from agent.contract.run_folder import Status, read_status, write_status
    from agent.run.failure import reason_of

    reason, message = reason_of(error)
    print(f"{run.path}: {reason}: {message}", file=sys.stderr)
    if not isinstance(error, RecordError):
        traceback.print_exception(error)
    if is_held(run):
        return
    try:
        status = read_status(run) or Status()
    except RecordError:  # it is replaced: what it said is lost already
        status = Status()
    status.state, status.reason, status.message = "failed", reason, message
    try:
        write_status(run, status)
    except OSError as problem:
        print(f"{run.status}: not written: {problem}", file=sys.stderr)


def main(words: list[str] | None = None, stop: StopFlag | None = None) -> int:
    """Run the command line and return its exit code; `stop` has listened since before the imports."""
    print_anywhere()
    words = sys.argv[1:] if words is None else words
    tighten_umask()
    debug = "--debug" in words
    try:
        given = parse(words)
        if given.help or not words:
            print(fit(__doc__ or ""))
            return DONE if given.help else WRONG_INPUT
        pairs = prepare(given)
    except (ConfigError, RecordError) as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return WRONG_INPUT
    stop = stop or StopFlag()
    failed = False
    unfinished: list[tuple[Config, RunDir]] = []
    for config, run in pairs:
        try:
            if read_result(run, configuration.config_hash(config)) is None:
                unfinished.append((config, run))
        except RecordError as error:
            report_failure(run, error)
            failed = True
    code = DONE
    try:
        if unfinished:
            code = train(unfinished, stop)
    except Exception as error:
        if debug:
            raise
        for _, run in unfinished:
            report_failure(run, error)
        return FAILED
    for _, run in pairs:
        with contextlib.suppress(RecordError):
            if (result := read_result(run)) is not None:
                print(f"{run.path}: complete at {result.env_steps} steps, final score {result.final_score}")
    return FAILED if failed else code


if __name__ == "__main__":
    leave(main(stop=STOP))
