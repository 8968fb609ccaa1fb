# SPDX-License-Identifier: GPL-3.0-or-later
"""The stores that a worker has open: its own, and those of workers that are gone until their mail has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from relay_agent.config.schema import Config
from relay_agent.control.operator import Office
from relay_agent.control.protocol import FAILED, MOVED, WAITS, ControlError
from relay_agent.control.server import Handler
from relay_agent.control.store_commands import store_handlers
from relay_agent.delivery.collection import site_handlers
from relay_agent.delivery.dispatcher import Dispatcher
from relay_agent.dkim.signer import Signer
from relay_agent.observability.log import MailLog
from relay_agent.queue.directory import StoreLockedError
from relay_agent.queue.holdings import open_free, open_one
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.model import QueueFullError
from relay_agent.suppression.desk import SuppressionDesk
from relay_agent.worker.ending import STOPPING
from relay_agent.worker.passing import in_words, passes

__all__ = ["Holding", "OpenStores"]

_LOOK_AGAIN = 2.0  # seconds between looks at whether a store that was taken over is empty


@dataclass
class Holding:
    """An open store, and what carries its mail on."""

    number: int
    store: JournaledStore
    dispatcher: Dispatcher
    office: Office
    handlers: dict[str, Handler] = field(init=False)

    def __post_init__(self) -> None:
        handlers = store_handlers(self.store, self.dispatcher, office=self.office)
        self.handlers = site_handlers(self.store, self.dispatcher, handlers)

    async def close(self, grace: float) -> None:
        """Let attempts under way end within `grace` seconds, then let go of the store."""
        await self.dispatcher.stop(grace)
        await self.store.close()


class OpenStores:
    """Opens, takes over and lets go.

    damaged: called in a thread of a store with its number and what is wrong with its database. ending: whether the
    worker is; nothing more is taken over then. released: told the number of a store that is no longer needed.
    """

    def __init__(
        self,
        config: Config,
        log: MailLog,
        *,
        signer: Signer,
        suppression: SuppressionDesk | None,
        damaged: Callable[[int, str], None],
        ending: Callable[[], bool],
        released: Callable[[int], None],
    ) -> None:
        self._config = config
        self._log = log
        self._signer = signer
        self._suppression = suppression
        self._damaged = damaged
        self._ending = ending
        self._released = released
        self._watching: set[asyncio.Task[None]] = set()
        self._unopened: dict[int, str] = {}  # why each could not be taken over, of which the log was told
        self.holdings: dict[int, Holding] = {}

    async def open_own(self, number: int) -> Holding:
        """The store for the mail that this worker takes: of this number or, if somebody has that, of the next that is
        free. Its mail is carried on from now. Raises StoreLockedError, StoreVersionError, QueueDamagedError and
        OSError."""
        number, store = await asyncio.to_thread(open_free, self._config.queue.directory, number, self._damaged)
        return await self._hold(number, store)

    async def adopt(self, number: int) -> bool:
        """Take over a store that nobody has open, with its mail. False when it is empty or not to be had."""
        if number in self.holdings or self._ending():
            return number in self.holdings
        try:
            store = await asyncio.to_thread(open_one, self._config.queue.directory, number, self._damaged)
        except StoreLockedError:
            raise ControlError(FAILED, f"store {number} is in use") from None
        except Exception as error:
            self._not_opened(number, error)
            raise ControlError(WAITS if passes(error) else FAILED, in_words(error)) from error
        self._unopened.pop(number, None)
        try:
            counts = await store.counts()
        except BaseException:
            await store.close()  # or nobody could open it for as long as this worker lives
            raise
        if not counts.messages or self._ending():
            await store.close()
            if counts.messages:
                raise ControlError(FAILED, "this worker is stopping")
            return False
        self._log.event("queue_taken_over", store=number, messages=counts.messages)
        await self._hold(number, store)
        task = asyncio.get_running_loop().create_task(self._empty(number))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return True

    async def run(self, command: str, number: int, arguments: dict[str, Any]) -> Any:
        """A command about one store (see `store_handlers`). Raises ControlError."""
        holding = self.holdings.get(number)
        if holding is None:
            raise ControlError(MOVED, "this store is no longer open here")
        return await holding.handlers[command](arguments)

    async def close(self, grace: float) -> None:
        """Let go of all of them; attempts under way have `grace` seconds to end."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await asyncio.gather(*(each.close(grace) for each in self.holdings.values()))

    async def _hold(self, number: int, store: JournaledStore) -> Holding:
        for notice in store.notices:
            self._log.event("queue_repaired", level="warning", store=number, notice=notice)
        dispatcher = Dispatcher(self._config, store, self._log, signer=self._signer, local=self._suppression)
        office = Office(self._log, lambda: self._config, self._signer)
        holding = self.holdings[number] = Holding(number, store, dispatcher, office)
        await dispatcher.start()
        return holding

    def _not_opened(self, number: int, error: Exception) -> None:
        """Tell the log, once: it is tried again every few seconds."""
        problem = in_words(error)
        told = (
            "no room" if isinstance(error, QueueFullError) else problem
        )  # how much room there is changes all the time
        if self._unopened.get(number) != told:
            self._unopened[number] = told
            self._log.event("queue_not_taken_over", level="error", store=number, problem=problem)

    async def _empty(self, number: int) -> None:
        """Let go of a store that was taken over, once its last message has left."""
        holding = self.holdings[number]
        left = True
        while left:
            await asyncio.sleep(_LOOK_AGAIN)
            left = bool((await holding.store.counts()).messages or holding.dispatcher.snapshot()["in_hand"])
        del self.holdings[number]
        await holding.close(STOPPING.deliveries)
        self._released(number)
