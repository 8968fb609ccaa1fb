# SPDX-License-Identifier: GPL-3.0-or-later
"""Dots, line ends and blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.delivery.content import (
    header_block,
    is_binary,
    needs_utf8_header,
    plain_blocks,
    stuffed,
    stuffed_blocks,
)
from relay_agent.queue.body import FileBody, MemoryBody


def _unstuffed(wire: bytes) -> bytes:
    """What a server makes of it (RFC 5321 4.5.2)."""
    assert wire.endswith(b"\r\n") or not wire
    return b"".join(line.removeprefix(b".") for line in wire.splitlines(keepends=True))


@given(
    st.lists(st.sampled_from([b".", b"..", b"\r\n", b"a", b"\r\n.", b".\r\n", b"\r\n.\r\n"]), max_size=30),
    st.integers(1, 5),
)
def test_any_split_survives(pieces: list[bytes], size: int) -> None:
    content = b"".join(pieces)
    blocks = [content[at : at + size] for at in range(0, len(content), size)]
    wire = b"".join(stuffed(blocks))
    assert b"\r\n.\r\n" not in b"\r\n" + wire
    whole = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
    if b"\r" not in content.replace(b"\r\n", b""):
        assert _unstuffed(wire) == whole


@pytest.mark.parametrize("content", [b"a\n.\nb", b"a\n.\r\nb", b".\nb\r\n"])
def test_a_bare_line_feed_ends_nothing(content: bytes) -> None:
    wire = b"".join(stuffed([content]))
    assert b"\n.\n" not in b"\n" + wire
    assert b"\n.\r\n" not in b"\n" + wire


async def test_large_content_comes_from_its_file(tmp_path: Path) -> None:
    content = b".line\r\n" * 100_000
    path = tmp_path / "body"
    path.write_bytes(content)
    wire = b"".join([block async for block in stuffed_blocks(FileBody(path, len(content)))])
    assert wire == content.replace(b".line", b"..line")


async def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        async for _ in stuffed_blocks(FileBody(tmp_path / "gone", 1_000_000)):
            pass


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (b"A: 1\r\nB: 2\r\n\r\nbody", b"A: 1\r\nB: 2\r\n"),
        (b"A: 1\r\n", b"A: 1\r\n"),
        (b"\r\nbody", b""),
        (b"", b""),
        (b"A: " + b"x" * 100_000, b""),
    ],
)
async def test_header_block(content: bytes, header: bytes) -> None:
    assert await header_block(MemoryBody(content)) == header


async def test_utf8_in_the_header() -> None:
    assert await needs_utf8_header(MemoryBody("Subject: gr\u00fc\u00dfe\r\n\r\n".encode()))
    assert not await needs_utf8_header(MemoryBody("Subject: hi\r\n\r\ngr\u00fc\u00dfe".encode()))


class Blocks:
    """Content in blocks of one's own choice."""

    def __init__(self, content: bytes, size: int) -> None:
        self._content, self._size = content, size
        self.size = len(content)

    def read(self) -> bytes:
        return self._content

    def blocks(self, size: int = 65536) -> list[bytes]:
        return [self._content[at : at + self._size] for at in range(0, self.size, self._size)]


@pytest.mark.parametrize(
    ("content", "binary"),
    [
        (b"", False),
        (b"a\r\nb\xff\r\n", False),
        (b"a\r\nno end", False),
        (b"x" * 998 + b"\r\n" + b"x" * 998, False),
        (b"x" * 999 + b"\r\n", True),
        (b"x" * 999, True),
        (b"a\0", True),
        (b"a\n", True),
        (b"a\r\n\rb", True),
        (b"a\r", True),
        (b"\r\r\n", True),
    ],
)
async def test_what_data_cannot_carry(content: bytes, binary: bool) -> None:
    for size in (1, 2, 3, 1000, 5000):
        assert await is_binary(Blocks(content, size)) is binary


async def test_plain_blocks_change_nothing(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    path = tmp_path / "body"
    path.write_bytes(content)
    assert b"".join([block async for block in plain_blocks(FileBody(path, len(content)))]) == content
    assert b"".join([block async for block in plain_blocks(MemoryBody(b".\r"))]) == b".\r"
