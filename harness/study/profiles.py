"""Cluster profiles: where jobs run and what each may use. One YAML file each, in slurm/."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from agent.contract.config import CONFIGS, read_yaml
from agent.contract.words import ConfigError, nearest, typed_path
from harness.study.credentials import refuse_clear
from harness.study.sbatch_options import check_option

PROFILES = CONFIGS.parent / "slurm"
DEFAULT = "default"
SLURM_FOLDERS = ("/etc/slurm", "/etc/slurm-llnl", "/run/slurm/conf", "/opt/slurm/etc", "/usr/local/etc")
Scalar = str | int | float | bool
TIME = re.compile(r"(?:([0-9]+)-)?([0-9]+)(?::([0-9]{1,2}))?(?::([0-9]{1,2}))?")
PLANNED = {  # variables that every job gets from its plan, and the settings they follow
    "XLA_PYTHON_CLIENT_MEM_FRACTION": "agent.jax.mem_fraction",
    "XLA_CLIENT_MEM_FRACTION": "agent.jax.mem_fraction",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "agent.jax.prealloc",
    "JAX_COMPILATION_CACHE_DIR": "agent.jax.compilation_cache",
    "JAX_PLATFORMS": "cluster.gpus",
    "CUDA_VISIBLE_DEVICES": "cluster.gpus",
}


def minutes(value: Any) -> Any:
    """Return a duration in whole minutes, rounded up as Slurm does; what is no duration is returned as it is.

    These are `90` (minutes), `90:30` (with seconds), `24:00:00`, `2-00`, `2-12:30` and `2-12:30:00`.
    """
    match = TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return value
    days, first, second, third = match[1], int(match[2]), int(match[3] or 0), int(match[4] or 0)
    if days is not None:
        hours, mins, seconds = first, second, third
    else:
        hours, mins, seconds = (first, second, third) if match[4] else (0, first, second)
    return int(days or 0) * 1440 + hours * 60 + mins + (seconds > 0)


class Profile(BaseModel):
    """What one job of a study may use: a pack of `pack` runs on `gpus` GPUs.

    `env` sets variables of its processes, secret ones by reference (`harness/study/credentials.py`);
    `slurm` passes any other sbatch option through, and may say `gres`, `signal` and `requeue` otherwise;
    `setup` lines run in the job's shell before Python starts; `python` is the command that is Python there, "" the one
    that launches; `scratch` is a node-local folder for
    compilation caches ("" is the job's own TMPDIR); one that cannot be used costs compiling again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = ""
    description: str = ""
    kind: str = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpus: Annotated[int, Field(ge=0)] | Literal["auto"] = 1
    gpu_type: str | None = None
    gpu_mem_gb: Annotated[float, Field(gt=0)] | None = None
    cpus: Annotated[int, Field(gt=0)] = 8
    mem_gb: Annotated[float, Field(gt=0)] | None = 32.0
    walltime_min: Annotated[int, BeforeValidator(minutes), Field(ge=1)] = 1440
    signal_s: Annotated[int, Field(ge=0)] = 120
    array_throttle: Annotated[int, Field(gt=0)] = 256
    jobs: Annotated[int, Field(gt=0)] | None = None
    pack: Annotated[int, Field(gt=0)] | Literal["auto"] | None = None
    pack_mode: Literal["vmap", "process"] | None = None
    setup: tuple[str, ...] = ()
    python: str = ""
    env: dict[str, str] = Field(default_factory=dict)
    scratch: str = ""
    exclude: tuple[str, ...] = ()
    slurm: dict[str, Scalar] = Field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        """Whether its jobs get a GPU."""
        return bool(self.gpus)


@dataclass(frozen=True)
class Choice:
    """A profile and the reason it was chosen, to be said when the user named none."""

    profile: Profile
    note: str = ""


def names() -> list[str]:
    """Return the profiles that can be named, `local` among them."""
    return sorted({path.stem for path in PROFILES.glob("*.yaml")} | {"local"})


def have_slurm() -> bool:
    """Return whether this machine belongs to a Slurm: its programs are here and know a cluster."""
    if shutil.which("sbatch") is None:
        return False
    if os.environ.get("SLURM_CONF") or any(Path(folder, "slurm.conf").is_file() for folder in SLURM_FOLDERS):
        return True
    return _controller_answers()


@cache
def _controller_answers() -> bool:
    try:
        return subprocess.run(["scontrol", "ping"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def choose(name: str | None, overrides: Mapping[str, Any]) -> Choice:
    """Return the named profile with overrides applied; without a name, Slurm's default one or the local pool."""
    note = ""
    if name is None:
        name, note = _default()
    if _is_path(name):
        if not typed_path("cluster", name).is_file():
            raise ConfigError(f"cluster={name}: there is no such file; one like slurm/h100.yaml is expected")
    elif name not in names():
        raise ConfigError(f"cluster={name}: {nearest(name, names(), 'cluster')}")
    return Choice(load(name, overrides), note)


def _default() -> tuple[str, str]:
    if not have_slurm():
        return "local", "no Slurm on this machine: cluster=local"
    if (PROFILES / f"{DEFAULT}.yaml").is_file():
        return DEFAULT, f"cluster={DEFAULT} (slurm/{DEFAULT}.yaml)"
    others = [name for name in names() if name not in ("local", "template", "test")]
    raise ConfigError(
        f"this machine has Slurm: name a profile or its file, as in cluster={others[0] if others else 'local'} "
        f"({', '.join(names())}), or write slurm/{DEFAULT}.yaml from slurm/template.yaml"
    )


def _is_path(name: str) -> bool:
    return "/" in name or name.endswith((".yaml", ".yml"))


def load(name: str, overrides: Mapping[str, Any] | None = None) -> Profile:
    """Return the profile in slurm/NAME.yaml, or of a path; `local` needs no file.

    Raises: ConfigError, which names the key and what is allowed.
    """
    path = typed_path("cluster", name) if _is_path(name) else PROFILES / f"{name}.yaml"
    data: dict[str, Any] = {"kind": "local", "gpus": "auto", "cpus": os.cpu_count() or 1, "mem_gb": None}
    if name != "local" or path.is_file():
        file = read_yaml(path)
        data = (data | file) if name == "local" else file
    where = name if _is_path(name) else f"slurm/{name}.yaml"
    try:
        return build(path.stem, data, overrides or {})
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith("cluster.") else f"{where}: {error}") from error


def build(name: str, data: Mapping[str, Any], overrides: Mapping[str, Any]) -> Profile:
    """Return the profile in a mapping with overrides (dotted keys, values as text or typed) on top."""
    merged = dict(data)
    for key, value in overrides.items():
        head, dot, tail = key.partition(".")
        if head not in Profile.model_fields or head == "name" or bool(dot) != (head in ("slurm", "env")):
            known = [field for field in Profile.model_fields if field not in ("name", "slurm", "env")]
            raise ConfigError(f"cluster.{key}: {nearest(key, [*known, 'slurm.OPTION', 'env.NAME'], 'key')}")
        typed = _read(head, value) if isinstance(value, str) else value
        if dot:
            merged[head] = {**merged.get(head, {}), tail: str(typed) if head == "env" else typed}
        else:
            merged[head] = typed
    for key in merged:
        if key not in Profile.model_fields or key == "name":
            raise ConfigError(nearest(key, [field for field in Profile.model_fields if field != "name"], "key"))
    for key in ("env", "slurm"):
        if not isinstance(merged.get(key) or {}, dict):
            raise ConfigError(f"{key}: {merged[key]!r} is refused: a mapping of names to values is expected")
    for variable in cast("Mapping[str, Any]", merged.get("env") or {}):
        if variable in PLANNED:
            prefix = "cluster." if f"env.{variable}" in overrides else ""
            raise ConfigError(f"{prefix}env.{variable}: jobs get it from their plan; set {PLANNED[variable]}= instead")
    _refuse_secrets(merged, "cluster." if {"env", "setup", "slurm"} & {key.split(".")[0] for key in overrides} else "")
    for option in cast("Mapping[str, Any]", merged.get("slurm") or {}):
        check_option(option, "cluster." if f"slurm.{option}" in overrides else "")
    try:
        profile = Profile.model_validate({**{k: _tuples(v) for k, v in merged.items()}, "name": name})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"] if part in Profile.model_fields or part in merged)
        prefix = "cluster." if key.split(".")[0] in {k.split(".")[0] for k in overrides} else ""
        reason = f"{first['msg'][0].lower()}{first['msg'][1:]}"
        raise ConfigError(f"{prefix}{key}: {first['input']!r} is refused: {reason}") from error
    here = profile.kind == "local"
    if profile.python and here:
        raise ConfigError("python: jobs on this machine run in the Python that launches; launch with another one")
    if not here and profile.gpus not in (0, 1):
        prefix = "cluster." if "gpus" in overrides else ""
        raise ConfigError(
            f"{prefix}gpus: {profile.gpus} is refused: a job trains on one GPU and would keep the others idle; "
            "1, or 0 for the CPU, is expected, and pack= says how many runs share it"
        )
    if not here and profile.signal_s >= profile.walltime_min * 60:
        prefix = "cluster." if {"signal_s", "walltime_min"} & overrides.keys() else ""
        instead = f"set a smaller {prefix}signal_s= or more {prefix}walltime_min="
        raise ConfigError(
            f"{prefix}signal_s: {profile.signal_s} is refused: a job would be told to stop {profile.signal_s} s before "
            f"the end of its {profile.walltime_min * 60} s; {instead}"
        )
    return profile


def check_python(profile: Profile) -> None:
    """Raise ConfigError where the profile's Python cannot be what a job needs, as far as that can be seen here.

    A command of several words (of a container, say) is looked for only, and after set-up lines nothing is known.
    """
    if not profile.python or profile.setup:
        return
    words = shlex.split(profile.python)
    program = shutil.which(words[0])
    if program is None:
        raise ConfigError(f"python: {words[0]} is not to be found here, and no set-up line brings it")
    if len(words) == 1:
        done = subprocess.run([program, "-c", "import jax, pydantic, submitit"], capture_output=True, timeout=120)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
            raise ConfigError(f"python: {program} lacks what jobs need: {said[-1]}")


def _refuse_secrets(merged: Mapping[str, Any], prefix: str) -> None:
    texts = {f"slurm.{key}": str(value) for key, value in cast("Mapping[str, Any]", merged.get("slurm") or {}).items()}
    refuse_clear(merged.get("env") or {}, {"setup": "\n".join(map(str, merged.get("setup") or ())), **texts}, prefix)


def refuse_copied_secrets() -> None:
    """Raise ConfigError where a profile that is not in use, but is copied with the code, holds a secret in clear."""
    for path in sorted(PROFILES.glob("*.yaml")):
        try:
            data = read_yaml(path)
        except ConfigError:
            continue  # a profile that is in use has been read by now
        if isinstance(data.get("env") or {}, dict) and isinstance(data.get("slurm") or {}, dict):
            _refuse_secrets(data, f"{path}: ")


def _read(key: str, text: str) -> Any:
    """Read a value typed on the command line as YAML would; lists are separated by commas."""
    if key == "setup":
        return text.splitlines()  # a line may have commas of its own
    if key == "exclude":
        return _hosts(text)
    try:
        value = cast("Any", YAML(typ="safe", pure=True)).load(text)
    except YAMLError:
        return text
    return value if isinstance(value, (int, float, bool)) and key not in ("partition", "account", "qos") else text


def _hosts(text: str) -> list[str]:
    """Split a list of hosts at the commas outside brackets: `n[1,3],m2`."""
    return [part for part in re.split(r",(?![^\[]*\])", text) if part]


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(cast("list[Any]", value))
    if isinstance(value, dict):
        return dict(cast("dict[str, Any]", value))
    return value


def widen(data: dict[str, Any]) -> dict[str, Any]:
    """Return a profile written as JSON in the types the schema wants."""
    return {key: _tuples(value) for key, value in data.items() if value is not None}
