"""Runs → jobs: which runs share a job, and how much memory each process in it is promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.contract.config import Config
from agent.contract.known_tasks import suite_of
from harness.study.gpu_memory import gpu_memory
from harness.study.other_agent import OtherConfig
from harness.study.profiles import Profile
from harness.study.run import AnyConfig, Run, shared_settings

CONTEXT_GB = 0.8  # what each process takes on a GPU outside JAX's pool
USABLE = 0.95

MAX_PACK = 16


@dataclass(frozen=True)
class Pack:
    """One job: runs of one task, trained by one process (`vmap`) or one process each (`process`)."""

    runs: tuple[str, ...]
    mode: str

    @property
    def processes(self) -> int:
        """How many processes share the job's GPU."""
        return 1 if self.mode == "vmap" else len(self.runs)


def gpu_memory_gb(profile: Profile) -> float | None:
    """Return the memory of the profile's GPU, as it says itself or as its type is known to have."""
    if profile.gpu_mem_gb is not None:
        return profile.gpu_mem_gb
    return gpu_memory(profile.gpu_type or "")


def run_memory_gb(config: Config, *, discrete: bool | None = None) -> float:
    """Return a cautious estimate of the GPU memory of one run in a pack: weights, replay, and one update's activations.

    Weights count five times (values, gradient, two Adam moments, a copy in flight). Replay holds one uint8 image per
    step. Activations count the images of a batch through encoder and decoder, and imagination's features. The factors
    cover what XLA's compiler reports for an H100 (`tests/benchmarks/results/kernels.json`).
    """
    settings = getattr(config.env, suite_of(config.task), None)
    size = int(getattr(settings, "size", 64))
    features = config.rssm.deter + config.rssm.stoch * config.rssm.classes
    depth, units = config.encoder.cnn_depth, config.rssm.units
    heads = [config.reward_head, config.cont_head, config.actor, config.critic, config.critic]
    weights = sum(head.units * (features + head.layers * head.units) for head in heads)
    weights += 2 * (16 * depth * depth * (2 + 8 + 32)) + 128 * depth * features
    weights += config.rssm.deter * 3 * (config.rssm.deter + units) + 4 * units * features
    batch = config.batch_size * config.batch_length
    images = batch * size * size * depth * 4 * 4
    imagined = batch * (config.imag_horizon + 1) * (2 * features + 12 * units) * 4
    replay = min(config.run.steps, config.replay.capacity) * size * size * 3
    discrete = suite_of(config.task) in ("atari", "catch", "crafter") if discrete is None else discrete
    backprop = 1.0 if discrete else 1.5  # continuous actions keep imagination for its gradient
    return (weights * 4 * 5 + replay + images + imagined * backprop) / 1e9


def pack_size(wanted: int | str, config: AnyConfig, memory_gb: float | None) -> int:
    """Return how many runs of this kind a job takes; `auto` fills the GPU's memory, where a share is known."""
    if isinstance(wanted, int):
        return wanted
    if memory_gb is None or isinstance(config, OtherConfig):
        return 1
    return max(1, min(MAX_PACK, int((USABLE * memory_gb - CONTEXT_GB) / run_memory_gb(config))))


def plan_packs(runs: Sequence[Run], wanted: int | str, mode: str, memory_gb: float | None = None) -> list[Pack]:
    """Return the jobs for the runs, those with the earliest runs first.

    A pack holds runs of one task that share every setting but seed and method, those outside a run's identity too:
    its one computation, or the environment of its processes, is that of all of them. They are taken in the order given,
    and shared out evenly: ten runs of which eight fit into a job are five and five.
    Another agent's command trains one run, so that its packs are of processes.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(shared_settings(run.config), []).append(run)
    packs: list[Pack] = []
    for group in groups.values():
        waiting = list(group)
        while waiting:
            most = pack_size(wanted, waiting[0].config, memory_gb)
            size = -(-len(waiting) // -(-len(waiting) // most))  # as few jobs as can be, of sizes as equal as can be
            taken, waiting = waiting[:size], waiting[size:]
            alone = "process" if isinstance(taken[0].config, OtherConfig) else "vmap" if len(taken) == 1 else mode
            packs.append(Pack(tuple(run.name for run in taken), alone))
    order = {run.name: index for index, run in enumerate(runs)}
    return sorted(packs, key=lambda pack: order[pack.runs[0]])


def memory_fraction(processes: int, memory_gb: float) -> float:
    """Return the share of a GPU's whole memory that JAX's pool may take in each of the processes on it.

    A process needs about 0.8 GB outside the pool, which a plain 0.9/p forgets on small cards.
    """
    return (USABLE - CONTEXT_GB * processes / memory_gb) / processes
