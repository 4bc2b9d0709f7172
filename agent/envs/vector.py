"""Many environments stepped together, in this process or in workers, restarted when a worker dies or hangs."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from agent.envs.base import EnvFactory, EnvironmentFault, State
from agent.envs.group import Command
from agent.envs.lanes import Lane, LocalLane, WorkerLane, WorkerLost
from agent.envs.state import Schema, StateError, check
from agent.spec import ArraySpec, DiscreteAction

log = logging.getLogger(__name__)

Records = dict[str, np.ndarray]
"""Records of all environments: every entry of `EnvSpec.arrays` as [environments, ...], not to be written to."""


class VectorEnv:
    """n environments as one. A record with `is_last` is followed, at the next step, by the first of a new episode."""

    def __init__(
        self,
        factories: Sequence[EnvFactory],
        processes: bool | int = False,
        *,
        timeout_s: float = 120.0,
        max_restarts: int = 10,
    ) -> None:
        """Make the environments, `factories[i]()` for each.

        `processes`: False steps them in this process, True gives each a worker process, a number shares that many.
        Factories travel to workers by pickle (module-level functions or `functools.partial` of them). A worker that
        dies or takes over `timeout_s` for a step is replaced by `factories[i](restart=k)`, at most `max_restarts` times
        in all; k counts the replacements of this vector and of the one that it was loaded from.
        Raises ValueError for no environments, EnvironmentFault with the traceback for one that fails.
        """
        if not factories:
            raise ValueError("a vector of environments needs at least one")
        count = len(factories)
        self._restarts_left, self.restarts = max_restarts, 0
        self._lanes: list[Lane] = []
        self._slices: list[range] = []
        workers = count if processes is True else min(int(processes), count)
        bounds = np.linspace(0, count, max(workers, 1) + 1).astype(int)
        try:
            for begin, end in itertools.pairwise(bounds):
                part = factories[begin:end]
                self._lanes.append(WorkerLane(part, timeout_s) if workers else LocalLane(part))
                self._slices.append(range(int(begin), int(end)))
            for index, lane in enumerate(self._lanes):
                if isinstance(lane, WorkerLane):
                    self._finish(index, lane)
            self.spec = self._lanes[0].spec
            for lane in self._lanes:
                if lane.spec != self.spec:
                    raise EnvironmentFault(f"environments differ: {lane.spec} is not {self.spec}")
        except BaseException:  # an interrupt too: no worker process may outlive a vector that was not made
            self.close()
            raise
        self._records: Records | None = None
        self._ended = np.ones(count, bool)
        self._cut = np.zeros(count, bool)
        self.was_cut = np.zeros(count, bool)
        self._sent: list[list[Command]] | None = None

    def __len__(self) -> int:
        return len(self._ended)

    def holds(self, lane: object) -> bool:
        """Return whether a lane is one of this vector's."""
        return any(lane is mine for mine in self._lanes)

    def step(self, actions: Any, active: np.ndarray | None = None) -> Records:
        """Return the next record of every environment; see `step_async`."""
        self.step_async(actions, active)
        return self.step_wait()

    def step_async(self, actions: Any, active: np.ndarray | None = None) -> None:
        """Begin a step: workers go on while the caller does something else until `step_wait`.

        `actions` are integers [n] or real numbers [n, dim]. An environment whose last record had `is_last` (and every
        one at the first call) is reset, its action discarded. Where `active` [n] is False nothing happens and the
        record is repeated; an environment must have been active once before.
        """
        if self._sent is not None:
            raise RuntimeError("step_async was called twice; call step_wait() in between")
        listed = self._action_list(actions)
        chosen = np.ones(len(self), bool) if active is None else np.asarray(active, bool)
        if self._records is None and not chosen.all():
            raise ValueError("the first step must include every environment")
        self._active = chosen
        go = chosen & ~self._cut
        self._sent = [
            [(i - part.start, None if self._ended[i] else listed[i]) for i in part if go[i]] for part in self._slices
        ]
        for index, commands in enumerate(self._sent):
            if commands:
                with contextlib.suppress(WorkerLost):  # step_wait meets the same and deals with it.
                    self._lanes[index].send(commands)

    def step_wait(self) -> Records:
        """Return the records that `step_async` began: every entry [n, ...]."""
        if self._sent is None:
            raise RuntimeError("call step_async() first")
        sent, self._sent = self._sent, None
        for index, commands in enumerate(sent):
            if commands:
                self._finish_step(index, commands)
        records = {key: np.concatenate([lane.records[key] for lane in self._lanes]) for key in self.spec.arrays}
        self._check_finite(records)
        self._apply_cuts(records)
        self._ended = np.where(self._active, records["is_last"], self._ended)
        self._records = {key: _frozen(array) for key, array in records.items()}
        return self._records

    def save(self) -> State:
        """Return the state of every environment and of the stream between them."""
        self._idle("save")
        states = [state for index in range(len(self._lanes)) for state in self._save_lane(index)]
        blank = {key: np.zeros(array.shape, array.dtype) for key, array in self._record_arrays().items()}
        return {
            "envs": {str(index): state for index, state in enumerate(states)},
            "begun": self._records is not None,
            "records": dict(self._records or blank),
            "ended": self._ended.copy(),
            "cut": self._cut.copy(),
            "restarts": self.restarts,
        }

    def load(self, state: State) -> None:
        """Continue exactly as the vector that `save` was called on would.

        Raises StateError when the state holds another number of environments or is none of theirs.
        """
        self._idle("load")
        flags = ArraySpec((len(self),), "bool")
        schema: Schema = {"envs": dict, "begun": bool, "records": self._record_arrays(), "ended": flags, "cut": flags}
        if isinstance(state, dict) and isinstance(state.get("envs"), dict) and len(state["envs"]) != len(self):
            raise StateError(f"the saved state holds {len(state['envs'])} environments, this vector {len(self)}")
        check(state, {**schema, "restarts": range(2**31)}, "environments")
        check(state["envs"], {str(index): dict for index in range(len(self))}, "environments")
        for lane, part in zip(self._lanes, self._slices, strict=True):
            lane.load([state["envs"][str(index)] for index in part])
            for key, array in lane.records.items():
                array[:] = state["records"][key][part.start : part.stop]
        records = {key: _frozen(array.copy()) for key, array in state["records"].items()}
        self._records = records if state["begun"] else None
        self._ended, self._cut, self.restarts = state["ended"].copy(), state["cut"].copy(), state["restarts"]

    def close(self) -> None:
        """Close the environments and end the workers; calling it twice is harmless."""
        for lane in self._lanes:
            lane.close()
        self._lanes = []

    def __enter__(self) -> VectorEnv:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _record_arrays(self) -> dict[str, ArraySpec]:
        return {key: ArraySpec((len(self), *one.shape), one.dtype) for key, one in self.spec.arrays.items()}

    def _idle(self, verb: str) -> None:
        if self._sent is not None:
            raise RuntimeError(f"a step is under way; call step_wait() before {verb}()")

    def _action_list(self, actions: Any) -> list[Any]:
        space, values = self.spec.action, np.asarray(actions)
        discrete = isinstance(space, DiscreteAction)
        shape = (len(self),) if discrete else (len(self), space.dim)
        if values.shape != shape or values.dtype.kind not in ("iu" if discrete else "iuf"):
            raise ValueError(
                f"actions {values.dtype}{list(values.shape)}: expected "
                f"{'integers' if discrete else 'real numbers'} {list(shape)}"
            )
        return values.tolist() if discrete else list(values)

    def _finish(self, index: int, lane: WorkerLane) -> None:
        try:
            lane.finish()
        except WorkerLost as error:
            self._replace(index, lane, str(error))

    def _finish_step(self, index: int, commands: list[Command]) -> None:
        """Wait for a lane; when it was lost, cut the episodes that were open and begin those that were to begin."""
        lane, part = self._lanes[index], self._slices[index]
        while True:
            try:
                lane.wait()
                return
            except WorkerLost as error:
                self._replace(index, lane, str(error))
            self._cut_open(part)
            commands = [command for command in commands if command[1] is None]
            if not commands:
                return
            try:
                lane.send(commands)
            except WorkerLost:
                continue

    def _save_lane(self, index: int) -> list[State]:
        while True:
            try:
                return self._lanes[index].save()
            except WorkerLost as error:
                self._replace(index, self._lanes[index], str(error))
                self._cut_open(self._slices[index])

    def _cut_open(self, part: range) -> None:
        self._cut[[i for i in part if not self._ended[i]]] = True

    def _replace(self, index: int, lane: Lane, reason: str) -> None:
        assert isinstance(lane, WorkerLane)
        part = self._slices[index]
        which = f"environment {part.start}" if len(part) == 1 else f"environments {part.start} to {part.stop - 1}"
        while True:
            if self._restarts_left <= 0:
                raise EnvironmentFault(
                    f"the worker of {which} was lost once too often ({self.restarts} restarts): {reason}"
                )
            self._restarts_left -= 1
            self.restarts += 1
            log.warning(
                "the worker of %s was lost: %s; restarting it and cutting its episodes (%d restarts left)",
                which,
                reason,
                self._restarts_left,
            )
            try:
                lane.restart(self.restarts)
                return
            except WorkerLost as error:
                reason = str(error)

    def _apply_cuts(self, records: Records) -> None:
        """Where an episode was cut, repeat the last observation with reward 0 and `is_last`, not `is_terminal`.

        `was_cut` [n] tells these records from true ends: their returns are no scores.
        """
        self.was_cut = self._cut & self._active
        for i in np.flatnonzero(self._cut):
            assert self._records is not None
            for key, array in records.items():
                array[i] = self._records[key][i]
            if self._active[i]:
                records["reward"][i], records["is_first"][i] = 0.0, False
                records["is_last"][i], records["is_terminal"][i] = True, False
                if "log_success" in records:
                    records["log_success"][i] = 0.0
                self._cut[i] = False

    def _check_finite(self, records: Records) -> None:
        for key, array in records.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                bad = int(np.flatnonzero(~np.isfinite(array.reshape(len(self), -1)).all(1))[0])
                raise EnvironmentFault(f"environment {bad}: {key!r} is not finite: {array[bad]}")


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
