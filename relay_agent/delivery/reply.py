# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading an SMTP server's replies (RFC 5321 4.2), from whoever may sit at the other end."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Reply", "ReplyError", "ReplyReader", "printable"]

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?: +|$)", re.ASCII)
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)


def printable(text: str, limit: int = 1000) -> str:
    """One line of text for logs, the queue and bounces: controls become spaces, no longer than `limit`."""
    shown = " ".join("".join(char if char.isprintable() else " " for char in text[: 2 * limit]).split())
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


class ReplyError(Exception):
    """What came is not an SMTP reply; the text says how."""


@dataclass(slots=True, frozen=True)
class Reply:
    """One reply: its code and the text of its lines, without the codes."""

    code: int
    lines: tuple[str, ...]

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code (RFC 2034) at the head of the text, if it fits the reply's class."""
        match = _ENHANCED.match(self.lines[0])
        if match is None or int(match[1]) != self.code // 100:
            return None
        return f"{match[1]}.{int(match[2])}.{int(match[3])}"

    @property
    def text(self) -> str:
        """Code and text on one line, as people quote it: ``550 5.1.1 No such user``.

        An enhanced status code that every line repeats is given once.
        """
        enhanced = self.enhanced
        parts = [self.lines[0]]
        for line in self.lines[1:]:
            match = _ENHANCED.match(line) if enhanced else None
            parts.append(line[match.end() :] if match else line)
        return printable(f"{self.code} {' '.join(parts)}")


class ReplyReader:
    """Cuts a stream of bytes into replies; no I/O.

    The limits bound what a hostile server can make us keep: octets in a line (RFC 5321 4.5.3.1.5 allows 512;
    servers exceed it), lines and octets in a reply.
    """

    __slots__ = ("_buffer", "_code", "_lines", "_octets")

    MAX_LINE = 4096
    MAX_LINES = 200
    MAX_OCTETS = 32_768

    def __init__(self) -> None:
        self._buffer = b""
        self._code = 0
        self._lines: list[str] = []
        self._octets = 0

    @property
    def idle(self) -> bool:
        """Whether no reply has begun."""
        return not self._buffer and not self._lines

    def reset(self) -> None:
        """Forget what has been read (STARTTLS: RFC 3207 4.2)."""
        self._buffer, self._code, self._lines, self._octets = b"", 0, [], 0

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completed. Raises ReplyError when it cannot be a reply."""
        replies: list[Reply] = []
        lines = (self._buffer + data if self._buffer else data).split(b"\n")
        self._buffer = lines.pop()
        for line in lines:
            reply = self._line(line[:-1] if line.endswith(b"\r") else line)
            if reply is not None:
                replies.append(reply)
        if len(self._buffer) > self.MAX_LINE:
            raise ReplyError("sent a reply line without end")
        return replies

    def _line(self, line: bytes) -> Reply | None:
        if len(line) > self.MAX_LINE:
            raise ReplyError("sent a reply line without end")
        match = _LINE.fullmatch(line)
        if match is None:
            raise ReplyError(f"does not speak SMTP: {printable(line.decode('utf-8', 'replace'), 80)}")
        code = int(match[1])
        if self._lines and code != self._code:
            raise ReplyError(f"mixed codes {self._code} and {code} in one reply")
        self._code = code
        self._octets += len(line)
        self._lines.append((match[3] or b"").decode("utf-8", "replace"))
        if match[2] != b"-":
            reply = Reply(code, tuple(self._lines))
            self._lines, self._octets = [], 0
            return reply
        if len(self._lines) >= self.MAX_LINES or self._octets > self.MAX_OCTETS:
            raise ReplyError("sent a reply without end")
        return None
