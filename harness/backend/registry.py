"""The kinds of clusters that a profile can name with `kind:`, and the backend of each."""

from __future__ import annotations

from agent.contract.words import ConfigError, nearest
from harness.backend.base import Backend
from harness.backend.local import Local
from harness.backend.slurm import Slurm
from harness.study.folder import Launch
from harness.study.profiles import Profile

BACKENDS: dict[str, Backend] = {"slurm": Slurm(), "local": Local()}


def backend_of(of: Profile | Launch | str) -> Backend:
    """Return the backend of a profile, of a launch's profile, or of a kind; ConfigError names the known kinds."""
    kind = of.data.profile.kind if isinstance(of, Launch) else of if isinstance(of, str) else of.kind
    if kind not in BACKENDS:
        raise ConfigError(f"kind: {nearest(kind, BACKENDS, 'kind of cluster')}")
    return BACKENDS[kind]
