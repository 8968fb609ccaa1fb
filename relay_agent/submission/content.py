# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of a message as it arrives after DATA: found its end, dots removed, line ends made whole.

No I/O: bytes go in as they come from the network, blocks of clean content come out at a sink. The end of
data is CRLF "." CRLF and nothing else (RFC 5321 4.1.1.4): every other spelling that some server somewhere
takes for an end (bare LF, bare CR) is content here, and cannot leave as anything else, because a bare LF is
made CRLF and a bare CR refuses the message. That is what keeps a second message from being smuggled.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["BLOCK", "STRAY_CR", "STRAY_NUL", "ContentReader", "HeaderSplitter"]

BLOCK = 65_536  # bytes gathered before they are passed on
STRAY_CR = "554 5.6.0 The message has a carriage return that is not part of a line end (RFC 5321 2.3.8)"
STRAY_NUL = "554 5.6.0 The message has a NUL byte in it; encode it as base64"


class ContentReader:
    """Reads one message's content out of a connection's input buffer.

    sink: called with each block of content, CRLF line ends, dots removed. limit: largest content in bytes.
    After the end: `size` tells the bytes taken, `fault` the SMTP reply when it must be refused (the sink got
    nothing more from the moment the fault was found), `bare_line_feeds` whether line ends were mended.
    """

    def __init__(self, sink: Callable[[bytes], None], limit: int) -> None:
        self._sink = sink
        self._limit = limit
        self._line_start = True
        self._scanned = 0
        self.size = 0
        self.fault: str | None = None
        self.bare_line_feeds = False

    def feed(self, buffer: bytearray) -> bool:
        """Take content from the front of `buffer`; True once its end was found and taken, too."""
        if self._line_start and buffer.startswith(b".\r\n"):
            del buffer[:3]
            return True
        end = buffer.find(b"\r\n.\r\n", self._scanned)
        if end >= 0:
            self._take(bytes(memoryview(buffer)[: end + 2]))
            del buffer[: end + 5]
            return True
        if len(buffer) < BLOCK:
            self._scanned = max(0, len(buffer) - 4)
            return False
        # Cut behind the last whole line, so that what stays may yet become the end; in the middle of an endless
        # line anywhere but between CR and LF.
        cut = buffer.rfind(b"\r\n") + 2
        if cut == 1:
            cut = len(buffer) - 4
            if buffer[cut - 1] == 0x0D:
                cut -= 1
        block = bytes(memoryview(buffer)[:cut])
        del buffer[:cut]
        self._take(block)
        self._scanned = 0
        return False

    def _take(self, block: bytes) -> None:
        starts_line, self._line_start = self._line_start, block.endswith(b"\r\n")
        self.size += len(block)
        if self.fault is not None:
            return
        if self.size > self._limit:
            self.fault = f"552 5.3.4 The message is larger than {self._limit} bytes"
            return
        if starts_line and block[:1] == b".":
            block = block[1:]
        if b"\r\n." in block:
            block = block.replace(b"\r\n.", b"\r\n")
        # Three counts are the cheapest test there is for a stray CR or LF.
        pairs = block.count(b"\r\n")
        if block.count(b"\r") != pairs:
            self.fault = STRAY_CR
            return
        if b"\0" in block:
            self.fault = STRAY_NUL
            return
        if block.count(b"\n") != pairs:
            self.bare_line_feeds = True
            block = block.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        self._sink(block)


class HeaderSplitter:
    """Holds a message's header back until it is whole, has it rewritten, and passes the rest straight on.

    rewrite: given the header's lines (each ended by CRLF) and whether a blank line followed them, returns the
    block that takes their place, blank line included. sink: gets everything in order. longest: bytes a
    header may have.
    """

    def __init__(self, rewrite: Callable[[bytes, bool], bytes], sink: Callable[[bytes], None], longest: int) -> None:
        self._rewrite = rewrite
        self._sink = sink
        self._longest = longest
        self._held: bytearray | None = bytearray()
        self.too_long = False

    def write(self, block: bytes) -> None:
        """Take the next block of content."""
        if self._held is None:
            self._sink(block)
            return
        if self.too_long:
            return
        held = self._held
        begin = max(0, len(held) - 3)
        held += block
        if held.startswith(b"\r\n"):
            self._release(b"", bytes(held[2:]), blank=True)
            return
        end = held.find(b"\r\n\r\n", begin)
        if end >= 0:
            self._release(bytes(held[: end + 2]), bytes(held[end + 4 :]), blank=True)
        elif len(held) > self._longest:
            self.too_long = True
            self._held = bytearray()

    def finish(self) -> None:
        """The content is complete: a message that is all header gets its rewritten form now."""
        if self._held is not None and not self.too_long:
            if self._held and not self._held.endswith(b"\r\n"):  # only BODY=BINARYMIME ends in the middle of a line
                self._held += b"\r\n"
            self._release(bytes(self._held), b"", blank=False)

    def _release(self, header: bytes, rest: bytes, *, blank: bool) -> None:
        self._held = None
        self._sink(self._rewrite(header, blank))
        if rest:
            self._sink(rest)
