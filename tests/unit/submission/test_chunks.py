# SPDX-License-Identifier: GPL-3.0-or-later
"""Content in chunks: what comes out is the same however it was cut."""

from __future__ import annotations

import pytest

from relay_agent.submission.chunks import Chunk, ChunkedContent, parse_chunk_size

LIMIT = 1_000_000


def taken(pieces: list[bytes], *, binary: bool = False, limit: int = LIMIT) -> tuple[bytes, str | None]:
    out: list[bytes] = []
    content = ChunkedContent(out.append, limit, binary=binary)
    for piece in pieces:
        buffer = bytearray(piece + b"NOOP\r\n")
        assert Chunk(len(piece), content).feed(buffer)
        assert buffer == b"NOOP\r\n"
    content.finish()
    return b"".join(out), content.fault


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", (0, False)), ("12 LAST", (12, True)), ("12  last", (12, True)), ("9" * 19, (int("9" * 19), False))],
)
def test_sizes(text: str, size: tuple[int, bool]) -> None:
    assert parse_chunk_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "+1", "1 FIRST", "1LAST", "ten", "\u0661", "9" * 20, "1 LAST x", "1.0"])
def test_no_sizes(text: str) -> None:
    assert parse_chunk_size(text) is None


def test_cut_anywhere_it_is_the_same() -> None:
    text = b"X: y\r\n\r\n.\r\n\n.\n..\r\nend"
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            content, fault = taken([text[:first], text[first:second], text[second:]])
            assert fault is None
            assert content == b"X: y\r\n\r\n.\r\n\r\n.\r\n..\r\nend\r\n"


@pytest.mark.parametrize("text", [b"a\rb", b"a\r", b"\r\r\n", b"a\0b", b"\r\n\r"])
def test_stray_octets_are_refused_however_cut(text: bytes) -> None:
    for cut in range(len(text) + 1):
        assert (taken([text[:cut], text[cut:]])[1] or "").startswith("554 5.6.0 ")
        assert taken([text[:cut], text[cut:]], binary=True) == (text, None)


def test_large_content_comes_in_blocks() -> None:
    text = b"".join(b"%06d\r\n" % number for number in range(100_000))
    pieces = [text[start : start + 4099] for start in range(0, len(text), 4099)]
    assert taken(pieces) == (text, None)
    assert taken(pieces, binary=True) == (text, None)


def test_a_chunk_beyond_the_limit_is_refused_before_it_comes() -> None:
    out: list[bytes] = []
    content = ChunkedContent(out.append, 10)
    assert Chunk(10, content).feed(bytearray(b"x" * 10))
    assert content.fault is None
    chunk = Chunk(10**18, content)
    assert (content.fault or "").startswith("552 5.3.4 ")
    buffer = bytearray(b"y" * 100_000)
    assert not chunk.feed(buffer)
    assert not buffer
    assert not out


def test_a_chunk_in_pieces() -> None:
    out: list[bytes] = []
    content = ChunkedContent(out.append, LIMIT)
    chunk, buffer = Chunk(4, content), bytearray()
    for octet in b"a\r\n":
        buffer.append(octet)
        assert not chunk.feed(buffer)
    buffer += b"bQUIT\r\n"
    assert chunk.feed(buffer)
    content.finish()
    assert (b"".join(out), bytes(buffer)) == (b"a\r\nb\r\n", b"QUIT\r\n")
