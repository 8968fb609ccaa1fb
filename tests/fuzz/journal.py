# SPDX-License-Identifier: GPL-3.0-or-later
"""A damaged journal: what can be read is moved, what is left over is kept and told, and it never fails."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from functools import cache
from pathlib import Path
from unittest.mock import patch

from relay_agent.queue.body import MemoryBody
from relay_agent.queue.directory import StoreDirectory
from relay_agent.queue.journal_format import (
    BATCH_SIZE,
    ENTRY_SIZE,
    DamagedEntryError,
    batch_header,
    decode_done,
    decode_gone,
    decode_message,
    encode_done,
    encode_gone,
    encode_message,
    read_batches,
)
from relay_agent.queue.model import Envelope, Message, Recipient
from relay_agent.queue.repair import Repair
from relay_agent.queue.replay import replay
from relay_agent.queue.salvage import open_database
from relay_agent.queue.schema import connect

from .promises import in_words

__all__ = ["journal"]

_EPOCH = 0x0102030405060708
_SIZE = 4096


def _message(number: int) -> Message:
    recipients = {each: Recipient(f"r{each}@beta.test", {"NOTIFY": "NEVER"}) for each in range(2)}
    return Message(f"Q{number}", Envelope("a@alpha.test", "alice"), recipients, MemoryBody(b"x" * 50), 1.0, 2.0)


@cache
def _segments() -> tuple[bytes, bytes]:
    """Two segments: eight messages, of which Q0 was delivered, Q1 half, and Q2 moved."""
    entries = [
        [encode_message(_message(0)), encode_message(_message(1)), encode_message(_message(2))],
        [encode_done({"Q0": [0, 1], "Q1": [1]}), encode_message(_message(3))],
        [encode_gone(["Q2"]), encode_message(_message(4)), encode_message(_message(5))],
        [encode_message(_message(6)), encode_message(_message(7))],
    ]
    batches = [
        batch_header(_EPOCH, number, len(each), sum(map(len, each))) + b"".join(each)
        for number, each in enumerate(entries, 1)
    ]
    first, second = (b"".join(batches[at : at + 2]).ljust(_SIZE, b"\0") for at in (0, 2))
    return first, second


def _damaged(data: bytes) -> list[bytes]:
    """Two bytes of a place, one of a length, so many bytes there; again and again. A length from 128 on has the
    checksum of the entry at this place made good."""
    image = bytearray(b"".join(_segments()))
    at = 0
    while at + 3 <= len(data):
        place = int.from_bytes(data[at : at + 2], "big") % len(image)
        size = data[at + 2] % 128
        image[place : place + size] = data[at + 3 : at + 3 + size].ljust(size, b"\0")
        if data[at + 2] >= 128:
            kind, length = (int.from_bytes(image[place + each : place + each + 4], "little") for each in (0, 4))
            begin = place + ENTRY_SIZE
            crc = zlib.crc32(image[begin : begin + length], kind)
            image[place + 8 : place + 12] = crc.to_bytes(4, "little")
        at += 3 + size
    return [bytes(image[:_SIZE]), bytes(image[_SIZE : 2 * _SIZE])]


def journal(data: bytes) -> None:
    """Segments as they may be found, and the payloads of entries by themselves."""
    for decode in (decode_message, decode_done, decode_gone):
        try:
            decode(data)
        except DamagedEntryError:
            continue
    segments = _damaged(data)
    for segment in segments:
        end = 0
        for batch in read_batches(segment, _EPOCH, 0):
            assert batch.at >= end
            assert batch.at + BATCH_SIZE <= len(segment)
            end = batch.end
            assert sum(ENTRY_SIZE + len(payload) for _, _, payload in batch.entries) <= len(segment)
    if len(data) % 8 == 0:  # a database for each is slow
        _replayed(segments)


def _replayed(segments: list[bytes]) -> None:
    root = Path(tempfile.mkdtemp(prefix="postroad-fuzz-"))
    directory = StoreDirectory(root)
    try:
        open_database(directory)
        for serial, segment in enumerate(segments, 1):
            (directory.journal / f"{serial:012d}-{_EPOCH:016x}.log").write_bytes(segment)
        with patch("relay_agent.queue.replay.SEGMENT_SIZE", _SIZE):
            notices = replay(directory, Repair.of(directory))
        assert list(directory.journal.iterdir()) == []
        aside = [path.read_bytes() for path in directory.root.glob("journal.damaged-*/*")]
        assert len(aside) == len(notices)
        for notice in notices:
            in_words(notice)
        assert all(segment in segments for segment in aside)
        connection = connect(directory.database)
        try:
            saved = {queue_id for (queue_id,) in connection.execute("SELECT queue_id FROM messages")}
        finally:
            connection.close()
        if not aside and segments == list(_segments()):
            assert saved == {"Q1", "Q3", "Q4", "Q5", "Q6", "Q7"}
        assert replay(directory, Repair.of(directory)) == []
    finally:
        directory.close()
        shutil.rmtree(root)
