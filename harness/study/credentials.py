"""Secrets of jobs by reference: a study's files say where a job finds one, never the secret.

In a profile's `env` a value is `env`, taken from the environment that the job starts with (sbatch hands it on),
or `file:PATH`, a file of the user's own outside the study that nobody else may read, or it is meant as it is written,
which is refused where name or value look secret. Secrets are read when the job starts its processes, and go nowhere
but into their environment.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from agent.contract.config import CONFIGS
from agent.contract.words import ConfigError

FROM_ENV = "env"
FROM_FILE = "file:"
LARGEST = 2**16
WORDS = {"KEY", "AUTH", "OAUTH", "PAS", "PWD", "PAT", "BEARER", "COOKIE"}
ENDS = ("APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL")
PLACES = {"PATH", "FILE", "DIR", "SOCK"}  # where one lies, not what it is
LOGIN = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
ASSIGNED = re.compile(r"(?<![A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]*)=(?![\"']?[$`])[\"']?[^\s\"',;]")


def looks_secret(name: str, value: str = "") -> bool:
    """Return whether a variable of this name and value is nobody else's business."""
    parts = [part.removesuffix("S") for part in name.upper().split("_") if part]  # PASS becomes PAS
    secret = any(part in WORDS or part.endswith(ENDS) for part in parts)
    if name in ("PWD", "OLDPWD") or (parts[-1:] and parts[-1] in PLACES):
        secret = False
    return secret or bool(LOGIN.search(value))


def refuse_clear(env: Mapping[str, object], texts: Mapping[str, str], prefix: str = "") -> None:
    """Raise ConfigError, which does not repeat it, where a secret is written in clear.

    `env` are a profile's variables; `texts` its shell lines and options of sbatch, by key.
    """
    for name, value in env.items():
        if looks_secret(name, str(value)) and not is_reference(str(value)):
            raise ConfigError(
                f"{prefix}env.{name}: looks like a secret, and would be kept in clear with the study; say where jobs "
                f"find it: {prefix}env.{name}=env (in the environment of the launch), or {prefix}env.{name}=file:PATH "
                "(a file that only you may read, by its absolute path or from ~/)"
            )
    for key, text in texts.items():
        for found in ASSIGNED.finditer(text):
            if looks_secret(found[1]):
                instead = f"set {prefix}env.{found[1]}=env or {prefix}env.{found[1]}=file:PATH instead"
                raise ConfigError(f"{prefix}{key}: sets {found[1]}, which looks like a secret, in clear; {instead}")
        if LOGIN.search(text):
            raise ConfigError(f"{prefix}{key}: holds a password in clear; put it in a variable of {prefix}env instead")


def is_reference(text: str) -> bool:
    """Return whether a variable's value says where a job finds it."""
    return text == FROM_ENV or text.startswith((f"{FROM_FILE}/", f"{FROM_FILE}~/"))


def resolve(env: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    """Return a profile's variables for a job's processes, references replaced by what they refer to.

    Raises: ConfigError, naming the variable, where a secret is not to be found, or others may read it.
    """
    refuse_clear(env, {}, "cluster.")  # of a study that was launched before they were refused
    return {name: _find(name, text, base) if is_reference(text) else text for name, text in env.items()}


def check_places(env: Mapping[str, str], runs: Path) -> None:
    """Raise ConfigError where a secret's file lies in the code or among the studies, or is there and not private."""
    for name, text in env.items():
        if text != FROM_ENV and is_reference(text):
            path = _path(name, text)
            for folder in (CONFIGS.parent, runs):
                if path.resolve().is_relative_to(folder.resolve()):
                    reason = f"{path} is in {folder}, which is copied and shared; keep it elsewhere"
                    raise ConfigError(f"env.{name}: {reason}")
            if path.exists():
                _read(name, path)


def _path(name: str, text: str) -> Path:
    try:
        return Path(text.removeprefix(FROM_FILE)).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"env.{name}: {text}: {error}") from error


def _find(name: str, text: str, base: Mapping[str, str]) -> str:
    if text != FROM_ENV:
        return _read(name, _path(name, text))
    if name not in base:
        reason = "is not set in the environment that the job started with"
        raise ConfigError(f"env.{name}: {reason}; export it before you launch, or write {name}=file:PATH")
    return base[name]


def _read(name: str, path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"env.{name}: {path}: cannot be read ({error.strerror})") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            raise ConfigError(f"env.{name}: {path}: a plain file of your own is expected")
        if found.st_mode & 0o077:
            raise ConfigError(f"env.{name}: {path}: others may read it; chmod 600 {path}")
        content = os.read(descriptor, LARGEST + 1)
    finally:
        os.close(descriptor)
    value = content.decode("utf-8", errors="replace").strip()
    if not value or len(content) > LARGEST or "\0" in value or "\ufffd" in value:
        raise ConfigError(f"env.{name}: {path}: one value of at most {LARGEST} characters is expected")
    return value
