# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages for the queue's tests."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from relay_agent.queue.body import FileBody, MemoryBody, Spool
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.model import Envelope, Message, Recipient, new_queue_id

__all__ = ["Kind", "Opened", "large", "message", "recipient", "smaller_segments", "whole"]

Opened = EmbeddedStore | JournaledStore
Kind = type[EmbeddedStore] | type[JournaledStore]


def recipient(address: str = "bob@beta.test", due: float = 0.0) -> Recipient:
    """A recipient that waits."""
    return Recipient(address, next_attempt=due)


def message(*recipients: Recipient, content: bytes = b"Subject: x\r\n\r\nhello\r\n", created: float = 0.0) -> Message:
    """A message in memory, to bob unless said."""
    now = created or time.time()
    chosen = recipients or (recipient(),)
    return Message(
        queue_id=new_queue_id(now),
        envelope=Envelope("alice@alpha.test", "alice", {"BODY": "8BITMIME"}),
        recipients=dict(enumerate(chosen)),
        body=MemoryBody(content),
        created=now,
        expires=now + 432000,
    )


def large(spool_directory: Path, size: int = 300_000) -> Message:
    """A message whose body was spooled to a file, with a header block put in front of it."""
    spool = Spool(spool_directory, threshold=1000)
    block = bytes(range(256)) * 16
    for start in range(0, size, len(block)):
        spool.write(block[: size - start])
    body = spool.finish(b"Received: by relay\r\n", skip=10)
    assert isinstance(body, FileBody)
    result = message()
    result.body = body
    return result


def whole(found: Message | None) -> tuple[object, ...]:
    """A message as something to compare."""
    assert found is not None
    return (
        found.queue_id,
        found.envelope,
        found.recipients,
        found.body.read(),
        found.body.size,
        found.created,
        found.expires,
    )


def smaller_segments(monkeypatch: pytest.MonkeyPatch, size: int = 65_536) -> None:
    """Segments of a few kilobytes: as many as one likes cost nothing."""
    for module in ("segments", "journal", "replay"):
        monkeypatch.setattr(f"relay_agent.queue.{module}.SEGMENT_SIZE", size)
