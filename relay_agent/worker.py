# SPDX-License-Identifier: GPL-3.0-or-later
"""The running agent: puts its parts together, starts them in the order mail flows, stops them in reverse."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import contextlib
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import relay_agent
from relay_agent.accounts.store import AccountsError, load_accounts
from relay_agent.accounts.verifier import Verifier
from relay_agent.config.load import ConfigError, inspect_config, load_config
from relay_agent.config.schema import Config, Listener
from relay_agent.control.handlers import control_handlers
from relay_agent.control.server import ControlServer
from relay_agent.delivery.dispatcher import Dispatcher
from relay_agent.notify import notify, notify_reloading
from relay_agent.observability.log import MailLog, route_standard_logging
from relay_agent.queue.directory import StoreLockedError
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.schema import StoreVersionError
from relay_agent.submission.listeners import ListenError, inherited_sockets, open_listeners
from relay_agent.submission.service import SubmissionService
from relay_agent.submission.session import session_factory
from relay_agent.submission.tls import server_context

__all__ = ["Worker", "run"]

_SESSIONS_GRACE = 20.0  # seconds a message under way has to arrive when the relay stops
_FIXED = ("hostname", "listener", "queue", "control")  # change only with a restart
_OUTCOMES = ("delivered", "deferred", "failed", "bounced")
_TLS_RECORD = 16_384  # bytes
_DELIVERY_GRACE = 10.0  # seconds an attempt under way has to end
# A busy event loop lets go of the interpreter lock at each system call and takes it back before the queue's
# writer wakes up; only this interval makes it wait its turn. With Python's 5 ms commits take seconds.
_SWITCH_INTERVAL = 0.0001


class Worker:
    """One process that takes, keeps and delivers mail.

    config: checked together with what it names on this host. path: where it was read, for reloads.
    """

    def __init__(self, config: Config, path: Path, log: MailLog) -> None:
        self._config = config
        self._path = path
        self._log = log
        self._started = time.time()
        self._status = 0
        self._stop = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._reloads: set[asyncio.Task[str | None]] = set()

    async def run(self) -> int:
        """Work until SIGTERM or SIGINT. Returns the exit status; a second signal does not wait for anyone."""
        config, log = self._config, self._log
        self._loop = asyncio.get_running_loop()
        sys.setswitchinterval(_SWITCH_INTERVAL)
        self._store = await asyncio.to_thread(EmbeddedStore, config.queue.directory, on_damage=self._damaged)
        for notice in self._store.notices:
            log.event("queue_repaired", level="warning", notice=notice)
        self._dispatcher = Dispatcher(config, self._store, log)
        self._verifier = Verifier(_accounts(config))
        self._service = SubmissionService(
            config=config,
            store=self._store,
            carrier=self._dispatcher,
            verifier=self._verifier,
            events=log,
            tls_context=server_context(config.tls) if config.tls else None,
        )
        control = ControlServer(config.control.socket, control_handlers(self._store, self._dispatcher, self))
        try:
            self._handle_signals()
            await self._dispatcher.start()
            await control.start()
            await self._listen()
            self._take_hangups()
            for warning in inspect_config(self._path).warnings:
                log.event("config_warning", level="warning", problem=str(warning))
            log.event("started", version=relay_agent.__version__, pid=os.getpid(), hostname=config.hostname)
            notify("READY=1", f"STATUS=Taking mail on {len(config.listener)} ports")
            await self._stop.wait()
            notify("STOPPING=1")
            log.event("stopping")
        finally:
            await self._shut_down(control)
        log.event("stopped")
        return self._status

    def _damaged(self, description: str) -> None:
        """The queue's database is damaged: end, so that the next start saves what can be read (systemd restarts).

        Called in a thread of the store.
        """

        def end() -> None:
            self._log.event("queue_damaged", level="error", problem=description)
            self._status = 1
            self._stop.set()

        self._loop.call_soon_threadsafe(end)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for listener, sockets in open_listeners(self._config.listener, inherited_sockets()):
            factory = session_factory(self._service, listener, loop)
            for each in sockets:
                self._servers.append(await loop.create_server(factory, sock=each, backlog=1024))
        self._service.sessions.watch(loop, lambda: self._service.config.submission.command_timeout)

    async def _shut_down(self, control: ControlServer) -> None:
        for server in self._servers:
            server.close()
        left = await self._service.sessions.close(_SESSIONS_GRACE)
        if left:
            self._log.event("sessions_cut", level="warning", count=left)
        await self._dispatcher.stop(_DELIVERY_GRACE)
        await control.close()
        self._verifier.close()
        await self._store.close()
        self._log.flush()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_or_exit, number)

    def _take_hangups(self) -> None:
        """From now on reload at SIGHUP; one that came during the start was held back and counts now."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload_in_task)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _stop_or_exit(self, number: int) -> None:
        if self._stop.is_set():
            self._log.event("killed_while_stopping", level="warning")
            self._log.flush()
            # What was answered with 250 is on the disk; nothing else is owed.
            os._exit(128 + number)
        self._stop.set()

    # ---- what the control socket asks for -------------------------------------------------------------

    def _reload_in_task(self) -> None:
        task = asyncio.get_running_loop().create_task(self.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def reload(self) -> str | None:
        """Read configuration, accounts and certificate anew. What cannot be used changes nothing.

        Returns None, or what is wrong in words. Listeners and the queue's place change only with a restart.
        """
        notify_reloading()
        try:
            config = load_config(self._path)
            fixed = [name for name in _FIXED if getattr(config, name) != getattr(self._config, name)]
            kept = {name: getattr(self._config, name) for name in fixed}
            if config.tls is None and "listener" in fixed:
                kept["tls"] = self._config.tls  # the listeners that stay may need it
            config = config.model_copy(update=kept)
            accounts = _accounts(config)
            context = server_context(config.tls) if config.tls else None
        except (ConfigError, AccountsError, OSError) as error:
            self._log.event("reload_refused", level="error", problems=str(error).splitlines())
            notify("READY=1", "STATUS=Running with the previous configuration: the new one has problems")
            return str(error)
        if fixed:
            self._log.event("restart_needed", level="warning", changed=fixed)
        self._config = config
        self._verifier.reload(accounts)
        self._service.config = config
        self._service.tls_context = context
        self._dispatcher.reconfigure(config)
        self._log.event("reloaded", accounts=len(accounts))
        notify("READY=1", f"STATUS=Taking mail on {len(config.listener)} ports")
        return None

    async def reload_accounts(self) -> str | None:
        """Read only the accounts anew, after `relay-agent account`: a half-edited configuration stays out of it.

        Returns None, or what is wrong in words.
        """
        try:
            accounts = _accounts(self._config)
        except AccountsError as error:
            self._log.event("reload_refused", level="error", problems=error.problems)
            return str(error)
        self._verifier.reload(accounts)
        self._log.event("accounts_reloaded", accounts=len(accounts))
        return None

    async def status(self) -> dict[str, Any]:
        """The state of the agent for `relay-agent status`; times in seconds, sizes in bytes."""
        counters = self._service.counters
        return {
            "hostname": self._config.hostname,
            "version": relay_agent.__version__,
            "pid": os.getpid(),
            "uptime": time.time() - self._started,
            "listeners": [_shown(listener) for listener in self._config.listener],
            "sessions": len(self._service.sessions),
            "accounts": len(self._verifier),
            "counters": {**counters, **{name: self._log.counts[name] for name in _OUTCOMES}},
        }


def _accounts(config: Config) -> dict[str, Any]:
    if all(listener.auth == "none" for listener in config.listener):
        return {}
    return dict(load_accounts(config.accounts.file))


def _shown(listener: Listener) -> dict[str, Any]:
    return {"address": listener.address, "port": listener.port, "tls": listener.tls, "auth": listener.auth}


def _allow_open_files() -> None:
    """As many as the host lets us: with the usual 1024, fewer sessions than are allowed stop everything."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(path: Path | str) -> int:
    """`relay-agent serve`: returns the exit status. Raises ConfigError, AccountsError and OSError."""
    config = load_config(path)
    # The buffers of a TLS connection: 256 KiB each by default, most of it never touched by mail. One record is enough.
    asyncio.sslproto.SSLProtocol.max_size = _TLS_RECORD
    _allow_open_files()
    log = MailLog()
    route_standard_logging(log)
    try:
        return asyncio.run(Worker(config, Path(path), log).run())
    except (ListenError, StoreLockedError, StoreVersionError) as error:
        sys.stderr.write(f"relay-agent: {error}\n")
        return 1
