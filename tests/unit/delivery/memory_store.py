# SPDX-License-Identifier: GPL-3.0-or-later
"""A queue in memory that can be told to refuse; and a log that keeps its events."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from relay_agent.observability.log import EventLog
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.lanes import lane_of, owner_of
from relay_agent.queue.model import (
    AWAITS,
    SHELVED,
    Envelope,
    Message,
    QueueFullError,
    Recipient,
    RecipientState,
    Update,
    new_queue_id,
)

__all__ = ["Events", "MemoryStore", "make_message"]


class Events(EventLog):
    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        self.seen.append((name, {"level": level, **fields}))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [fields for each, fields in self.seen if each == name]


@dataclass
class MemoryStore:
    """What delivery uses of a QueueStore. `refusals`: how many further records fail."""

    messages: dict[str, Message] = field(default_factory=dict)
    refusals: int = 0
    recorded: int = 0
    caught_up: int = 0

    async def store(self, message: Message) -> None:
        self.messages[message.queue_id] = replace(message, recipients=dict(message.recipients))

    async def record(self, updates: Sequence[Update], bounces: Sequence[Message] = ()) -> None:
        if self.refusals:
            self.refusals -= 1
            raise QueueFullError("full")
        self.recorded += 1
        for bounce in bounces:
            await self.store(bounce)
        for update in updates:
            message = self.messages.get(update.queue_id)
            if message is None:
                continue
            if update.recipient is None:
                message.recipients.pop(update.number, None)
                if not message.recipients:
                    del self.messages[update.queue_id]
            else:
                message.recipients[update.number] = update.recipient

    async def due(
        self,
        now: float,
        limit: int,
        *,
        exclude: frozenset[str] = frozenset(),
        without: frozenset[int] = frozenset(),
    ) -> list[Message]:
        found: list[Message] = []
        for message in self.messages.values():
            due = {
                number: recipient
                for number, recipient in message.recipients.items()
                if recipient.state is RecipientState.WAITING and recipient.next_attempt <= now
            }
            if (
                due
                and message.queue_id not in exclude
                and owner_of(lane_of(message.envelope)) not in without
                and len(found) < limit
            ):
                found.append(replace(message, recipients=due))
        return found

    async def awaiting(self, wanted: Callable[[str], bool]) -> list[tuple[str, str]]:
        found = [
            (message.queue_id, recipient.domain)
            for message in self.messages.values()
            for recipient in message.recipients.values()
            if recipient.state is RecipientState.WAITING and AWAITS in recipient.options and wanted(recipient.domain)
        ]
        return list(dict.fromkeys(found))

    async def get(self, queue_id: str) -> Message | None:
        message = self.messages.get(queue_id)
        return None if message is None else replace(message, recipients=dict(message.recipients))

    async def retry(self, queue_ids: Sequence[str] | None) -> int:
        concerned = 0
        for message in self.messages.values():
            for number, recipient in message.recipients.items():
                if recipient.state is RecipientState.WAITING and (queue_ids is None or message.queue_id in queue_ids):
                    message.recipients[number] = replace(recipient, next_attempt=time.time())
                    concerned += 1
        return concerned

    async def catch_up(self, ahead: float) -> int:
        self.caught_up += 1
        now, concerned = time.time() + ahead, 0
        for message in self.messages.values():
            for number, recipient in message.recipients.items():
                put_off = max(recipient.last_attempt or 0.0, float(recipient.options.get(SHELVED, 0)))
                if recipient.next_attempt > now and put_off > now:
                    message.recipients[number] = replace(recipient, next_attempt=time.time())
                    concerned += 1
        return concerned

    async def next_due(self, *, after: float = 0.0) -> float | None:
        times = (
            recipient.next_attempt
            for message in self.messages.values()
            for recipient in message.recipients.values()
            if recipient.state is RecipientState.WAITING and recipient.next_attempt > after
        )
        return min(times, default=None)


def make_message(
    *recipients: str,
    sender: str = "alice@home.test",
    content: bytes = b"Subject: hello\r\n\r\nHello.\r\n",
    created: float = 1_000_000.0,
    lifetime: float = 432_000.0,
    **options: str,
) -> Message:
    return Message(
        queue_id=new_queue_id(),
        envelope=Envelope(sender, "alice", options),
        recipients={number: Recipient(address) for number, address in enumerate(recipients)},
        body=MemoryBody(content),
        created=created,
        expires=created + lifetime,
    )
