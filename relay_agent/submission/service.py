# SPDX-License-Identifier: GPL-3.0-or-later
"""What all sessions of a worker share, and the promise behind the 250."""

from __future__ import annotations

import ssl
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from relay_agent.accounts.verifier import Verifier
from relay_agent.config.schema import Config
from relay_agent.observability.log import EventLog
from relay_agent.policy.guessing import Guard
from relay_agent.policy.quota import Quotas
from relay_agent.queue.model import Message, QueueStore
from relay_agent.submission.limits import Sessions

__all__ = ["Carrier", "SubmissionService"]


class Carrier(Protocol):
    """Takes over a message that is safe in the queue."""

    def submit(self, message: Message) -> None: ...


@dataclass
class SubmissionService:
    """The worker's parts as a session sees them. `config` and `tls_context` change on a reload."""

    config: Config
    store: QueueStore
    carrier: Carrier
    verifier: Verifier
    events: EventLog
    tls_context: ssl.SSLContext | None
    sessions: Sessions = field(default_factory=Sessions)
    counters: Counter[str] = field(default_factory=Counter)
    quotas: Quotas = field(default_factory=Quotas)
    guard: Guard = field(default_factory=Guard)

    async def accept(self, message: Message) -> None:
        """Keep a message; when this returns it is synced to disk and on its way, and may be answered with 250.

        Raises QueueFullError when the disk refuses it.
        """
        begun = time.monotonic()
        await self.store.store(message)
        self.counters["accepted"] += 1
        self.counters["accepted_bytes"] += message.body.size
        self.carrier.submit(message)
        self.counters["commit_microseconds"] += int((time.monotonic() - begun) * 1e6)
