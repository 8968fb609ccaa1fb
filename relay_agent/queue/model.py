# SPDX-License-Identifier: GPL-3.0-or-later
"""What the queue keeps: messages, their recipients, and what became of each recipient.

These types are the queue's interface to the submission side (which stores) and to delivery (which claims
and records). They know nothing of SQLite or PostgreSQL.
"""

from __future__ import annotations

import asyncio
import builtins
import itertools
import random
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

__all__ = [
    "AWAITS",
    "HELD_FOR",
    "HELD_UNTIL",
    "SHELVED",
    "Body",
    "Committed",
    "Counts",
    "Envelope",
    "Message",
    "QueueDamagedError",
    "QueueFullError",
    "QueueStore",
    "Recipient",
    "RecipientState",
    "Update",
    "new_queue_id",
]

#: Option of a recipient that waits until its site calls in (ETRN, ATRN): the domain that is waited for. Its
#: `next_attempt` is when it is given up. No client can set it: it is no parameter of RCPT.
AWAITS = "AWAITS"

#: Option of an envelope whose sender had the message held (RFC 4865): when it was to be released, seconds since the
#: epoch. No parameter of MAIL is kept under this name.
HELD_UNTIL = "HELD-UNTIL"

#: Option of an envelope with `HELD_UNTIL` whose sender named no time but a number of seconds (HOLDFOR): so many.
HELD_FOR = "HELD-FOR"

#: Option of a recipient that was put off without an attempt, as memory was for others: when, seconds since the epoch.
SHELVED = "SHELVED"

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U to misread
_PAIRS = ["".join(each) for each in itertools.product(_ALPHABET, repeat=2)]  # 10 bits each
_SHIFTS = range(60, -1, -10)
# An id has to be unique, also among processes that start together; it is no secret.
_chance = random.Random(secrets.randbits(256))  # noqa: S311


def new_queue_id(now: float | None = None) -> str:
    """A queue id of 15 characters that sorts by time: 45 bits of milliseconds, 30 bits of chance."""
    number = int((time.time() if now is None else now) * 1000) << 30 | _chance.getrandbits(30)
    return _ALPHABET[number >> 70 & 31] + "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


class QueueFullError(Exception):
    """The disk has no room (or refused a write): answer 452 4.3.1 and keep going."""


class QueueDamagedError(Exception):
    """The stored data itself is damaged: answer 451 4.3.0; the store repairs what it can when next opened."""


class Committed(asyncio.Future[None]):
    """Done when a message is synced. What waits for it may go on right where it stopped, in no task of its own."""


class RecipientState(StrEnum):
    """Where one recipient of a message stands; a recipient that is done has left the queue."""

    WAITING = "waiting"  # due now or at `next_attempt`
    HELD = "held"  # by the operator, until released


@dataclass(slots=True, frozen=True)
class Envelope:
    """What the submitter said about the message as a whole (RFC 5321 MAIL FROM).

    reverse_path: address without angle brackets, "" for the null reverse path.
    account: the name signed in with; "" from a trusted network; None for the agent's own bounces.
    options: further MAIL parameters kept through the queue (BODY, SMTPUTF8, RET, ENVID), upper-case keys.
    """

    reverse_path: str
    account: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Recipient:
    """One recipient and its own history; times are seconds since the epoch."""

    address: str
    options: Mapping[str, str] = field(default_factory=dict)  # NOTIFY, ORCPT; AWAITS, SHELVED
    state: RecipientState = RecipientState.WAITING
    attempts: int = 0
    next_attempt: float = 0.0
    last_attempt: float | None = None
    last_status: str = ""  # enhanced status code, e.g. "4.4.1"
    last_reply: str = ""  # what the other side (or we) said, in words
    last_host: str = ""  # who said it, "" for ourselves

    @property
    def domain(self) -> str:
        """The recipient's domain, lower-case."""
        return self.address.rpartition("@")[2].lower()


class Body(Protocol):
    """A message's content (headers and body, CRLF line ends), in memory or in a file."""

    @property
    def size(self) -> int:
        """Bytes."""

    def read(self) -> bytes:
        """The whole content; blocks on the disk when it is in a file: call it in a thread when large."""

    def blocks(self, size: int = 65536) -> Iterable[bytes]:
        """The content in blocks, for sending; one in a file is read as the blocks are asked for.

        Reading (this and `read`) raises OSError when the content is gone or damaged on disk.
        """


