# SPDX-License-Identifier: GPL-3.0-or-later
"""A message's content made ready for DATA (dots doubled, an end to the last line) or BDAT; read off the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator

from relay_agent.queue.model import Body

__all__ = [
    "END_OF_DATA",
    "header_block",
    "is_binary",
    "needs_utf8_header",
    "plain_blocks",
    "stuffed",
    "stuffed_blocks",
]

END_OF_DATA = b".\r\n"
_BLOCK = 65_536  # what is no larger is read on the loop; of the rest a block at a time is in memory for each connection
_LONGEST_LINE = 998  # octets without CRLF (RFC 5322 2.1.1)


def stuffed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks with dots at line starts doubled (RFC 5321 4.5.2) and the last line ended.

    A dot behind a bare LF is doubled, too. The queue holds none, but should one ever get there, no server that
    takes a bare LF for a line end can be made to see the end of the message in the middle of it.
    """
    last = 0x0A
    ending = b"\r\n"
    for block in blocks:
        if not block:
            continue
        out = block.replace(b"\n.", b"\n..")
        if last == 0x0A and block[0] == 0x2E:
            out = b"." + out
        last = block[-1]
        ending = (ending + block)[-2:] if len(block) < 2 else block[-2:]
        yield out
    if ending == b"\r\n":
        return
    yield b"\n" if ending.endswith(b"\r") else b"\r\n"


async def stuffed_blocks(body: Body) -> AsyncIterator[bytes]:
    """The content of `body`, stuffed, block by block; what is large is read in a thread.

    Raises OSError when the file behind it cannot be read.
    """
    if body.size <= _BLOCK:
        yield b"".join(stuffed(body.blocks(_BLOCK)))
        return
    source = stuffed(body.blocks(_BLOCK))
    while (block := await asyncio.to_thread(next, source, None)) is not None:
        yield block


async def plain_blocks(body: Body) -> AsyncIterator[bytes]:
    """The content of `body` as it is, block by block; what is large is read in a thread.

    Raises OSError when the file behind it cannot be read.
    """
    source = iter(body.blocks(_BLOCK))
    large = body.size > _BLOCK
    while block := await asyncio.to_thread(next, source, b"") if large else next(source, b""):
        yield block


async def is_binary(body: Body) -> bool:
    """Whether the content holds anything that DATA cannot carry: NUL, a CR or LF that is no line end, a line
    that is too long (RFC 3030 3, RFC 5322 2.3). Raises OSError when it cannot be read."""
    if body.size <= _BLOCK:
        return _is_binary(body.blocks(_BLOCK))
    return await asyncio.to_thread(_is_binary, body.blocks(_BLOCK))


def _is_binary(blocks: Iterable[bytes]) -> bool:
    rest = b""  # the line that the block ends in
    for read in blocks:
        block = rest + read
        lines = block.split(b"\r\n")
        rest = lines.pop()
        pairs = len(lines)
        whole = block[: len(block) - len(rest)]
        if b"\0" in block or whole.count(b"\r") != pairs or whole.count(b"\n") != pairs:
            return True
        if max(map(len, lines), default=0) > _LONGEST_LINE or len(rest) > _LONGEST_LINE + 1:
            return True
    return b"\r" in rest or b"\n" in rest or len(rest) > _LONGEST_LINE


async def header_block(body: Body, limit: int = _BLOCK) -> bytes:
    """The header of the message, with the CRLF of its last line, at most `limit` octets of it (whole lines)."""

    def first() -> bytes:
        return next(iter(body.blocks(limit)), b"")

    head = first() if body.size <= _BLOCK else await asyncio.to_thread(first)
    if head.startswith(b"\r\n"):
        return b""
    end = head.find(b"\r\n\r\n")
    return head[: end + 2] if end >= 0 else head[: head.rfind(b"\n") + 1]


async def needs_utf8_header(body: Body) -> bool:
    """Whether the header holds anything that only SMTPUTF8 lets through (RFC 6532)."""
    return not (await header_block(body)).isascii()
