"""Where a group of environments lives: in this process or in a worker that can be lost and replaced."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from subprocess import Popen, TimeoutExpired
from typing import Any

from agent.envs import worker
from agent.envs.base import EnvFactory, EnvironmentFault, EnvironmentUnavailable, State
from agent.envs.group import Command, Group, layout, shared_file, views
from agent.envs.inside import step_of
from agent.envs.state import StateError
from agent.spec import EnvSpec

START_TIMEOUT_S = 300.0


class WorkerLost(Exception):
    """A worker process died or did not answer in time."""


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
        """Note what is to be done."""
        self._commands = commands

    def wait(self) -> None:
        """Do it."""
        with step_of(self):
            self._group.step(self._commands)


class WorkerLane:
    """A group in a process of its own."""

    def __init__(self, factories: Sequence[EnvFactory], timeout_s: float) -> None:
        self._factories, self._timeout_s = list(factories), timeout_s
        self._shared = shared_file()
        self._process: Popen[bytes] | None = None
        self._begin()

    @property
    def pid(self) -> int:
        """Return the worker's process id."""
        assert self._process is not None
        return self._process.pid

    def finish(self) -> None:
        """Wait until the environments are made, then share the records' memory."""
        self.spec: EnvSpec = self._receive(START_TIMEOUT_S)
        size = layout(self.spec, len(self._factories))[1]
        os.ftruncate(self._shared, size)
        self.records = views(self.spec, len(self._factories), mmap.mmap(self._shared, size))
        self._ask("attach", size)

    def send(self, commands: list[Command]) -> None:
        """Have the worker begin a step."""
        self._send("step", commands)

    def wait(self) -> None:
        """Wait until the worker has written its records."""
        self._receive(self._timeout_s)

    def save(self) -> list[State]:
        """Return the state of every environment."""
        return self._ask("save")

    def load(self, states: Sequence[State]) -> None:
        """Continue every environment from its state."""
        self._ask("load", list(states))

    def restart(self, number: int) -> None:
        """Replace the worker and its environments, the run's `number`th such replacement."""
        self._kill()
        self._begin(number)
        self.finish()

    def close(self) -> None:
        """End the worker."""
        if self._process is None:
            return
        try:
            self._send("close")
            self._process.wait(timeout=2)
        except (WorkerLost, TimeoutExpired):
            pass  # Killed next.
        self._kill()
        os.close(self._shared)

    def _begin(self, restart: int = 0) -> None:
        self._process, self._line = worker.start(self._shared)
        self._send("make", self._factories, restart)

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._line.close()

    def _send(self, *message: Any) -> None:
        try:
            self._line.send(message)
        except OSError as error:
            raise WorkerLost(self._how_it_ended()) from error

    def _ask(self, *message: Any) -> Any:
        self._send(*message)
        return self._receive(self._timeout_s)

    def _receive(self, timeout_s: float) -> Any:
        try:
            if not self._line.poll(timeout_s):
                raise WorkerLost(f"it gave no answer for {timeout_s:g} s")
            kind, answer = self._line.recv()
        except (EOFError, OSError) as error:
            raise WorkerLost(self._how_it_ended()) from error
        if kind == "unavailable":
            raise EnvironmentUnavailable(answer)
        if kind == "state":
            raise StateError(answer)
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


Lane = LocalLane | WorkerLane