@dataclass(slots=True)
class Message:
    """A message in the queue. `recipients` holds only those not done yet; the key is its number."""

    queue_id: str
    envelope: Envelope
    recipients: dict[int, Recipient]
    body: Body
    created: float
    expires: float

    @property
    def released(self) -> float:
        """Since when it may be delivered, seconds since the epoch: a sender's hold is no delay (RFC 4865)."""
        try:
            return max(self.created, float(self.envelope.options.get(HELD_UNTIL, 0.0)))
        except ValueError:
            return self.created


@dataclass(slots=True, frozen=True)
class Update:
    """What became of one recipient of one message in one attempt.

    recipient None: the recipient is done (delivered, or failed and its bounce is stored with this update).
    Otherwise the new state to keep (next_attempt, last_reply ...). What is held stays held, whatever it says.
    """

    queue_id: str
    number: int
    recipient: Recipient | None


@dataclass(slots=True, frozen=True)
class Counts:
    """How much is in the queue."""

    messages: int
    recipients: int
    held: int
    bytes: int


class QueueStore(Protocol):
    """Durable storage of accepted mail. Every coroutine returns only when its effect is synced to disk.

    Concurrent calls share one sync (group commit): call them from as many tasks as there are.
    All raise QueueFullError when the disk refuses (ENOSPC, EIO, read-only), with nothing changed.
    """

    async def store(self, message: Message) -> None:
        """Keep a new message."""

    async def record(self, updates: Sequence[Update], bounces: Sequence[Message] = ()) -> None:
        """Keep the outcome of an attempt, and the bounces it caused, in one transaction.

        A message whose last recipient is done is removed. Updates for what is gone are ignored.
        """

    async def due(
        self,
        now: float,
        limit: int,
        *,
        exclude: frozenset[str] = frozenset(),
        without: frozenset[int] = frozenset(),
    ) -> list[Message]:
        """Up to `limit` messages with waiting recipients due at `now`, each with only the due recipients in
        `recipients`. Accounts take turns, so that one message of one is found behind any number of another's; of
        each account the most urgent come first, then the oldest due (see `lanes`).

        exclude: ids passed over (in hand). without: accounts passed over, as `lanes.owner_of` has them."""

    async def next_due(self, *, after: float = 0.0) -> float | None:
        """Earliest next_attempt later than `after` of a waiting recipient; None when nothing waits."""

    async def awaiting(self, wanted: Callable[[str], bool]) -> builtins.list[tuple[str, str]]:
        """Of the recipients that wait for their site to call in (`AWAITS`), those whose domain, lower-case, is
        `wanted`, which is called in another thread: queue id and domain, each pair once, oldest message first."""

    async def get(self, queue_id: str) -> Message | None:
        """One message with all its recipients."""

    async def list(self, limit: int = 1000, offset: int = 0) -> list[Message]:
        """Messages, oldest first, with all their recipients; bodies are opened lazily, never read here."""

    async def retry(self, queue_ids: Sequence[str] | None) -> int:
        """Make these messages (None: all) due now; returns how many waiting recipients it concerned."""

    async def catch_up(self, ahead: float) -> int:
        """Make due now the waiting recipients that were put off when the clock was `ahead` seconds or more ahead of
        what it is now; returns how many. What the sender has held (`HELD_UNTIL`) stays so until the time of day that
        was asked for, and what is held for so many seconds (`HELD_FOR`) for no more than these from now."""

    async def delete(self, queue_ids: Sequence[str]) -> int:
        """Remove messages without delivery and without a bounce (the operator asked); returns how many."""

    async def counts(self) -> Counts:
        """How much is in the queue."""

    async def oldest(self) -> float | None:
        """When the oldest message was accepted, seconds since the epoch; None when there is none."""

    def spool_directory(self) -> Path:
        """Where the submission side may put large bodies while they arrive (same file system)."""

    async def close(self) -> None:
        """Finish what is under way, then close."""
