"""Where a group of environments lives: in this process or in a worker that can be lost and replaced."""

from __future__ import annotations

import mmap
import os
import pickle
from collections.abc import Sequence
from subprocess import Popen, TimeoutExpired
from typing import Any, Protocol

import numpy as np

from agent.envs import worker
from agent.envs.base import EnvFactory, EnvironmentFault, EnvironmentUnavailable, EnvSpec
from agent.envs.group import Command, Group, layout, shared_file, views

START_TIMEOUT_S = 300.0


class WorkerLost(Exception):
    """A worker process died or did not answer in time."""


class Lane(Protocol):
    """A group of environments, wherever it lives."""

    spec: EnvSpec
    records: dict[str, np.ndarray]

    def send(self, commands: list[Command]) -> None: ...
    def wait(self) -> None: ...
    def save(self) -> list[bytes]: ...
    def load(self, states: Sequence[bytes]) -> None: ...
    def restart(self) -> None: ...
    def close(self) -> None: ...


class LocalLane:
    """A group in this process; it steps when it is waited for."""

    def __init__(self, factories: Sequence[EnvFactory]) -> None:
        self._group = Group(factories)
        self.spec = self._group.spec
        self._group.attach(bytearray(layout(self.spec, len(factories))[1]))
        self.records = self._group.records
        self.save, self.load, self.close = self._group.save, self._group.load, self._group.close
        self._commands: list[Command] = []

    def send(self, commands: list[Command]) -> None:
        self._commands = commands

    def wait(self) -> None:
        self._group.step(self._commands)

    def restart(self) -> None:
        raise NotImplementedError("a group in this process cannot be lost")


class WorkerLane:
    """A group in a process of its own."""

    def __init__(self, factories: Sequence[EnvFactory], timeout_s: float) -> None:
        self._factories, self._timeout_s = list(factories), timeout_s
        self._shared = shared_file()
        self._restarts = 0
        self._process: Popen[bytes] | None = None
        self._begin()

    def finish(self) -> None:
        """Wait until the environments are made, then share the records' memory."""
        self.spec: EnvSpec = self._receive(START_TIMEOUT_S)
        size = layout(self.spec, len(self._factories))[1]
        os.ftruncate(self._shared, size)
        self.records = views(self.spec, len(self._factories), mmap.mmap(self._shared, size))
        self._ask("attach", size)

    def send(self, commands: list[Command]) -> None:
        self._send("step", commands)

    def wait(self) -> None:
        self._receive(self._timeout_s)

    def save(self) -> list[bytes]:
        return self._ask("save")

    def load(self, states: Sequence[bytes]) -> None:
        self._ask("load", list(states))

    def restart(self) -> None:
        self._kill()
        self._restarts += 1
        self._begin()
        self.finish()

    def close(self) -> None:
        if self._process is None:
            return
        try:
            self._send("close")
            self._process.wait(timeout=2)
        except (WorkerLost, TimeoutExpired):
            pass  # Killed next.
        self._kill()
        os.close(self._shared)

    def _begin(self) -> None:
        self._process, self._line = worker.start(self._shared)
        self._send("make", self._factories, self._restarts)

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._line.close()

    def _send(self, *message: Any) -> None:
        data = pickle.dumps(message)
        try:
            self._line.send_bytes(data)
        except OSError as error:
            raise WorkerLost(self._how_it_ended()) from error

    def _ask(self, *message: Any) -> Any:
        self._send(*message)
        return self._receive(self._timeout_s)

    def _receive(self, timeout_s: float) -> Any:
        try:
            if not self._line.poll(timeout_s):
                raise WorkerLost(f"it gave no answer for {timeout_s:g} s")
            kind, answer = pickle.loads(self._line.recv_bytes())
        except (EOFError, OSError) as error:
            raise WorkerLost(self._how_it_ended()) from error
        if kind == "unavailable":
            raise EnvironmentUnavailable(answer)
        if kind == "error":
            raise EnvironmentFault(f"an environment failed in its worker process:\n{answer}")
        return answer

    def _how_it_ended(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(timeout=5)
        except TimeoutExpired:
            return "it closed the line"
        return f"it was ended by signal {-code}" if code < 0 else f"it exited with code {code}"
