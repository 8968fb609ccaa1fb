# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that one store answers, and a queue of stores that this process has open itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from relay_agent.queue.model import Message
from relay_agent.queue.selection import OperatedStore

from .merge import LocalStore, merged_queue_handlers
from .merge_operator import merged_operator_handlers
from .operator import Office, operator_handlers
from .protocol import BAD_REQUEST, NOT_FOUND, ControlError
from .queue_view import PAGE, PAGE_RECIPIENTS, describe
from .server import Handler

__all__ = ["Carrier", "queue_handlers", "store_handlers"]


class Carrier(Protocol):
    """The delivery side, as far as the control socket needs it."""

    def snapshot(self) -> Mapping[str, Any]:
        """What it is doing, JSON-ready."""

    def wake(self) -> None:
        """Look into the queue now: something became due."""

    def forget(self, queue_ids: Sequence[str]) -> None:
        """Do not begin deliveries of these messages."""

    def in_hand(self, queue_ids: Iterable[str]) -> set[str]:
        """Those of the messages that are being delivered now."""

    def submit(self, message: Message) -> None:
        """Deliver a message that was just stored."""


def queue_handlers(stores: Sequence[OperatedStore], office: Office | None = None) -> dict[str, Handler]:
    """The commands that need only a queue; the command line runs them itself when no agent does."""
    local = [LocalStore(store_handlers(store, office=office)) for store in stores]
    return {**merged_queue_handlers(lambda: local), **merged_operator_handlers(lambda: local)}


def store_handlers(
    store: OperatedStore, carrier: Carrier | None = None, *, office: Office | None = None
) -> dict[str, Handler]:
    """One store's commands; `merge` makes the queue out of several."""
    office = office or Office()

    async def status(_: dict[str, Any]) -> dict[str, Any]:
        counts = await store.counts()
        queue = {
            "messages": counts.messages,
            "recipients": counts.recipients,
            "held": counts.held,
            "bytes": counts.bytes,
        }
        return {"queue": queue, "delivery": dict(carrier.snapshot()) if carrier is not None else {}}

    async def page(arguments: dict[str, Any]) -> dict[str, Any]:
        limit, offset = _number(arguments, "limit", 1000), _number(arguments, "offset", 0)
        wanted = min(PAGE, limit - offset) if limit else PAGE
        messages = await store.list(wanted, offset) if wanted > 0 else []
        items: list[dict[str, Any]] = []
        recipients = 0
        for message in messages:
            items.append(describe(message))
            recipients += len(message.recipients)
            if recipients >= PAGE_RECIPIENTS:
                break
        return {"items": items, "more": len(items) < len(messages) or 0 < wanted == len(messages)}

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
            for queue_id in set(queue_ids).difference(unknown):
                office.log.event("operator_retried", queue_id=queue_id)
        if carrier is not None:
            carrier.wake()
        return {"recipients": recipients, "unknown": unknown}

    async def delete(arguments: dict[str, Any]) -> dict[str, Any]:
        queue_ids = _ids(arguments)
        unknown = [queue_id for queue_id in queue_ids if await store.get(queue_id) is None]
        deleted = await store.delete(queue_ids)
        if carrier is not None:
            carrier.forget(queue_ids)
        for queue_id in set(queue_ids).difference(unknown):
            office.log.event("operator_deleted", queue_id=queue_id)
        return {"messages": deleted, "unknown": unknown}

    return {
        **operator_handlers(store, carrier, office),
        "store.status": status,
        "queue.page": page,
        "queue.show": show,
        "queue.retry": retry,
        "queue.delete": delete,
    }


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
