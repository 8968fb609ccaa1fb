# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in a segment: read back as it was, or known to be damaged."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from relay_agent.queue.body import MemoryBody
from relay_agent.queue.journal_format import (
    BATCH_SIZE,
    ENTRY_SIZE,
    Batch,
    DamagedEntryError,
    Kind,
    batch_header,
    decode_done,
    decode_gone,
    decode_message,
    encode_done,
    encode_gone,
    encode_message,
    entry_payload,
    is_fresh,
    read_batches,
)
from relay_agent.queue.model import Envelope, Message, Recipient, RecipientState
from tests.unit.queue.messages import message, recipient, whole

EPOCH = 0x1122334455667788


def batch(number: int, *entries: bytes, epoch: int = EPOCH) -> bytes:
    """A batch as it is written."""
    return batch_header(epoch, number, len(entries), sum(map(len, entries))) + b"".join(entries)


def ids(found: list[Batch]) -> list[str]:
    """The messages of batches, in order."""
    return [decode_message(payload).queue_id for each in found for kind, _, payload in each.entries if kind == 1]


def raw(kind: int, payload: bytes) -> bytes:
    """An entry with that payload."""
    return struct.pack("<III", kind, len(payload), zlib.crc32(payload, kind)) + payload


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 400, b"PRJ1" * 50])
def test_a_message_comes_back_whole(content: bytes) -> None:
    kept = message(Recipient("bøb@beta.test", {"NOTIFY": "NEVER"}, next_attempt=5.0), recipient("c@x"), content=content)
    assert whole(decode_message(entry_payload(encode_message(kept)))) == whole(kept)
    null = replace(message(), envelope=Envelope(""), recipients={7: recipient('"a\\"\n b"@x', 1.25)})
    assert whole(decode_message(encode_message(null)[ENTRY_SIZE:])) == whole(null)


def test_only_what_is_as_it_came_is_fresh() -> None:
    assert is_fresh(message())
    assert not is_fresh(message(recipient(), Recipient("x@y", state=RecipientState.HELD)))
    assert not is_fresh(message(Recipient("x@y", attempts=1)))
    assert not is_fresh(message(Recipient("x@y", last_attempt=0.0)))


def test_what_is_no_text_is_refused() -> None:
    """The database would never take it."""
    with pytest.raises(UnicodeEncodeError):
        encode_message(message(recipient("\ud800@x")))


def test_outcomes_come_back() -> None:
    done = {"A": [0, 3], "B": [1]}
    assert decode_done(encode_done(done)[ENTRY_SIZE:]) == done
    assert decode_gone(encode_gone(["A", "B"])[ENTRY_SIZE:]) == ["A", "B"]


@pytest.mark.parametrize("decode", [decode_message, decode_done, decode_gone])
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"null",
        b"1",
        b'{"A": 1}',
        b'{"A": ["x"]}',
        b"[1]",
        b"[[]]",
        b"[" * 100_000,
        b"\x04\0\0\0null",
        b"\x02\0\0\0[]",
        b"\xff\xff\xff\xff[]",
    ],
)
def test_what_its_kind_does_not_hold_is_damaged(decode: Callable[[bytes], object], payload: bytes) -> None:
    with pytest.raises(DamagedEntryError):
        decode(payload)


def test_an_entry_at_its_place_is_checked() -> None:
    entry = encode_message(message())
    for damaged in (entry[:-1], entry + b"x", entry[:5], b"", entry[:-1] + bytes([entry[-1] ^ 1])):
        with pytest.raises(DamagedEntryError):
            entry_payload(damaged)


def segment_of(messages: list[Message]) -> tuple[bytes, list[int]]:
    """Two messages a batch, and an outcome in each; where the batches begin."""
    content = b""
    begins = []
    for number, at in enumerate(range(0, len(messages), 2)):
        begins.append(len(content))
        entries = [encode_done({"Z": [1]}), *map(encode_message, messages[at : at + 2])]
        content += batch(number + 5, *entries)
    return content, begins


