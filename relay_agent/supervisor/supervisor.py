# SPDX-License-Identifier: GPL-3.0-or-later
"""What `relay-agent serve` runs: it holds the ports, keeps workers running, and replaces itself on a reload."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import relay_agent
from relay_agent.board import Board
from relay_agent.control.handlers import control_handlers
from relay_agent.control.server import ControlServer, Handler
from relay_agent.notify import notify
from relay_agent.observability.log import MailLog, route_standard_logging
from relay_agent.open_files import allow_open_files
from relay_agent.queue.directory import StoreLockedError
from relay_agent.queue.lock import QueueLock
from relay_agent.reputation.watch import ReputationWatch
from relay_agent.submission.listeners import ListenError
from relay_agent.supervisor.certificate import CertificateWatch
from relay_agent.supervisor.crew import Crew, WorkerProcess
from relay_agent.supervisor.monitoring import Monitoring, State
from relay_agent.supervisor.patience import hold_off
from relay_agent.supervisor.ports import Ports
from relay_agent.supervisor.reload import Reload, read_anew
from relay_agent.supervisor.replacement import SIGNALS, received_state, replace_program
from relay_agent.supervisor.settings import Settings, host_warnings
from relay_agent.supervisor.shared import Shared
from relay_agent.supervisor.sites import site_commands
from relay_agent.supervisor.staff import Staff
from relay_agent.supervisor.status import listening, state_of, workers_status
from relay_agent.supervisor.stores import Stores
from relay_agent.supervisor.suppressing import Suppressing
from relay_agent.supervisor.tracing import trace_handlers

__all__ = ["Supervisor", "run"]

_LOOK = 2.0  # seconds between looks at what nobody told
_STOPS_WITHIN = 60.0  # seconds; a worker's own grace is half of it


class Supervisor:
    """One agent. `state` is what an earlier program of this process handed over."""

    def __init__(
        self, settings: Settings, ports: Ports, lock: QueueLock, log: MailLog, state: dict[str, Any] | None
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._lock = lock
        self._log = log
        self._state = state
        self._crew = Crew(self._commands, self._worker_gone)
        self._stores = Stores(settings.config.queue.directory, self._crew)
        self._shared = Shared(self._crew, lambda: self._settings.config.policy)
        self._suppressing = Suppressing(settings.config, log, self._suppression_changed)
        self._reputation = ReputationWatch(settings.config, log)
        self._certificate = CertificateWatch(settings.config, log)
        self._started = time.time()
        self._past: Counter[str] = Counter()  # of workers that have ended
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stop = asyncio.Event()
        self._failure = ""
        self._monitoring = Monitoring(settings.config, self._crew, self._stores.empty, log, self._monitored)
        self._staff = Staff(
            self._crew,
            self._stores,
            self._shared,
            Board(),
            log,
            settings=settings,
            listening=(ports.descriptors, ports.by_listener),
            stop=self._stop,
            spawn_task=self._in_background,
            failed=self._not_started,
            waits=self._waits,
        )
        self._reload = Reload(
            settings,
            log,
            stop=self._stop,
            complete=self._staff.complete,
            waiting=lambda: self._staff.waiting,
            spawn_task=self._in_background,
            replace=self._replace,
        )

    async def run(self) -> int:
        """Work until SIGTERM or SIGINT. Returns the exit status; a second signal does not wait for anyone."""
        self._handle_signals()
        state, log = self._state, self._log
        adopted = None
        if state is not None:
            self._restore(state)
            adopted = self._settings.control_socket(state)
        self._control = ControlServer(
            self._settings.config.control.socket,
            self._handlers(),
            listening=adopted,
        )
        background: asyncio.Task[None] | None = None
        try:
            await self._control.start()
            self._suppressing.load()
            self._suppressing.start()
            self._reputation.start()
            self._certificate.start()
            await self._question_old_workers()
            self._staff.top_up()
            await self._monitoring.start()
            background = asyncio.create_task(self._stores.run(_LOOK))
            for warning in host_warnings(self._settings):
                log.event("config_warning", level="warning", problem=warning)
            repairing = asyncio.create_task(hold_off(self._settings.config.queue.directory))
            await self._either(self._staff.complete, self._stop)
            repairing.cancel()
            if not self._stop.is_set():
                self._begun()
            await self._stop.wait()
            notify("STOPPING=1")
            log.event("stopping")
        finally:
            if background is not None:
                background.cancel()
            await self._shut_down()
        if self._failure:
            sys.stderr.write(f"relay-agent: {self._failure}\n")
            return 1
        log.event("stopped")
        log.flush()
        return 0

    def _begun(self) -> None:
        config = self._settings.config
        if self._state is None:
            self._log.event(
                "started",
                version=relay_agent.__version__,
                pid=os.getpid(),
                hostname=config.hostname,
                workers=self._settings.workers,
            )
        else:
            self._reload.replaced(self._staff.accounts)
        if self._settings.drained is not None:
            self._log.event("drained", level="warning", because=self._settings.drained.because)
        self._notify_running()
        self._reload.ask_if_wanted()

    def _notify_running(self) -> None:
        if self._settings.drained is not None:
            notify("READY=1", "STATUS=Drained: takes no mail, carries on what is queued")
        else:
            notify("READY=1", f"STATUS=Taking mail on {len(self._settings.config.listener)} ports")

    async def _shut_down(self) -> None:
        self._stop.set()
        self._ports.close()
        for worker in self._crew.workers:
            worker.leaving = True
            worker.channel.notice("stop")
        if not await self._crew.wait_empty(_STOPS_WITHIN):
            self._log.event("workers_killed", level="error", pids=[each.pid for each in self._crew.workers])
            self._crew.kill(self._crew.workers)
            await self._crew.wait_empty(5.0)
        await self._monitoring.close()
        self._suppressing.close()
        await self._reputation.close()
        await self._certificate.close()
        await self._control.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._lock.close()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_or_exit, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload.ask_in_task)
        loop.add_signal_handler(signal.SIGCHLD, self._crew.reap)
        # An earlier program of this process has blocked them.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _stop_or_exit(self, number: int) -> None:
        if self._stop.is_set():
            self._log.event("killed_while_stopping", level="warning")
            self._log.flush()
            # What was answered with 250 is on the disk; nothing else is owed.
            self._crew.kill(self._crew.workers)
            os._exit(128 + number)
        self._stop.set()

    def _in_background(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _either(*events: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    # ---- workers --------------------------------------------------------------------------------------

    def _worker_gone(self, worker: WorkerProcess, status: int) -> None:
        self._monitoring.gone(worker, status)
        self._staff.gone(worker, status)

    def _not_started(self, problem: str) -> None:
        if self._state is not None:
            self._reload.stuck(f"the new workers do not start: {problem}")
            notify("READY=1", "STATUS=The previous workers go on: the new ones do not start")
        elif not any(each.ready for each in self._crew.workers):
            # At the first start a person looks on: say it, and end.
            self._failure = problem
            self._stop.set()

    def _waits(self, problem: str) -> None:
        """What the host lacks, room on the disk as a rule, keeps a worker from starting; "": no longer.

        That is no failure: ended for it, the agent would use up the starts that systemd allows, and be down when there
        is room again.
        """
        self._stores.trouble = problem
        if not problem:
            if self._staff.complete.is_set():
                self._notify_running()
            return
        if self._state is not None and not self._staff.complete.is_set():
            self._reload.stuck(f"the new workers wait: {problem}")
        ready = sum(each.ready for each in self._crew.workers)
        notify("READY=1", f"STATUS=Waits, with {ready} workers that take mail: {problem}")

    def _commands(self, worker: WorkerProcess) -> dict[str, Any]:
        """What a worker may ask for."""
        return {
            **self._shared.commands(worker),
            **site_commands(self._stores.all),
            "suppression.learned": self._suppressing.learned,
            "suppression.complained": self._suppressing.complained,
            "released": lambda a: self._stores.released(worker, a["store"]),
            "farewell": lambda a: self._farewell(worker, a),
        }

    def _farewell(self, worker: WorkerProcess, said: dict[str, Any]) -> None:
        self._past.update(said["counters"])
        self._monitoring.farewell(worker, said.get("metrics"))

    def _suppression_changed(self, changes: list[dict[str, Any]]) -> None:
        for worker in self._crew.workers:
            worker.channel.notice("suppression.changed", changes=changes)

    # ---- what the control socket asks for -------------------------------------------------------------

    def _handlers(self) -> dict[str, Handler]:
        tracing = trace_handlers(lambda: self._crew.workers, lambda: self._settings.config)
        return {
            **control_handlers(self, self._stores.all),
            **self._monitoring.handlers(),
            **self._suppressing.handlers(),
            **tracing,
        }

    def _monitored(self) -> State:
        trouble = "stopping" if self._stop.is_set() else ""
        if not trouble and not any(each.ready for each in self._crew.workers):
            waiting = self._staff.waiting
            trouble = "no worker takes mail" + (f": {waiting}" if waiting else "")
        renewals = self._certificate.renewals()
        return State(
            self._started,
            self._staff.accounts,
            trouble,
            self._suppressing.book.counts(),
            self._reputation.findings,
            self._certificate.expiry,
            None if renewals is None else bool(renewals.problem),
        )

    async def status(self) -> dict[str, Any]:
        """The state of the agent for `relay-agent status`; times in seconds, sizes in bytes."""
        config = self._settings.config
        return {
            "hostname": config.hostname,
            "version": relay_agent.__version__,
            "pid": os.getpid(),
            "uptime": time.time() - self._started,
            "reloading": self._reload.under_way,
            "reloads": self._reload.told(),
            "waiting": self._staff.waiting,
            "program": self._reload.release[0],
            "config_sha256": self._settings.digest,
            **listening(config.listener, self._settings.drained),
            "suppressed": self._suppressing.book.counts().total(),
            "reputation": self._reputation.status(),
            "certificate": self._certificate.status(),
            "accounts": self._staff.accounts,
            **await workers_status(self._crew.workers, self._past),
        }

    async def reload(self) -> str | None:
        """See `Reload.ask`."""
        return await self._reload.ask()

    async def reload_accounts(self) -> str | None:
        """After `relay-agent account`; see `read_anew`."""
        return await read_anew("accounts", self._crew.workers, self._log)

    async def reload_keys(self) -> str | None:
        """After `relay-agent dkim`; see `read_anew`."""
        return await read_anew("dkim", self._crew.workers, self._log)

    # ---- the handing-over to the next program of this process -----------------------------------------

    async def _replace(self) -> str:
        listening = await self._control.detach(2.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                for worker in self._crew.workers:
                    await worker.channel.flush(2.0)
        if self._stop.is_set():
            listening.close()
            return ""
        self._log.flush()
        metrics = await self._monitoring.detach()
        crew, descriptors = self._crew.detach()
        state = {
            **crew,
            **self._settings.export(),
            "control": listening.fileno(),
            "lock": self._lock.fd,
            "listening": self._ports.descriptors,
            **self._shared.export(),
            "past": dict(self._past),
            "reputation": self._reputation.export(),
            "certificate": self._certificate.export(),
            "metrics": self._monitoring.export(),
            "started": self._started,
            "empty": sorted(self._stores.empty),
            "reloads": self._reload.export(),
        }
        kept = [*descriptors, *metrics, listening.fileno(), self._lock.fd, *self._ports.descriptors]
        try:
            replace_program(state, kept)
        except OSError as error:
            self._crew.resume()
            self._control = ControlServer(self._settings.config.control.socket, self._handlers(), listening=listening)
            await self._control.start()
            await self._monitoring.start()
            return f"cannot start the current release: {error}"

    def _restore(self, state: dict[str, Any]) -> None:
        self._crew.restore(state)
        self._shared.restore(state)
        self._past.update(state["past"])
        self._reputation.restore(state.get("reputation", []))
        self._certificate.restore(state.get("certificate", {}))
        self._monitoring.restore(state.get("metrics"))
        self._started = state["started"]
        self._reload.restore(state.get("reloads", {}))
        self._stores.empty.update(state["empty"])
        self._crew.reap()

    async def _question_old_workers(self) -> None:
        """What they told the earlier program of this process in its last moment may have been lost with it."""
        old = [each for each in self._crew.workers if each.ready]
        for worker, answer in zip(old, await asyncio.gather(*map(state_of, old)), strict=True):
            worker.stores = set(answer["stores"])


def run(path: Path | str) -> int:
    """`relay-agent serve`: returns the exit status. Raises ConfigError and OSError."""
    allow_open_files()
    log = MailLog()
    route_standard_logging(log)
    state = received_state()
    try:
        if state is None:
            settings = Settings.read(Path(path))
            lock = QueueLock(settings.config.queue.directory)
            ports = settings.open_ports()
        else:
            settings, ports = Settings.resume(Path(path), state)
            lock = QueueLock(settings.config.queue.directory, fd=state["lock"])

        async def serve() -> int:
            return await Supervisor(settings, ports, lock, log, state).run()

        return asyncio.run(serve())
    except (ListenError, StoreLockedError) as error:
        sys.stderr.write(f"relay-agent: {error}\n")
        return 1
