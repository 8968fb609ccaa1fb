# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue and the history of an agent that does not run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from relay_agent.config.schema import Config
from relay_agent.control.history import find_messages
from relay_agent.control.operator import Office
from relay_agent.control.server import Handler
from relay_agent.control.store_commands import queue_handlers
from relay_agent.dkim.places import DkimError
from relay_agent.dkim.signer import Signer
from relay_agent.history.keeping import begin_history, history_directory
from relay_agent.observability.log import MailLog
from relay_agent.queue.directory import StoreLockedError as InUseError
from relay_agent.queue.holdings import open_all
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.lock import QueueLock
from relay_agent.queue.model import QueueDamagedError, QueueFullError
from relay_agent.queue.schema import StoreVersionError

__all__ = ["UNUSABLE", "InUseError", "opened"]

UNUSABLE = (QueueDamagedError, QueueFullError, StoreVersionError)
_CHANGING = ("queue.change", "queue.retry", "queue.delete")


@contextmanager
def opened(config: Config, runner: asyncio.Runner, command: str, patience: float) -> Iterator[dict[str, Handler]]:
    """The handler of a command, and of those that need no more. Raises InUseError, those of `UNUSABLE`, and OSError."""
    if command == "history.find":

        async def find(arguments: dict[str, Any]) -> Any:
            return await find_messages(history_directory(config), arguments)

        yield {"history.find": find}
        return
    with Path(os.devnull).open("w") as nowhere:
        # What the operator does now is told by the history, like everything else.
        log = MailLog(nowhere)
        lock = QueueLock(config.queue.directory)
        history = begin_history(config, log) if command in _CHANGING else None
        try:
            stores = runner.run(_open(config, patience))
            try:
                signer = Signer(config.dkim, log)
                with suppress(DkimError):
                    signer.reload()
                yield queue_handlers(stores, Office(log, lambda: config, signer))
            finally:
                for store in stores:
                    runner.run(store.close())
        finally:
            if history is not None:
                history.close()
            lock.close()


async def _open(config: Config, patience: float) -> list[JournaledStore]:
    return await asyncio.to_thread(open_all, config.queue.directory, patience)
