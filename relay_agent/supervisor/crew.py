# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker processes: started, watched, and taken along when the supervisor replaces itself."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from relay_agent.supervisor.channel import Channel, Detached

__all__ = ["Crew", "WorkerProcess"]

# The unit's variables for the main process alone.
_NOT_FOR_WORKERS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


@dataclass(eq=False)
class WorkerProcess:
    """One worker, as the supervisor knows it. `serial` is its own for as long as the agent runs.

    stores: those that it has open, or is to open first. old: it belongs to a program that was replaced.
    leaving: it was told to end. refused: it said why it cannot start.
    """

    serial: int
    pid: int
    channel: Channel = field(repr=False)
    stores: set[int]
    since: float
    ready: bool = False
    old: bool = False
    leaving: bool = False
    refused: bool = False
    reaped: int | None = None
    closed: bool = False


class Crew:
    """All worker processes of an agent.

    handlers: makes a worker's commands to the supervisor. gone: called when a worker has ended, with its exit
    status (negative: the signal that ended it).
    """

    def __init__(
        self,
        handlers: Callable[[WorkerProcess], Mapping[str, Callable[[dict[str, Any]], Any]]],
        gone: Callable[[WorkerProcess, int], None],
    ) -> None:
        self._make_handlers = handlers
        self._gone = gone
        self._serial = 0
        self.workers: list[WorkerProcess] = []
        self._unreaped: set[int] = set()  # ended, but for the kernel's note of it

    def spawn(self, store: int, descriptors: Iterable[int]) -> WorkerProcess:
        """Start a worker that inherits these descriptors. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            inherited = [theirs.fileno(), *descriptors]
            environment = {key: value for key, value in os.environ.items() if key not in _NOT_FOR_WORKERS}
            try:
                for fd in inherited:
                    os.set_inheritable(fd, True)
                command = [sys.executable, "-m", "relay_agent.worker", str(theirs.fileno())]
                pid = os.posix_spawn(sys.executable, command, environment, setsigmask=[])
            except BaseException:
                ours.close()
                raise
            finally:
                for fd in inherited:
                    os.set_inheritable(fd, False)
        self._serial += 1
        return self._add(self._serial, pid, ours, {store}, time.monotonic(), None)

    def _add(
        self, serial: int, pid: int, end: socket.socket, stores: set[int], since: float, restored: Detached | None
    ) -> WorkerProcess:
        handlers: dict[str, Callable[[dict[str, Any]], Any]] = {}
        channel = Channel(end, handlers, lambda: self._closed(worker), restored=restored)
        worker = WorkerProcess(serial, pid, channel, stores, since)
        handlers.update(self._make_handlers(worker))
        self.workers.append(worker)
        return worker

    def reap(self) -> None:
        """Take note of the workers that have ended (after SIGCHLD)."""
        for pid in list(self._unreaped):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    continue
            self._unreaped.discard(pid)
        for worker in list(self.workers):
            if worker.reaped is not None:
                continue
            try:
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = worker.pid, 0
            if pid:
                worker.reaped = os.waitstatus_to_exitcode(status)
                self._ended(worker)

    def _closed(self, worker: WorkerProcess) -> None:
        worker.closed = True
        worker.ready = False
        self._ended(worker)

    def _ended(self, worker: WorkerProcess) -> None:
        # Both, so that what it said last has been read, and its locks are free.
        if worker.closed and worker.reaped is not None and worker in self.workers:
            self.workers.remove(worker)
            self._gone(worker, worker.reaped)

    def kill(self, workers: Iterable[WorkerProcess]) -> None:
        """SIGKILL."""
        for worker in workers:
            if worker.reaped is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)

    # ---- replacement ----------------------------------------------------------------------------------

    def detach(self) -> tuple[dict[str, Any], list[int]]:
        """What another program of this process needs to go on, and the descriptors that it needs."""
        state: list[dict[str, Any]] = []
        descriptors: list[int] = []
        ended = [*self._unreaped]
        for worker in self.workers:
            if worker.closed:
                ended.append(worker.pid)
                continue
            rest = worker.channel.detach()
            descriptors.append(rest.fd)
            state.append(
                {
                    "serial": worker.serial,
                    "pid": worker.pid,
                    "fd": rest.fd,
                    "unread": base64.b64encode(rest.unread).decode(),
                    "unsent": base64.b64encode(rest.unsent).decode(),
                    "calls": rest.calls,
                    "stores": sorted(worker.stores),
                    "since": worker.since,
                    "ready": worker.ready,
                    "leaving": worker.leaving,
                }
            )
        return {"serial": self._serial, "workers": state, "ended": ended}, descriptors

    def resume(self) -> None:
        """Go on after `detach` in the same program."""
        for worker in self.workers:
            worker.channel.resume()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the workers of an earlier program of this process."""
        self._serial = state["serial"]
        self._unreaped = set(state["ended"])
        for each in state["workers"]:
            os.set_inheritable(each["fd"], False)
            rest = Detached(
                each["fd"], base64.b64decode(each["unread"]), base64.b64decode(each["unsent"]), each["calls"]
            )
            end = socket.socket(fileno=each["fd"])
            worker = self._add(each["serial"], each["pid"], end, set(each["stores"]), each["since"], rest)
            worker.old = True
            worker.ready, worker.leaving = each["ready"], each["leaving"]

    async def wait_empty(self, seconds: float) -> bool:
        """Wait until no worker is left; False when the time was over before."""
        deadline = time.monotonic() + seconds
        while self.workers and time.monotonic() < deadline:
            self.reap()
            await asyncio.sleep(0.02)
        return not self.workers
