# SPDX-License-Identifier: GPL-3.0-or-later
"""What the running agent answers at its control socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from relay_agent.queue.model import QueueStore

from .protocol import BAD_REQUEST, FAILED, NOT_FOUND, ControlError
from .queue_view import PAGE, describe
from .server import Handler

__all__ = ["Carrier", "StatusSource", "control_handlers", "queue_handlers"]


class StatusSource(Protocol):
    """The worker, as far as the control socket needs it."""

    async def status(self) -> Mapping[str, Any]:
        """The agent's state, JSON-ready; times in seconds, sizes in bytes."""

    async def reload(self) -> str | None:
        """Read configuration, accounts and certificate anew; None, or what is wrong with them."""

    async def reload_accounts(self) -> str | None:
        """Read only the accounts anew; None, or what is wrong with them."""


class Carrier(Protocol):
    """The delivery side, as far as the control socket needs it."""

    def snapshot(self) -> Mapping[str, Any]:
        """What it is doing, JSON-ready."""

    def wake(self) -> None:
        """Look into the queue now: something became due."""

    def forget(self, queue_ids: Sequence[str]) -> None:
        """Do not begin deliveries of these messages."""


def control_handlers(store: QueueStore, carrier: Carrier, source: StatusSource) -> dict[str, Handler]:
    """All commands of a running agent."""

    async def status(_: dict[str, Any]) -> dict[str, Any]:
        counts = await store.counts()
        queue = {
            "messages": counts.messages,
            "recipients": counts.recipients,
            "held": counts.held,
            "bytes": counts.bytes,
        }
        return {**await source.status(), "queue": queue, "delivery": dict(carrier.snapshot())}

    async def reload(_: dict[str, Any]) -> None:
        _refuse(await source.reload())

    async def reload_accounts(_: dict[str, Any]) -> None:
        _refuse(await source.reload_accounts())

    return {
        **queue_handlers(store, carrier),
        "status": status,
        "reload": reload,
        "accounts.reload": reload_accounts,
    }


def queue_handlers(store: QueueStore, carrier: Carrier | None = None) -> dict[str, Handler]:
    """The commands that need only a queue; the command line runs them itself when no agent does."""

    async def listing(arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        limit = _number(arguments, "limit", 1000)

        async def items() -> AsyncIterator[dict[str, Any]]:
            seen = 0
            while True:
                page = PAGE if not limit else min(PAGE, limit - seen)
                messages = await store.list(page, seen) if page else []
                for message in messages:
                    yield describe(message)
                seen += len(messages)
                if len(messages) < page or not page:
                    return

        return items()

    async def show(arguments: dict[str, Any]) -> dict[str, Any]:
        queue_id = _text(arguments, "id")
        message = await store.get(queue_id)
        if message is None:
            raise ControlError(NOT_FOUND, f"{queue_id} is not in the queue")
        return describe(message)

    async def retry(arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments.get("all") is True:
            recipients = await store.retry(None)
            unknown: list[str] = []
        else:
            queue_ids = _ids(arguments)
            unknown = [queue_id for queue_id in queue_ids if await store.get(queue_id) is None]
            recipients = await store.retry(queue_ids)
        if carrier is not None:
            carrier.wake()
        return {"recipients": recipients, "unknown": unknown}

    async def delete(arguments: dict[str, Any]) -> dict[str, Any]:
        queue_ids = _ids(arguments)
        unknown = [queue_id for queue_id in queue_ids if await store.get(queue_id) is None]
        deleted = await store.delete(queue_ids)
        if carrier is not None:
            carrier.forget(queue_ids)
        return {"messages": deleted, "unknown": unknown}

    return {"queue.list": listing, "queue.show": show, "queue.retry": retry, "queue.delete": delete}


def _refuse(problem: str | None) -> None:
    if problem is not None:
        raise ControlError(FAILED, problem)


def _number(arguments: dict[str, Any], key: str, default: int) -> int:
    value = arguments.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise ControlError(BAD_REQUEST, f"{key}: expected a number, 0 or more")
    return value


def _text(arguments: dict[str, Any], key: str) -> str:
    value = arguments.get(key)
    if not isinstance(value, str):
        raise ControlError(BAD_REQUEST, f"{key}: expected text")
    return value.upper()  # queue ids are typed by people, too


def _ids(arguments: dict[str, Any]) -> list[str]:
    values = arguments.get("ids")
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise ControlError(BAD_REQUEST, "ids: expected a list of queue ids")
    return list(dict.fromkeys(value.upper() for value in values))
