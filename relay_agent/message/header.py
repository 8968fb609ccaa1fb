# SPDX-License-Identifier: GPL-3.0-or-later
"""What the relay does to a message's header on submission (RFC 6409 8).

Bcc, Resent-Bcc and Return-Path are dropped, a Date and a Message-ID are added where missing, and a Received
line goes on top that tells when, by whom and under which queue id, but neither the client's address nor its
name: where its owner travels is nobody's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

__all__ = [
    "Field",
    "HeaderError",
    "HeaderResult",
    "Rule",
    "client_comment",
    "date_line",
    "received_line",
    "submission_header",
]

_MAX_RECEIVED = 100  # RFC 5321 6.3: a count of at least 100 means a loop
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_MESSAGE_ID = re.compile(rb"<[!-;=?-~]+>")
_HELLO_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}|\[[A-Za-z0-9.:]{2,60}\]")
_DROPPED = frozenset({b"bcc", b"resent-bcc", b"return-path"})


class HeaderError(ValueError):
    """The header cannot be taken; the text is the SMTP reply to give."""


@dataclass(slots=True, frozen=True)
class Field:
    """A field of a header. name: in lower case. raw: all its lines, each ended by CRLF."""

    name: bytes
    raw: bytes

    def value(self) -> bytes:
        """What follows the colon, unfolded (RFC 5322 2.2.3)."""
        return self.raw.partition(b":")[2].replace(b"\r\n", b"").strip(b" \t")


# Looks at a message's fields and returns those to go on with; raises HeaderError with the reply.
Rule = Callable[[list[Field]], list[Field]]


@dataclass(slots=True, frozen=True)
class HeaderResult:
    """What goes on.

    header: the fields, every line ended by CRLF, no blank line at the end. rest: lines that stood in the
    header but are no fields (a program that forgot the blank line): they belong to the body.
    message_id: with its angle brackets, "" where the field holds none.
    """

    header: bytes
    rest: bytes
    message_id: str


def date_line(now: float) -> str:
    """A date as RFC 5322 3.3 has it, in UTC; now: seconds since the epoch."""
    return _date_line(int(now))


@lru_cache(maxsize=4)
def _date_line(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def client_comment(name: str, address: str) -> str:
    """The client for a Received line: the name it gave and its address (RFC 5321 4.4)."""
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    # What the client says of itself must not look like another part of the line.
    return f"{name if _HELLO_NAME.fullmatch(name) else 'unknown'} ({literal})"


def received_line(*, hostname: str, protocol: str, queue_id: str, now: float, client: str = "") -> bytes:
    """A trace line (RFC 5321 4.4), without the client unless `client` (from `client_comment`) is given.

    protocol: ESMTPSA and its kin (RFC 3848, 6531).
    """
    begin = f"from {client}\r\n\tby" if client else "by"
    trace = f"Received: {begin} {hostname} (Postroad) with {protocol}\r\n\tid {queue_id}; {date_line(now)}\r\n"
    return trace.encode()


def submission_header(
    header: bytes, *, received: bytes, hostname: str, queue_id: str, now: float, rule: Rule | None = None
) -> HeaderResult:
    """The header to send on, made from the one a mail program sent.

    header: the lines before the blank one, each ended by CRLF. received: from `received_line`. now: seconds
    since the epoch, for a missing Date. rule: applied to the fields that stay. Raises HeaderError for a mail
    loop, and whatever the rule raises.
    """
    kept: list[bytes] = [received]
    names: list[bytes] = []
    begins: list[tuple[bytes, int]] = []  # where in `kept` each field's first line is
    dropping = False
    message_id = ""
    at = 0
    for line in header.splitlines(keepends=True):
        if line[:1] in (b" ", b"\t") and names:
            name = names[-1]
        else:
            match = _FIELD.match(line)
            if match is None:
                if line[:5] == b"From " and not names:  # the separator of an mbox file
                    at += len(line)
                    continue
                break
            name = match[1].lower()
            names.append(name)
            dropping = name in _DROPPED
            if not dropping:
                begins.append((name, len(kept)))
        at += len(line)
        if dropping:
            continue
        if name == b"message-id" and not message_id:
            found = _MESSAGE_ID.search(line)
            message_id = found[0].decode("ascii") if found else ""
        kept.append(line)
    if names.count(b"received") >= _MAX_RECEIVED:
        raise HeaderError("554 5.4.6 The message goes round in a loop (too many Received lines)")
    if rule is not None:
        ends = [*(begin for _, begin in begins), len(kept)][1:]
        fields = [Field(name, b"".join(kept[begin:end])) for (name, begin), end in zip(begins, ends, strict=True)]
        kept[1:] = [field.raw for field in rule(fields)]
    if b"date" not in names:
        kept.append(f"Date: {date_line(now)}\r\n".encode())
    if b"message-id" not in names:
        message_id = f"<{queue_id.lower()}@{hostname}>"
        kept.append(f"Message-ID: {message_id}\r\n".encode())
    return HeaderResult(b"".join(kept), header[at:], message_id)
