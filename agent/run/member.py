"""One run as its process sees it on the host: folder, environments, counters, and what goes into a checkpoint."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.contract import files, run_folder
from agent.contract.config import Config, config_hash, frames_per_step
from agent.contract.lease import PATIENCE_S, Lease
from agent.contract.records import StateWord, Status
from agent.contract.rows import Rows
from agent.contract.run_folder import RunDir
from agent.contract.variables import WORKER
from agent.envs import registry
from agent.envs.state import join, split
from agent.envs.vector import Batch, VectorEnv
from agent.run import checkpoint, schedule
from agent.run.evaluate import workers
from agent.run.failure import reason_of
from agent.run.stop import Stopped
from agent.spec import DiscreteAction

# Purposes of random numbers drawn on the host from the run's seed.
RANDOM_PLAY = 0x52414E44

ENVS = "host/envs/"


@dataclass
class Tally:
    """Returns and lengths of the training episodes that ended since the last report."""

    returns: np.ndarray
    lengths: np.ndarray
    ended: list[tuple[float, int]]

    @classmethod
    def of(cls, envs: int) -> Tally:
        """Return the tally of environments that have not begun."""
        return cls(np.zeros(envs), np.zeros(envs, int), [])

    def add(self, records: Batch) -> None:
        """Count one record of every environment."""
        first = records["is_first"]
        self.returns = np.where(first, 0.0, self.returns) + records["reward"]
        self.lengths = np.where(first, 0, self.lengths + 1)
        for i in np.flatnonzero(records["is_last"]):
            self.ended.append((float(self.returns[i]), int(self.lengths[i])))

    def report(self) -> dict[str, float]:
        """Return the episodes' metrics since the last call, empty when none ended."""
        ended, self.ended = self.ended, []
        if not ended:
            return {}
        returns, lengths = zip(*ended, strict=True)
        return {
            "episode/return": float(np.mean(returns)),
            "episode/length": float(np.mean(lengths)),
            "episode/count": float(len(ended)),
        }


