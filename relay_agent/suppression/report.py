# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a complaint: a message in the Abuse Reporting Format (ARF, RFC 5965).

It comes from strangers, and looks like what they like. Everything is bounded before the email package sees it.
"""

from __future__ import annotations

import email.parser
import email.utils
import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message as Parsed
from typing import Final

from relay_agent.delivery.reply import printable
from relay_agent.suppression.entry import fold

__all__ = ["COMPLAINTS", "LARGEST", "Report", "ReportError", "read_report"]

LARGEST: Final = 524_288  # bytes that are looked at: the parts that matter come first
_MOST_NESTED = 20  # parts that contain parts; the email package calls itself for each
_MOST_RECIPIENTS = 100
_MOST_RECEIVED = 50
_NESTING = re.compile(rb"content-type:\s*(?:multipart|message)/", re.IGNORECASE)
_QUEUE_ID = re.compile(r"\bid ([0-9A-HJKMNP-TV-Z]{15})\b")
_BY = re.compile(r"\bby (\S{1,253})")

#: What a recipient means by it (RFC 5965 7.3, RFC 6449): a virus found or a failed signature is no wish of theirs.
COMPLAINTS: Final = frozenset({"abuse", "fraud", "opt-out", "opt-out-list"})


class ReportError(Exception):
    """It is no report that can be used; str() says why."""


@dataclass(frozen=True, slots=True)
class Report:
    """kind: the Feedback-Type, lower-case. recipients: who complained, in the form of `fold`; empty where the reporter
    keeps that to himself. sender: the reverse path of the mail complained about, "" where nobody says.

    relays: the hosts that its trace names, lower-case, each with our queue id or "". reporter: the program that made
    it.
    """

    kind: str
    recipients: tuple[str, ...]
    sender: str
    relays: tuple[tuple[str, str], ...]
    message_id: str
    reporter: str

    @property
    def is_complaint(self) -> bool:
        """Whether the recipient wants no more."""
        return self.kind in COMPLAINTS


def read_report(content: bytes) -> Report:
    """The report that a message is. Blocking: tens of milliseconds for a large one. Raises ReportError."""
    content = content[:LARGEST]
    if len(_NESTING.findall(content)) > _MOST_NESTED:
        raise ReportError(f"more than {_MOST_NESTED} parts within parts")
    try:
        return _read(email.parser.BytesParser().parsebytes(content))
    except ReportError:
        raise
    except Exception as error:  # the email package has raised a dozen kinds over the years for what nobody expects
        raise ReportError(f"cannot be read: {type(error).__name__}") from None


def _read(message: Parsed) -> Report:
    if message.get_content_type() != "multipart/report":
        raise ReportError("is not a report (expected Content-Type multipart/report)")
    of = message.get_param("report-type")
    if not isinstance(of, str) or of.lower() != "feedback-report":
        raise ReportError("is a report of another kind (expected report-type=feedback-report)")
    parts = message.get_payload()
    if not isinstance(parts, list):
        raise ReportError("has no parts")
    fields = _fields(parts)
    kind = _one(fields, "Feedback-Type").lower()
    if not kind or not _one(fields, "Version") or not _one(fields, "User-Agent"):
        raise ReportError("lacks Feedback-Type, User-Agent or Version (RFC 5965 3.1)")
    returned = _returned(parts)
    named = [_address(value) for value in fields.get_all("Original-Rcpt-To", ())[:_MOST_RECIPIENTS]]
    recipients = tuple(dict.fromkeys(each for each in named if each)) or _addressee(returned)
    sender = _address(_one(fields, "Original-Mail-From")) or _address(_one(returned, "Return-Path"))
    received = returned.get_all("Received", ())[:_MOST_RECEIVED] if returned is not None else ()
    return Report(
        kind=printable(kind, 40),
        recipients=recipients,
        sender=sender or _author(returned),
        relays=tuple(filter(None, (_relay(str(value)) for value in received))),
        message_id=printable(_one(returned, "Message-ID"), 250),
        reporter=printable(_one(fields, "User-Agent"), 80),
    )


def _fields(parts: Sequence[object]) -> Parsed:
    """The second part: its fields are a header of their own (RFC 5965 2)."""
    for part in parts:
        if isinstance(part, Parsed) and part.get_content_type() == "message/feedback-report":
            inner = part.get_payload()
            if isinstance(inner, list) and inner and isinstance(inner[0], Parsed):
                return inner[0]
            if isinstance(inner, str):
                return email.parser.HeaderParser().parsestr(inner)
    raise ReportError("has no part message/feedback-report")


def _returned(parts: Sequence[object]) -> Parsed | None:
    """The message complained about, or its header alone."""
    for part in parts:
        if not isinstance(part, Parsed):
            continue
        kind, inner = part.get_content_type(), part.get_payload()
        if kind == "message/rfc822" and isinstance(inner, list) and inner and isinstance(inner[0], Parsed):
            return inner[0]
        if kind == "text/rfc822-headers":
            decoded = part.get_payload(decode=True)
            if isinstance(decoded, bytes):
                return email.parser.BytesHeaderParser().parsebytes(decoded)
    return None


def _one(fields: Parsed | None, name: str) -> str:
    value = fields[name] if fields is not None else None
    return " ".join(str(value).split()) if value is not None else ""


def _address(value: object) -> str:
    """An address with or without angle brackets, folded; "" for none."""
    text = str(value).strip().removeprefix("rfc822;").strip()
    return fold(text.removeprefix("<").removesuffix(">")) if len(text) <= 600 and not set(" \r\n\t") & set(text) else ""


def _addressee(returned: Parsed | None) -> tuple[str, ...]:
    """The one whom the message was to; of several, nobody knows who complained."""
    if returned is None or returned["Cc"] is not None:
        return ()
    found = [fold(address) for _, address in _mailboxes(returned.get_all("To", ()))]
    return tuple(found) if len(found) == 1 and found[0] else ()


def _author(returned: Parsed | None) -> str:
    found = _mailboxes(returned.get_all("From", ())) if returned is not None else []
    return fold(found[0][1]) if len(found) == 1 else ""


def _mailboxes(values: Sequence[object]) -> list[tuple[str, str]]:
    texts = [str(value)[:2000] for value in values[:5]]
    return email.utils.getaddresses(texts) if texts else []


def _relay(received: str) -> tuple[str, str] | None:
    line = " ".join(received[:2000].split())
    by, queue_id = _BY.search(line), _QUEUE_ID.search(line)
    return (by[1].rstrip(".;").lower(), queue_id[1] if queue_id else "") if by else None
