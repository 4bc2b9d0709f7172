"""One run as its process sees it on the host: environments, counters, rows, and what goes into a checkpoint.

Only the loop's thread changes a member; the heartbeat's and the watchdog's read its counters and say them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from agent.contract import files
from agent.contract.config import Config, config_hash, frames_per_step
from agent.contract.records import StateWord
from agent.contract.rows import Rows
from agent.contract.run_folder import RunDir
from agent.envs import registry
from agent.envs.state import join, split
from agent.envs.vector import Records, VectorEnv
from agent.run import checkpoint, schedule
from agent.run.claim import Claim
from agent.run.evaluate import workers
from agent.run.failure import reason_of
from agent.run.stop import Stopped
from agent.run.tally import Tally
from agent.spec import DiscreteAction

# Purposes of random numbers drawn on the host from the run's seed.
RANDOM_PLAY = 0x52414E44

ENVS = "host/envs/"


class Member:
    """The host side of one run. `steps` counts stored transitions, `rounds` those of each environment."""

    def __init__(
        self,
        config: Config,
        run: RunDir,
        *,
        pack_size: int = 1,
        job_id: str | None = None,
        interrupted: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Claim the run and make its environments within `interrupted()`, where Stopped may be raised.

        Raises RecordError when the run is another's, and what making environments raises; then the status says how
        this attempt ended, and the run is given back.
        """
        self.config, self.run, self.pack_size = config, run, pack_size
        self.hash = config_hash(config)
        self.final = schedule.final_step(config)
        self.claim = Claim(run, total_env_steps=self.final, pack_size=pack_size, job_id=job_id)
        self.steps = self.rounds = self.updates = 0
        self.ratio = schedule.Ratio(schedule.update_ratio(config))
        self.every = schedule.Every(config.run.eval_every, config.run.eval_initial)
        self.metrics, self.scores = Rows(run.metrics), Rows(run.scores)
        self.walltime_s = 0.0
        self.last_score: dict[str, Any] | None = None
        self.evaluating: dict[str, Any] | None = None
        self._saved: checkpoint.Index | None = None
        self._writer = checkpoint.Writer()
        self._saved_rounds = 0
        self._pending: list[Records] = []
        self._clock_read = time.monotonic()
        self._logged = (0, 0, 0.0)
        amount = config.env.amount
        try:
            with interrupted():
                makers = registry.factories(config.task, config.env, config.seed, amount)
                self.envs = VectorEnv(makers, workers(config, amount) if amount > 1 else 0)
        except BaseException as error:
            if isinstance(error, Stopped):
                self.claim.end("stopped", "stopped", "asked to stop while its environments were made")
            else:
                self.claim.end("failed", *reason_of(error))
            raise
        self.spec = self.envs.spec
        self.tally = Tally.of(amount)
        dim = self.spec.action.size
        self.actions = np.zeros(amount, np.int64) if self.discrete else np.zeros((amount, dim), np.float32)
        self._random = np.random.default_rng((config.seed, RANDOM_PLAY))

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

    def keep(self, records: Records, stored: np.ndarray) -> None:
        """Take one round of transitions into the run's stream and books."""
        self._pending.append({**{k: v for k, v in records.items() if k != "log_success"}, "action": stored})
        self.tally.add(records)
        self.rounds += 1

    def count_step(self) -> int:
        """Count the next environment's transition; return the updates that fall due with it."""
        self.steps += 1
        return self.ratio.due(self.steps)

    @property
    def unsaved_rounds(self) -> int:
        """How many rounds have been played since the last checkpoint."""
        return self.rounds - self._saved_rounds

    def pending(self) -> Records:
        """Return the rounds since the last checkpoint, [rounds, envs, ...] each; empty when there are none."""
        rounds = self._pending
        return {key: np.stack([batch[key] for batch in rounds]) for key in rounds[0]} if rounds else {}

    def log_due(self) -> bool:
        """Return whether metrics are to be written for the present step."""
        return self.steps // self.config.run.log_every > self._logged[0] // self.config.run.log_every

    def clock(self) -> float:
        """Return the seconds that this run has been worked on, over all its attempts."""
        now = time.monotonic()
        self.walltime_s += now - self._clock_read
        self._clock_read = now
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
        speed = self.claim.status.env_steps_per_s = (self.steps - steps) / elapsed
        rates = {"rate/env_steps_per_s": speed, "rate/updates_per_s": (self.updates - updates) / elapsed}
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

    def _values(self) -> dict[str, Any]:
        """Return the plain values of a checkpoint."""
        return {
            "run": self.identity,
            "env_steps": self.steps,
            "rounds": self.rounds,
            "updates": self.updates,
            "attempt": self.claim.attempt,
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

    def save(self, arrays: checkpoint.Arrays) -> None:
        """Begin to write a checkpoint of the run with its arrays from the device, after the one before is written."""
        self.await_checkpoint()
        envs, plain = split(self.envs.save())
        arrays = arrays | {ENVS + path: array for path, array in envs.items()} | {"host/actions": self.actions}
        values = {**self._values(), "envs": plain}
        snapshot = checkpoint.Snapshot(
            arrays, values, self.pending(), self._saved_rounds, self.unsaved_rounds, self._saved
        )
        self._pending, self._saved_rounds = [], self.rounds
        self._writer.start(self.run.checkpoint, snapshot)

    def await_checkpoint(self) -> None:
        """Wait until the last checkpoint is written; raises what went wrong with it."""
        self._saved = self._writer.wait() or self._saved

    def find_checkpoint(self) -> checkpoint.Found | None:
        """Return the checkpoint to go on from, None where the run begins, which is noted then.

        Raises: CheckpointError when there are checkpoints, and none of them is whole and of this run.
        """
        found = checkpoint.find(self.run.checkpoint, self.identity, self.final)
        if found is None:
            checkpoint.note_begun(self.run.checkpoint, self.identity)
            self.metrics.go_on()
            self.scores.go_on()
        elif found.damage:
            self.claim.fell_back(found)
        return found

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
        self._clock_read = time.monotonic()
        steps, updates, seconds = values["logged"]
        self._logged = (steps, updates, seconds)
        self._random.bit_generator.state = values["random"]
        returns, lengths, ended = values["tally"]
        self.tally = Tally(np.array(returns), np.array(lengths), [tuple(pair) for pair in ended])
        self._saved, self._saved_rounds = values, values["rounds"]
        for file in (self.metrics, self.scores):
            file.go_on(values["rows"][file.path.name])

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return number, bytes and digest of the rows written so far, by file."""
        return {file.path.name: file.mark() for file in (self.metrics, self.scores)}

    def finish(self) -> None:
        """Write result.json, the sign that the run is complete."""
        score = self.last_score or {}
        name = "success" if score.get("metric") == "success" else "mean"
        result = {**self._stamp(), "final_score": score.get(name), "config_hash": self.hash, "pack": self.pack_size}
        files.write_json(self.run.result, result | {"rows": self.rows()})

    def heartbeat(self) -> None:
        """Renew lease and status; RecordError when the lease was taken over."""
        self._tell_progress()
        self.claim.beat()

    def end(self, state: StateWord, reason: str | None = None, message: str | None = None) -> None:
        """Write the last status of this attempt, give the run back and close the environments."""
        self._tell_progress()
        try:
            self.claim.end(state, reason, message)
        finally:
            self.envs.close()

    def abandon(self, state: StateWord, reason: str, message: str) -> None:
        """Say how this attempt ended and give the run back, from beside a thread that may never return."""
        self._tell_progress()
        self.claim.abandon(state, reason, message)

    def _tell_progress(self) -> None:
        self.claim.status.env_steps, self.claim.status.updates = self.steps, self.updates