class Member:
    """The host side of one run. `steps` counts stored transitions, `rounds` those of each environment."""

    def __init__(
        self,
        config: Config,
        run: RunDir,
        *,
        pack: int = 1,
        job_id: str | None = None,
        interrupted: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Claim the run and make its environments within `interrupted()`, where Stopped may be raised.

        Raises RecordError when the run is another's, and what making environments raises; then the status says how
        this attempt ended, and the run is given back.
        """
        self.config, self.run, self.pack = config, run, pack
        self.lease = Lease.claim(run, job_id=job_id)
        self.hash = config_hash(config)
        self.final = schedule.final_step(config)
        self.steps = self.rounds = self.updates = 0
        self.ratio = schedule.Ratio(schedule.update_ratio(config))
        self.every = schedule.Every(config.run.eval_every, config.run.eval_initial)
        self.metrics, self.scores = Rows(run.metrics), Rows(run.scores)
        self.walltime_s = 0.0
        self.last_score: dict[str, Any] | None = None
        self.evaluating: dict[str, Any] | None = None
        self.lease_error: Exception | None = None
        self.saved: checkpoint.Index | None = None
        self._saved_rounds = 0
        self._pending: list[Batch] = []
        self._mark, self._told = time.monotonic(), time.time()
        self._logged = (0, 0, 0.0)
        amount = config.env.amount
        try:
            self._begin_attempt(job_id)
            with interrupted():
                makers = registry.factories(config.task, config.env, config.seed, amount)
                self.envs = VectorEnv(makers, workers(config, amount) if amount > 1 else 0)
        except BaseException as error:
            self._give_up(error)
            raise
        self.spec = self.envs.spec
        self.tally = Tally.of(amount)
        dim = self.spec.action.size
        self.actions = np.zeros(amount, np.int64) if self.discrete else np.zeros((amount, dim), np.float32)
        self._random = np.random.default_rng((config.seed, RANDOM_PLAY))

    def _begin_attempt(self, job_id: str | None) -> None:
        run = self.run
        attempts = run.attempt_numbers()
        self.status = Status(
            total_env_steps=self.final, started=time.time(), job_id=job_id, pack=self.pack,
            host=socket.gethostname(), phase="starting", heartbeat=time.time(),
        )  # fmt: skip
        with suppress(files.RecordError):  # a damaged one is replaced
            before = run_folder.read_status(run)
            self.status.env_steps = before.env_steps if before else 0
        self.attempt = attempts[-1] if attempts and os.environ.get(WORKER) else run.new_attempt()[0]
        self.status.attempt = self.attempt
        run_folder.write_status(run, self.status)

    def _give_up(self, error: BaseException) -> None:
        """Say how an attempt ended whose environments were not made, and give the run back."""
        status = self.status
        if isinstance(error, Stopped):
            status.state, status.reason = "stopped", "stopped"
            status.message = "asked to stop while its environments were made"
        else:
            status.state, (status.reason, status.message) = "failed", reason_of(error)
        status.phase, status.heartbeat = "ended", time.time()
        try:
            run_folder.write_status(self.run, status)
        finally:
            self.lease.release()

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must be of to be continued here."""
        c = self.config
        return {"task": c.task, "method": c.method, "seed": c.seed, "config_hash": self.hash}

    @property
    def discrete(self) -> bool:
        """Whether actions are integers."""
        return isinstance(self.spec.action, DiscreteAction)

    @property
    def at_block(self) -> bool:
        """Whether this is a boundary of the published loop's blocks, where evaluations are due."""
        return self.steps % schedule.round_steps(self.config.run.block, self.config.env.amount) == 0

    @property
    def prefilling(self) -> bool:
        """Whether the replay holds too few windows to learn from."""
        return self.steps < schedule.prefill_steps(self.config)

    def play_at_random(self) -> None:
        """Play one round of random actions, which is stored like any other."""
        records = self.envs.step(self.actions)
        self.actions, stored = self._random_actions()
        stored[records["is_last"]] = 0.0
        self.keep(records, stored)
        self.steps += self.config.env.amount

    def _random_actions(self) -> tuple[np.ndarray, np.ndarray]:
        amount, size = self.config.env.amount, self.spec.action.size
        if self.discrete:
            actions = self._random.integers(size, size=amount)
            return actions, np.eye(size, dtype=np.float32)[actions]
        actions = self._random.uniform(-1, 1, (amount, size)).astype(np.float32)
        return actions, actions.copy()

    def keep(self, records: Batch, stored: np.ndarray) -> None:
        """Take one round of transitions into the run's stream and books."""
        self._pending.append({**{k: v for k, v in records.items() if k != "log_success"}, "action": stored})
        self.tally.add(records)
        self.rounds += 1

    @property
    def unsaved_rounds(self) -> int:
        """How many rounds have been played since the last checkpoint."""
        return self.rounds - self._saved_rounds

    def pending(self) -> Batch:
        """Return the rounds since the last checkpoint, [rounds, envs, ...] each; empty when there are none."""
        rounds = self._pending
        return {key: np.stack([batch[key] for batch in rounds]) for key in rounds[0]} if rounds else {}

    def take_pending(self) -> tuple[int, int, Batch]:
        """Return the first round since the last checkpoint, their number, and the rounds, which then are forgotten."""
        first, rounds, batch = self._saved_rounds, self.unsaved_rounds, self.pending()
        self._pending, self._saved_rounds = [], self.rounds
        return first, rounds, batch

    def log_due(self) -> bool:
        """Return whether metrics are to be written for the present step."""
        return self.steps // self.config.run.log_every > self._logged[0] // self.config.run.log_every

    def clock(self) -> float:
        """Return the seconds that this run has been worked on, over all its attempts."""
        now = time.monotonic()
        self.walltime_s += now - self._mark
        self._mark = now
        return self.walltime_s

    def _stamp(self) -> dict[str, Any]:
        frames = self.steps * frames_per_step(self.config)
        return {
            "env_steps": self.steps,
            "frames": frames,
            "updates": self.updates,
            "walltime_s": round(self.clock(), 3),
        }

    def log_metrics(self, metrics: dict[str, float]) -> None:
        """Append a row of metrics with the speeds since the last one."""
        row = self._stamp()
        steps, updates, seconds = self._logged
        elapsed = max(row["walltime_s"] - seconds, 1e-9)
        self.status.env_steps_per_s = (self.steps - steps) / elapsed
        rates = {
            "rate/env_steps_per_s": self.status.env_steps_per_s,
            "rate/updates_per_s": (self.updates - updates) / elapsed,
        }
        self._logged = (self.steps, self.updates, row["walltime_s"])
        self.metrics.append({**row, **metrics, **self.tally.report(), **rates})

    def begin_evaluation(self) -> None:
        """Note the present step as that of the evaluation that begins."""
        self.evaluating = self._stamp()

    def log_score(self, row: dict[str, Any], seconds: float) -> None:
        """Append the result of the evaluation, under the step at which it was begun; the time is the present."""
        assert self.evaluating is not None
        times = {"walltime_s": round(self.clock(), 3), "evaluation_s": round(seconds, 3)}
        self.last_score = {**self.evaluating, **row, **times}
        self.evaluating = None
        self.scores.append(self.last_score, durable=True)

    def heartbeat(self, *, last: bool = False) -> None:
        """Renew the lease and write status.json; RecordError when the lease was taken over.

        A file system that does not answer for a moment is borne for a while, a full disk and the last status are not.
        """
        self.lease.beat()
        now = time.time()
        self.status.env_steps, self.status.updates, self.status.heartbeat = self.steps, self.updates, now
        try:
            run_folder.write_status(self.run, self.status)
        except OSError as error:
            if last or error.errno in (errno.ENOSPC, errno.EDQUOT) or now - self._told > PATIENCE_S:
                raise
        else:
            self._told = now

    def fell_back(self, found: checkpoint.Found) -> None:
        """Say in status, provenance and on stderr that a damaged checkpoint was passed over."""
        lost = "an unknown number of" if found.lost is None else str(found.lost)
        steps = found.index["env_steps"]
        self.status.message = f"{found.damage}; goes on from the checkpoint before, at step {steps}: {lost} steps lost"
        print(f"{self.run.path}: {self.status.message}", file=sys.stderr, flush=True)
        event = {"attempt": self.attempt, "damage": found.damage, "env_steps": steps, "lost_steps": found.lost}
        try:
            known = files.read_json(self.run.provenance) or {}
            files.write_json(self.run.provenance, known | {"damaged": [*known.get("damaged", []), event]})
        except (OSError, files.RecordError, TypeError) as error:
            print(f"{self.run.path}: this could not be added to its provenance: {error}", file=sys.stderr, flush=True)

    def values(self) -> dict[str, Any]:
        """Return the plain values of a checkpoint."""
        return {
            "run": self.identity,
            "env_steps": self.steps,
            "rounds": self.rounds,
            "updates": self.updates,
            "attempt": self.attempt,
            "ratio": self.ratio.anchor,
            "every": self.every.anchor,
            "rows": self.rows(),
            "walltime_s": self.clock(),
            "logged": list(self._logged),
            "last_score": self.last_score,
            "evaluating": self.evaluating,
            "random": self._random.bit_generator.state,
            "tally": [self.tally.returns.tolist(), self.tally.lengths.tolist(), self.tally.ended],
        }

    def host_state(self) -> tuple[checkpoint.Arrays, dict[str, Any]]:
        """Return the host's arrays and plain values of a checkpoint, the state of the environments in both."""
        envs, plain = split(self.envs.save())
        arrays = {ENVS + path: array for path, array in envs.items()} | {"host/actions": self.actions}
        return arrays, {**self.values(), "envs": plain}

    def restore(self, arrays: checkpoint.Arrays, values: checkpoint.Index) -> None:
        """Continue from a checkpoint; rows written after it are cut from metrics.jsonl and scores.jsonl."""
        envs = {name.removeprefix(ENVS): array for name, array in arrays.items() if name.startswith(ENVS)}
        self.envs.load(join(envs, values.get("envs")))
        self.actions = arrays["host/actions"]
        self.steps, self.rounds, self.updates = values["env_steps"], values["rounds"], values["updates"]
        self.ratio.anchor, self.every.anchor = values["ratio"], values["every"]
        self.walltime_s, self.last_score, self.evaluating = (
            values[key] for key in ("walltime_s", "last_score", "evaluating")
        )
        self._mark = time.monotonic()
        steps, updates, seconds = values["logged"]
        self._logged = (steps, updates, seconds)
        self._random.bit_generator.state = values["random"]
        returns, lengths, ended = values["tally"]
        self.tally = Tally(np.array(returns), np.array(lengths), [tuple(pair) for pair in ended])
        self.saved, self._saved_rounds = values, values["rounds"]
        for file in (self.metrics, self.scores):
            file.go_on(values["rows"][file.path.name])

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return number, bytes and digest of the rows written so far, by file."""
        return {file.path.name: file.mark() for file in (self.metrics, self.scores)}

    def finish(self) -> None:
        """Write result.json, the sign that the run is complete."""
        score = self.last_score or {}
        name = "success" if score.get("metric") == "success" else "mean"
        result = {**self._stamp(), "final_score": score.get(name), "config_hash": self.hash, "pack": self.pack}
        files.write_json(self.run.result, result | {"rows": self.rows()})

    def abandon(self, state: StateWord, reason: str, message: str) -> None:
        """Say how this attempt ended and give the run back, from beside a thread that may never return."""
        status = self.status
        status.state, status.reason, status.message, status.phase = state, reason, message, "ended"
        status.env_steps, status.updates, status.heartbeat = self.steps, self.updates, time.time()
        with suppress(OSError):
            run_folder.write_status(self.run, status)
        self.lease.release()

    def end(self, state: StateWord, reason: str | None = None, message: str | None = None) -> None:
        """Write the last status of this attempt, close the environments and give the run back."""
        self.status.state, self.status.reason, self.status.message, self.status.phase = state, reason, message, "ended"
        try:
            self.heartbeat(last=True)
        finally:
            self.envs.close()
            self.lease.release()
