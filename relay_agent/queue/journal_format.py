# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in a journal segment, byte by byte. No I/O.

A segment is a row of batches; what was written together, and synced together, is one batch:

    batch   magic, entries, epoch, number, length of the entries, CRC-32 of these
    entry   kind, length, CRC-32 of the payload (beginning with the kind), payload

The epoch is a random number, new at each use of a segment: one that is used again still holds batches of its
earlier use, which must not be taken for its own, and nobody who writes a mail can put something into it that
looks like a batch. Numbers run on from batch to batch.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from relay_agent.queue.body import MemoryBody
from relay_agent.queue.model import Envelope, Message, Recipient, RecipientState

__all__ = [
    "BATCH_SIZE",
    "ENTRY_SIZE",
    "Batch",
    "DamagedEntryError",
    "Kind",
    "batch_header",
    "decode_done",
    "decode_gone",
    "decode_message",
    "encode_done",
    "encode_gone",
    "encode_message",
    "entry_payload",
    "is_fresh",
    "read_batches",
]

_MAGIC = b"PRJ1"
_BATCH = struct.Struct("<4sIQQII")
_ENTRY = struct.Struct("<III")
_META = struct.Struct("<I")
BATCH_SIZE = _BATCH.size  # bytes
ENTRY_SIZE = _ENTRY.size  # bytes
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Kind:
    """The kinds of entries."""

    MESSAGE = 1
    DONE = 2  # recipients that need nothing more
    GONE = 3  # messages that are kept elsewhere, or were never accepted


class DamagedEntryError(ValueError):
    """An entry does not hold what its kind should."""


@dataclass(slots=True)
class Batch:
    """A batch found in a segment.

    at: where it begins. end: where the next would begin. entries: kind, offset of the payload and payload of
    the entries that are as they were written. damaged: how many are not; a header counts as one.
    """

    at: int
    end: int
    number: int
    entries: list[tuple[int, int, bytes]] = field(default_factory=list)
    damaged: int = 0


def batch_header(epoch: int, number: int, count: int, length: int) -> bytes:
    """The header of a batch of `count` entries that are `length` bytes together."""
    head = _BATCH.pack(_MAGIC, count, epoch, number, length, 0)
    return head[:-4] + zlib.crc32(head[:-4]).to_bytes(4, "little")


def _entry(kind: int, payload: bytes) -> bytes:
    return _ENTRY.pack(kind, len(payload), zlib.crc32(payload, kind)) + payload


# ---- entries --------------------------------------------------------------------------------------------


def is_fresh(message: Message) -> bool:
    """Whether the message is as it came, so that `encode_message` keeps all there is to know of it."""
    return isinstance(message.body, MemoryBody) and all(
        each.state is RecipientState.WAITING and not each.attempts and each.last_attempt is None
        for each in message.recipients.values()
    )


def encode_message(message: Message) -> bytes:
    """An entry with a message that `is_fresh`. Raises UnicodeEncodeError for what is no text (lone surrogates), as
    the database does."""
    envelope = message.envelope
    meta = _encode(
        (
            message.queue_id,
            message.created,
            message.expires,
            envelope.reverse_path,
            envelope.account,
            dict(envelope.options) if envelope.options else 0,
            [
                (number, each.address, dict(each.options) if each.options else 0, each.next_attempt)
                for number, each in message.recipients.items()
            ],
        )
    ).encode()
    content = message.body.read()
    head = _META.pack(len(meta)) + meta
    crc = zlib.crc32(content, zlib.crc32(head, Kind.MESSAGE))
    return b"".join((_ENTRY.pack(Kind.MESSAGE, len(head) + len(content), crc), head, content))


def entry_payload(entry: bytes) -> bytes:
    """The payload of an entry that was read from its place. Raises DamagedEntryError when it is not as it was."""
    payload = entry[ENTRY_SIZE:]
    if len(entry) > ENTRY_SIZE:
        kind, length, crc = _ENTRY.unpack_from(entry)
        if length == len(payload) and zlib.crc32(payload, kind) == crc:
            return payload
    raise DamagedEntryError("not what was written")


def decode_message(payload: bytes) -> Message:
    """The message of an entry's payload. Raises DamagedEntryError."""
    try:
        (length,) = _META.unpack_from(payload)
        begin = _META.size + length
        queue_id, created, expires, reverse_path, account, options, recipients = json.loads(
            payload[_META.size : begin].decode()
        )
        return Message(
            queue_id=queue_id,
            envelope=Envelope(reverse_path, account, options or {}),
            recipients={
                number: Recipient(address, options or {}, next_attempt=due)
                for number, address, options, due in recipients
            },
            body=MemoryBody(payload[begin:]),
            created=created,
            expires=expires,
        )
    except (struct.error, ValueError, TypeError, RecursionError) as error:
        raise DamagedEntryError(str(error)) from error


