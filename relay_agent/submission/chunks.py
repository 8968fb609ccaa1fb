# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of a message as it arrives by BDAT (RFC 3030): in chunks whose length was said before.

No I/O. The end of a chunk is known from its length alone, so nothing in the content can be taken for an end
of data, and dots stay as they are. Line ends follow the rules of DATA all the same, also where CR and LF
come in different chunks, because the next server may have to be given the message by DATA. The exception is
BODY=BINARYMIME: then every octet is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from relay_agent.submission.content import BLOCK, STRAY_CR, STRAY_NUL

__all__ = ["Chunk", "ChunkedContent", "parse_chunk_size"]

_ARGUMENT = re.compile(r"(?P<size>[0-9]{1,19})(?: +(?P<last>LAST))?", re.IGNORECASE | re.ASCII)


def parse_chunk_size(argument: str) -> tuple[int, bool] | None:
    """Octets of the chunk, and whether it is the last (RFC 3030 2); None when the argument cannot be read."""
    match = _ARGUMENT.fullmatch(argument)
    return None if match is None else (int(match["size"]), match["last"] is not None)


class ChunkedContent:
    """One message's content over all its chunks.

    sink: called with blocks of content. limit: largest content in octets. binary: keep every octet.
    `fault` is the SMTP reply when the message must be refused; from then on the sink gets nothing more.
    """

    def __init__(self, sink: Callable[[bytes], None], limit: int, *, binary: bool = False) -> None:
        self._sink = sink
        self._limit = limit
        self._binary = binary
        self._held = bytearray()
        self._ends_line = True
        self.size = 0
        self.fault: str | None = None
        self.bare_line_feeds = False

    def expect(self, size: int) -> None:
        """A chunk of so many octets comes next: one that is too large is refused before it is there."""
        if self.fault is None and self.size + size > self._limit:
            self.fault = f"552 5.3.4 The message is larger than {self._limit} bytes"
            self._held.clear()

    def write(self, part: bytes) -> None:
        """Take the next octets."""
        self.size += len(part)
        if self.fault is None:
            self._held += part
            if len(self._held) >= BLOCK:
                self._pass_on()

    def finish(self) -> None:
        """The last chunk is complete."""
        if self.fault is not None:
            return
        if not self._binary and self._held.endswith(b"\r"):
            self.fault = STRAY_CR
            return
        self._pass_on()
        if self.fault is None and not self._binary and not self._ends_line:
            self._sink(b"\r\n")

    def _pass_on(self) -> None:
        held = self._held
        if self._binary:
            self._sink(bytes(held))
            held.clear()
            return
        keep = 1 if held.endswith(b"\r") else 0  # its LF may be in the next chunk
        block = bytes(memoryview(held)[: len(held) - keep])
        del held[: len(block)]
        if not block:
            return
        pairs = block.count(b"\r\n")
        if block.count(b"\r") != pairs:
            self.fault = STRAY_CR
        elif b"\0" in block:
            self.fault = STRAY_NUL
        else:
            if block.count(b"\n") != pairs:
                self.bare_line_feeds = True
                block = block.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            self._ends_line = block.endswith(b"\n")
            self._sink(block)


class Chunk:
    """One chunk, read out of a connection's input buffer.

    content: where it goes; None when it is only to be read and dropped, which RFC 3030 2 asks for before a
    refusal is sent. `reply` is that refusal, if any.
    """

    def __init__(self, size: int, content: ChunkedContent | None, *, last: bool = False, reply: str = "") -> None:
        self.size = size
        self.last = last
        self.reply = reply
        self.content = content
        self._left = size
        if content is not None:
            content.expect(size)

    def feed(self, buffer: bytearray) -> bool:
        """Take octets from the front of `buffer`; True once the chunk is complete."""
        part = bytes(memoryview(buffer)[: self._left])
        if part:
            del buffer[: len(part)]
            self._left -= len(part)
            if self.content is not None:
                self.content.write(part)
        return self._left == 0