def test_batches_are_read_in_order_and_the_rest_is_left() -> None:
    kept = [message() for _ in range(6)]
    content, begins = segment_of(kept)
    stale = batch(9, encode_message(message()), epoch=1)
    for rest in (b"", bytes(1000), stale, stale[7:], b"PRJ1" * 9):
        found = list(read_batches(content + rest, EPOCH, 4))
        assert ids(found) == [each.queue_id for each in kept]
        assert [(each.at, each.number, each.damaged) for each in found] == [
            (at, number + 5, 0) for number, at in enumerate(begins)
        ]
    assert list(read_batches(content, EPOCH + 1)) == []
    assert list(read_batches(bytes(100), EPOCH)) == []
    kind, at, payload = found[1].entries[1]
    assert (kind, content[at : at + len(payload)]) == (Kind.MESSAGE, payload)


def test_every_flipped_byte_is_noticed_and_costs_one_batch_at_most() -> None:
    kept = [message(content=b"x" * 20) for _ in range(6)]
    content, begins = segment_of(kept)
    chance = random.Random(1)
    for at in range(len(content)):
        damaged = bytearray(content + bytes(500))
        damaged[at] ^= chance.randrange(1, 256)
        found = list(read_batches(bytes(damaged), EPOCH, 4))
        assert sum(each.damaged for each in found) >= 1, at
        hit = max(number for number, begin in enumerate(begins) if begin <= at)
        expected = [each.queue_id for number, each in enumerate(kept) if number // 2 != hit]
        saved = ids(found)
        assert [each for each in saved if each in expected] == expected
        offset = at - begins[hit]
        if offset < BATCH_SIZE and hit < len(begins) - 1:
            assert len(saved) == len(kept)  # only its header is lost
        messages = {each.queue_id: whole(each) for each in kept}
        for each in found:
            for kind, _, payload in each.entries:
                if kind == Kind.MESSAGE:
                    back = decode_message(payload)
                    assert whole(back) == messages[back.queue_id]


def test_any_prefix_is_what_it_is() -> None:
    kept = [message(content=b"x" * 20) for _ in range(4)]
    content, begins = segment_of(kept)
    for length in range(len(content)):
        found = list(read_batches(content[:length].ljust(len(content), b"\0"), EPOCH, 4))
        saved = ids(found)
        assert saved == [each.queue_id for each in kept][: len(saved)]
        assert len(saved) >= 2 * sum(begin <= length for begin in begins[1:])
        for each in found:
            assert (
                each.damaged or each.end <= length or not each.entries or content[length : each.end].strip(b"\0") == b""
            )


def test_a_blotted_header_is_the_end() -> None:
    content, begins = segment_of([message() for _ in range(4)])
    voided = content[: begins[1]] + bytes(BATCH_SIZE) + content[begins[1] + BATCH_SIZE :]
    assert [each.damaged for each in read_batches(voided + bytes(99), EPOCH, 4)] == [0]


def test_content_cannot_pass_for_a_batch() -> None:
    """Whoever writes a mail knows the format, not the epoch."""
    for number in (1, 2, 3):
        inner = batch(number, encode_gone(["X"]), epoch=0)
        content = batch(1, encode_message(message(content=inner * 3)))
        found = list(read_batches(content + inner, EPOCH))
        assert [kind for each in found for kind, _, _ in each.entries] == [Kind.MESSAGE]
        assert sum(each.damaged for each in found) == (number == 2)  # one might think that it was lost


def test_a_count_of_entries_that_are_not_there() -> None:
    entry = raw(Kind.DONE, b"{}")
    head = batch_header(EPOCH, 1, 1000, len(entry))
    (found,) = read_batches(head + entry, EPOCH)
    assert (len(found.entries), found.damaged) == (1, 999)
    assert isinstance(message().body, MemoryBody)
