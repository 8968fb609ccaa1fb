# SPDX-License-Identifier: GPL-3.0-or-later
"""The "relaxed" form of header fields and bodies (RFC 6376 3.4.2 and 3.4.4), the one form that we sign.

The body goes through block by block, with a few octets and a count kept between blocks: a message of any size costs
the memory of one block, and one that is made of blank lines or spaces alone no more time than any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["RelaxedBody", "relaxed_field"]

# Only runs that change: a single space between words, the usual case, is never touched.
_RUN = re.compile(rb"[ \t]{2,}|\t")
_LINE_ENDS_AT_ONCE = 16_384


def relaxed_field(raw: bytes) -> bytes:
    """A header field in its relaxed form, without the CRLF that ends it.

    raw: name, colon and value, with its line folds and with or without the last CRLF.
    """
    name, _, value = raw.partition(b":")
    value = value.replace(b"\r\n", b"")
    if b"  " in value or b"\t" in value:
        value = _RUN.sub(b" ", value)
    return name.rstrip(b" \t").lower() + b":" + value.strip(b" ")


class RelaxedBody:
    """Makes the relaxed form of a body out of its blocks, cut anywhere. sink: is given the form, piece by piece.

    Only CRLF ends a line. A CR or LF by itself, which binary content may have (RFC 3030), is content.
    """

    def __init__(self, sink: Callable[[bytes], object]) -> None:
        self._sink = sink
        self._carried = b""  # a space, a CR or both, which the next block may make part of a line end
        self._line_ends = 0  # those that count only if something follows
        self._empty = True

    def update(self, block: bytes) -> None:
        """Take the next block."""
        data = self._carried + block if self._carried else block
        if b"  " in data or b"\t" in data:
            data = _RUN.sub(b" ", data)
        keep = len(data) - data.endswith(b"\r")
        keep -= data.endswith(b" ", 0, keep)
        self._carried = data[keep:]
        data = data[:keep].replace(b" \r\n", b"\r\n")
        text = len(data) - _trailing_line_ends(data)
        if text:
            self._emit(data[:text])
        self._line_ends += (len(data) - text) // 2

    def finish(self) -> None:
        """The body is complete. A last line without CRLF gets one; an empty body stays empty."""
        rest = self._carried.rstrip(b" ")  # spaces at the end of the last line
        self._carried = b""
        if rest:
            self._emit(rest)
        if not self._empty:
            self._sink(b"\r\n")

    def _emit(self, data: bytes) -> None:
        while self._line_ends:
            count = min(self._line_ends, _LINE_ENDS_AT_ONCE)
            self._sink(b"\r\n" * count)
            self._line_ends -= count
        self._empty = False
        self._sink(data)


def _trailing_line_ends(data: bytes) -> int:
    """How many octets at the end are whole CRLFs, however CR and LF are mixed before them."""
    if not data.endswith(b"\r\n"):
        return 0
    end = len(data.rstrip(b"\r\n"))
    # Within the CRs and LFs at the end, pairs begin behind the last place where two of a kind meet.
    begin = max(end, data.rfind(b"\r\r", end) + 1)
    if (place := data.rfind(b"\n\n", end)) >= 0:
        begin = max(begin, place + 2)
    begin += data.startswith(b"\n", begin)
    return len(data) - begin