def encode_done(done: Mapping[str, Iterable[int]]) -> bytes:
    """An entry that says which recipients, by number, of which messages need nothing more."""
    return _entry(Kind.DONE, _encode({queue_id: list(numbers) for queue_id, numbers in done.items()}).encode())


def decode_done(payload: bytes) -> dict[str, list[int]]:
    """What `encode_done` was given. Raises DamagedEntryError."""
    found = _decode(payload)
    if not isinstance(found, dict) or not all(
        isinstance(numbers, list) and all(type(number) is int for number in numbers) for numbers in found.values()
    ):
        raise DamagedEntryError("not recipients of messages")
    return cast("dict[str, list[int]]", found)


def encode_gone(queue_ids: Iterable[str]) -> bytes:
    """An entry that says which messages are the journal's no more."""
    return _entry(Kind.GONE, _encode(list(queue_ids)).encode())


def decode_gone(payload: bytes) -> list[str]:
    """What `encode_gone` was given. Raises DamagedEntryError."""
    found = _decode(payload)
    if not isinstance(found, list) or not all(isinstance(queue_id, str) for queue_id in found):
        raise DamagedEntryError("not a list of messages")
    return cast("list[str]", found)


def _decode(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise DamagedEntryError(str(error)) from error


# ---- reading a segment ----------------------------------------------------------------------------------


def read_batches(segment: bytes, epoch: int, last: int | None = None) -> Iterator[Batch]:
    """The batches of a segment, in order, until nothing follows that was written in this epoch.

    last: the number of the batch before them, when it is known. A batch with a damaged header is told from the
    leftovers of an earlier epoch by what is left of the header, or by what follows; its entries are read as far
    as they are in order.
    """
    at = 0
    while True:
        header = _header(segment, at, epoch)
        if header is None:
            following = _next_header(segment, at + 1, epoch)
            batch = _headless(segment, at, epoch, following, 1 if last is None else last + 1)
            if batch is not None:
                yield batch
            if following < 0:
                return
            at, header = following, _header(segment, following, epoch)
            assert header is not None
        count, number, length = header
        batch = Batch(at, at + BATCH_SIZE + length, number)
        _read_entries(segment, batch, count)
        yield batch
        at, last = batch.end, number


def _headless(segment: bytes, at: int, epoch: int, following: int, expected: int) -> Batch | None:
    """The batch that must have begun here; None when nothing of this epoch did."""
    if len(segment) - at < BATCH_SIZE:
        return None
    magic, _, found, number, _, _ = _BATCH.unpack_from(segment, at)
    if following < 0 and (magic == _MAGIC) + (found == epoch) + (number == expected) < 2:
        return None
    batch = Batch(at, following if following >= 0 else len(segment), expected)
    if following >= 0 or found == epoch:  # nobody who writes a mail knows the epoch
        _read_entries(segment, batch, None)
    batch.damaged = 1
    return batch


def _header(segment: bytes, at: int, epoch: int) -> tuple[int, int, int] | None:
    if len(segment) - at < BATCH_SIZE:
        return None
    magic, count, found, number, length, crc = _BATCH.unpack_from(segment, at)
    if magic != _MAGIC or found != epoch or zlib.crc32(segment[at : at + BATCH_SIZE - 4]) != crc:
        return None
    return count, number, length


def _next_header(segment: bytes, start: int, epoch: int) -> int:
    at = segment.find(_MAGIC, start)
    while at >= 0:
        if _header(segment, at, epoch) is not None:
            return at
        at = segment.find(_MAGIC, at + 1)
    return -1


def _read_entries(segment: bytes, batch: Batch, count: int | None) -> None:
    """Read so many entries; None: as many as are in order."""
    at = batch.at + BATCH_SIZE
    limit = min(batch.end, len(segment))
    left = count
    while left is None or left:
        kind, length, crc = _ENTRY.unpack_from(segment, at) if at + ENTRY_SIZE <= limit else (0, 0, 0)
        begin, end = at + ENTRY_SIZE, at + ENTRY_SIZE + length
        if end > limit:
            batch.damaged += left or 0
            return
        payload = segment[begin:end]
        if kind and length and zlib.crc32(payload, kind) == crc:
            batch.entries.append((kind, begin, payload))
        elif left is None:
            return
        else:
            batch.damaged += 1
        at = end
        left = None if left is None else left - 1
