"""One run of a study: its identity, and the configuration of what trains it, our agent or another one's command."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agent.contract.config import (
    Config,
    differing,
    flatten,
    frames_per_step,
    from_dict,
    hash_settings,
    identity,
    read_yaml,
)
from agent.contract.run_folder import RunDir
from harness.study.other_agent import OtherConfig, parse_config

AnyConfig = Config | OtherConfig


@dataclass(frozen=True)
class Run:
    """One run of a study: its identity (task, method, seed) and its full configuration."""

    task: str
    method: str
    seed: int
    config: AnyConfig

    @property
    def name(self) -> str:
        """Its folder inside the study: `TASK/METHOD/seed-K`."""
        return f"{self.task}/{self.method}/seed-{self.seed}"

    @cached_property
    def config_hash(self) -> str:
        """The hash of everything that changes its results."""
        return hash_config(self.config)

    @cached_property
    def kind(self) -> str:
        """A name shared by runs that take the same time per step: all settings but task, seed, method and length."""
        settings = identity_of(self.config)
        kept = {k: v for k, v in settings.items() if k not in ("task", "seed", "method", "run.steps")}
        text = repr((self.task.split("_", 1)[0], sorted(kept.items())))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def steps(self) -> int | None:
        """Environment steps until it is complete, None where a command's settings do not say."""
        return self.config.steps if isinstance(self.config, OtherConfig) else self.config.run.steps

    @property
    def frames(self) -> int | None:
        """Raw environment frames that it will see, None where that is not known."""
        if isinstance(self.config, OtherConfig):
            return None
        return self.config.run.steps * frames_per_step(self.config)

    @property
    def for_worker(self) -> dict[str, Any]:
        """What the worker of its pack must know of it, as `records.PackPart` has it."""
        if isinstance(self.config, OtherConfig):
            return {"train": list(self.config.train)}
        jax = self.config.jax
        keys = ("prealloc", "mem_fraction", "compilation_cache")
        return {key: getattr(jax, key) for key in keys}


def read_config(run: RunDir) -> AnyConfig:
    """Return the configuration in a run's folder; ConfigError when there is none, or it is damaged."""
    data = read_yaml(run.config)
    return parse_config(data) if "train" in data else from_dict(data)


def identity_of(config: AnyConfig) -> dict[str, Any]:
    """Return the dotted settings that decide a run's numbers: of a command all that it is given, and the command."""
    return config.flat() if isinstance(config, OtherConfig) else identity(config)


def hash_config(config: AnyConfig) -> str:
    """Return 16 hex digits that are equal exactly when two configurations compute the same numbers."""
    return hash_settings(identity_of(config))


def differences(old: AnyConfig, new: AnyConfig) -> list[str]:
    """Return "key: old → new" for every setting of the identity that differs; of two agents, their commands alone."""
    if isinstance(old, OtherConfig) != isinstance(new, OtherConfig):
        words = ["our agent" if isinstance(c, Config) else " ".join(c.train) for c in (old, new)]
        return [f"train: {words[0]} → {words[1]}"]
    return differing(identity_of(old), identity_of(new))


def shared_settings(config: AnyConfig) -> str:
    """Return a text that is equal for two runs exactly when a pack may hold both."""
    settings: Mapping[str, Any] = config.flat() if isinstance(config, OtherConfig) else flatten(config)
    return repr([(key, value) for key, value in settings.items() if key not in ("seed", "method")])
