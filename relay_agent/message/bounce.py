# SPDX-License-Identifier: GPL-3.0-or-later
"""The bounce: a delivery status notification (RFC 3464) that a person can read and a program can parse.

Everything in it is ASCII, whatever the message, its addresses or the other side's replies hold, so that every
server can carry it (but for a whole message that is given back); nothing from outside can begin a line or a
header of its own.
"""

from __future__ import annotations

import quopri
import re
import secrets
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email import policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser
from email.utils import formatdate
from typing import Literal

from relay_agent.message.advice import advice
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.model import Envelope, Message, Recipient, new_queue_id

__all__ = ["ReportedRecipient", "make_bounce", "make_relay_notice"]

_MAX_HEADER = 32_768  # octets of the original's header that are given back
_MAX_VALUE = 900  # characters of a value with what each letter beyond ASCII becomes; a line has 998 (RFC 5322 2.1.1)
_MAX_REPLY = 500  # characters of the other side's words in a header field
_XTEXT = re.compile(r"\+([0-9A-F]{2})", re.ASCII)


@dataclass(slots=True, frozen=True)
class ReportedRecipient:
    """A recipient that the message will not reach, has not reached yet, or was handed on for.

    host: who said `text`; "" for ourselves.
    """

    recipient: Recipient
    status: str
    text: str
    host: str
    action: Literal["failed", "relayed", "delayed"] = "failed"  # RFC 3464 2.3.3

    @property
    def wants_bounce(self) -> bool:
        """Whether its NOTIFY parameter, if any, asks to be told of failures (RFC 3461 4.1)."""
        notify = self.recipient.options.get("NOTIFY")
        return notify is None or "FAILURE" in notify.upper().split(",")

    @property
    def wants_delay_notice(self) -> bool:
        """Whether it may be told that the message waits: without NOTIFY that is up to us (RFC 3461 4.1)."""
        notify = self.recipient.options.get("NOTIFY")
        return notify is None or "DELAY" in notify.upper().split(",")


def make_bounce(
    message: Message,
    failed: Sequence[ReportedRecipient],
    *,
    header: bytes,
    hostname: str,
    lifetime: float,
    content: bytes | None = None,
) -> Message:
    """The bounce of `message` for these recipients, ready for the queue.

    header: the message's header, CRLF line ends. hostname: our own. lifetime: seconds until it expires.
    content: the whole message, to be given back instead of its header (RET=FULL, RFC 3461 4.3).
    """
    subject = "Mail could not be delivered"
    if len(failed) == 1:
        subject = f"Could not be delivered to {_ascii(failed[0].recipient.address, 200)}"
    words = _for_people(message, failed, header, hostname)
    returned = _text_part("text/rfc822-headers", "Header of the undelivered message", _bounded(header))
    if content is not None:
        returned = _message_part("Undelivered message", content)
    return _report(message, failed, subject, words, returned, header=header, hostname=hostname, lifetime=lifetime)


def make_relay_notice(
    message: Message, relayed: Sequence[ReportedRecipient], *, header: bytes, hostname: str, lifetime: float
) -> Message:
    """The notice that `message` was handed to servers that tell no more of it (RFC 3461 5.2.2, RFC 3464 2.3.3):
    its sender asked for news of success. Arguments as for `make_bounce`."""
    words = _handed_on(message, relayed, header, hostname)
    returned = _text_part("text/rfc822-headers", "Header of the message", _bounded(header))
    subject = "Mail was handed on"
    return _report(message, relayed, subject, words, returned, header=header, hostname=hostname, lifetime=lifetime)


def make_delay_notice(
    message: Message, delayed: Sequence[ReportedRecipient], *, header: bytes, hostname: str, lifetime: float
) -> Message:
    """The notice that `message` waits longer than usual, and goes on being tried (RFC 3464 2.3.3). Arguments as for
    `make_bounce`."""
    words = _delayed(message, delayed, header, hostname)
    returned = _text_part("text/rfc822-headers", "Header of the message", _bounded(header))
    subject = "Mail is delayed"
    if len(delayed) == 1:
        subject = f"Delayed: mail to {_ascii(delayed[0].recipient.address, 200)}"
    return _report(message, delayed, subject, words, returned, header=header, hostname=hostname, lifetime=lifetime)


def _report(
    message: Message,
    recipients: Sequence[ReportedRecipient],
    subject: str,
    words: str,
    returned: bytes,
    *,
    header: bytes,
    hostname: str,
    lifetime: float,
) -> Message:
    now = time.time()
    queue_id = new_queue_id(now)
    boundary = f"=_{queue_id}.{secrets.token_hex(8)}"
    top = [
        f"From: Mail Delivery System <MAILER-DAEMON@{hostname}>",
        f"To: {_to(message.envelope.reverse_path)}",
        f"Subject: {subject}",
        f"Date: {formatdate(now)}",
        f"Message-ID: <{queue_id.lower()}@{hostname}>",
        "Auto-Submitted: auto-replied",
        *_references(header),
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{boundary}"',
        "",
        "This is a delivery status notification in MIME format (RFC 3464).",
        "",
    ]
    parts = [
        _text_part("text/plain", "Notification", words.encode()),
        _plain_part("message/delivery-status", "Delivery report", _for_programs(message, recipients, hostname)),
        returned,
    ]
    separator = f"--{boundary}\r\n".encode()
    content = b"\r\n".join(line.encode("ascii") for line in top)
    content += b"".join(b"\r\n" + separator + part for part in parts) + f"\r\n--{boundary}--\r\n".encode()
    options = {} if content.isascii() else {"BODY": "8BITMIME"}
    if "REQUIRETLS" in message.envelope.options:
        options["REQUIRETLS"] = ""  # RFC 8689 5: news of the message is as secret as the message
    return Message(
        queue_id=queue_id,
        envelope=Envelope("", options=options),
        recipients={0: Recipient(message.envelope.reverse_path)},
        body=MemoryBody(content),
        created=now,
        expires=now + lifetime,
    )


def _to(address: str) -> str:
    """The address for a To: field; one that ASCII cannot hold is described instead (RFC 6857 3.1)."""
    if address.isascii() and _ascii(address, 254) == address:
        return f"<{address}>"
    return "undisclosed-recipients:;"


def _references(header: bytes) -> list[str]:
    """In-Reply-To and References, so that mail programs show the bounce beside the message."""
    match = re.search(rb"(?im)^Message-ID[ \t]*:\s*(<[!-;=?-~]{1,400}>)", header)
    if match is None:
        return []
    original = match[1].decode("ascii")
    return [f"In-Reply-To: {original}", f"References: {original}"]


def _for_people(message: Message, failed: Sequence[ReportedRecipient], header: bytes, hostname: str) -> str:
    written = formatdate(message.created, localtime=False)
    subject = _subject(header)
    about = f' with the subject "{subject}"' if subject else ""
    whom = "the recipient below" if len(failed) == 1 else f"the {len(failed)} recipients below"
    paragraphs = [
        _wrapped(
            f"This is the mail relay {hostname}. Your message of {written}{about} could not be delivered to {whom}."
        ),
    ]
    for each in failed:
        words = f"{each.host} answered: {each.text}" if each.host else f"Reason: {each.text}"
        lines = [_one_line(each.recipient.address, 400), _wrapped(_one_line(words), "    ")]
        hint = advice(each.status, each.recipient.domain)
        if hint:
            lines.append(_wrapped(_one_line(hint), "    "))
        paragraphs.append("\r\n".join(lines))
    paragraphs.append(
        _wrapped(
            "The relay will not try again. If you need help, hand this whole message to whoever runs it; its "
            f"number there is {message.queue_id}."
        )
    )
    return "\r\n\r\n".join(paragraphs) + "\r\n"


def _handed_on(message: Message, relayed: Sequence[ReportedRecipient], header: bytes, hostname: str) -> str:
    written = formatdate(message.created, localtime=False)
    subject = _subject(header)
    about = f' with the subject "{subject}"' if subject else ""
    paragraphs = [
        _wrapped(f"This is the mail relay {hostname}. Your message of {written}{about} was handed on for:"),
        "\r\n".join(f"{_one_line(each.recipient.address, 400)} (to {_one_line(each.host)})" for each in relayed),
        _wrapped(
            "The mail system there tells nothing about what becomes of it from here on, so no notice of its arrival "
            f"will come. Its number here was {message.queue_id}."
        ),
    ]
    return "\r\n\r\n".join(paragraphs) + "\r\n"


def _delayed(message: Message, delayed: Sequence[ReportedRecipient], header: bytes, hostname: str) -> str:
    written = formatdate(message.created, localtime=False)
    subject = _subject(header)
    about = f' with the subject "{subject}"' if subject else ""
    whom = "the recipient below" if len(delayed) == 1 else f"the {len(delayed)} recipients below"
    paragraphs = [
        _wrapped(
            f"This is the mail relay {hostname}. Your message of {written}{about} has not reached {whom} yet. You need "
            f"not do anything: the relay goes on trying until {formatdate(message.expires)}. Should that be in vain, "
            "another message will tell you."
        ),
    ]
    for each in delayed:
        words = f"{each.host} answered: {each.text}" if each.host else f"Reason: {each.text}"
        paragraphs.append("\r\n".join([_one_line(each.recipient.address, 400), _wrapped(_one_line(words), "    ")]))
    paragraphs.append(_wrapped(f"The number of your message here is {message.queue_id}."))
    return "\r\n\r\n".join(paragraphs) + "\r\n"


def _for_programs(message: Message, failed: Sequence[ReportedRecipient], hostname: str) -> bytes:
    """The message/delivery-status part (RFC 3464 2)."""
    fields = [f"Reporting-MTA: dns; {hostname}"]
    envelope_id = message.envelope.options.get("ENVID")
    if envelope_id:
        fields.insert(0, f"Original-Envelope-Id: {_ascii(_from_xtext(envelope_id), 200)}")
    fields += [f"X-Postroad-Queue-ID: {message.queue_id}", f"Arrival-Date: {formatdate(message.created)}"]
    for each in failed:
        fields.append("")
        original = each.recipient.options.get("ORCPT", "").partition(";")
        if original[1] and re.fullmatch(r"[A-Za-z0-9-]{1,40}", original[0], re.ASCII):
            fields.append(f"Original-Recipient: {original[0]}; {_ascii(_from_xtext(original[2]), 400)}")
        address = each.recipient.address
        kind = "rfc822" if address.isascii() else "utf-8"
        fields += [
            f"Final-Recipient: {kind}; {_ascii(address, 400)}",
            f"Action: {each.action}",
            f"Status: {each.status}",
        ]
        if each.host:
            fields.append(f"Remote-MTA: dns; {_ascii(each.host, 255)}")
        spoken = each.host and re.match(r"[245]\d\d\b", each.text)
        fields.append(f"Diagnostic-Code: {'smtp' if spoken else 'x-postroad'}; {_ascii(each.text, _MAX_REPLY)}")
        if each.action == "delayed":
            fields.append(f"Will-Retry-Until: {formatdate(message.expires)}")  # RFC 3464 2.3.9
        if each.recipient.last_attempt is not None:
            fields.append(f"Last-Attempt-Date: {formatdate(each.recipient.last_attempt)}")
    return ("\r\n".join(fields) + "\r\n").encode("ascii")


def _from_xtext(value: str) -> str:
    """What an xtext stands for (RFC 3461 4)."""
    return _XTEXT.sub(lambda match: chr(int(match[1], 16)), value)


def _subject(header: bytes) -> str:
    """The original's subject, decoded, at most 120 characters of it."""
    raw = BytesHeaderParser(policy=policy.compat32).parsebytes(header).get("Subject")
    if raw is None:
        return ""
    try:
        text = str(make_header(decode_header(raw)))
    except (ValueError, LookupError, MessageError):  # an encoded word that is not what it says
        text = str(raw)
    return _one_line(text.encode("utf-8", "replace").decode(), 120).replace('"', "'")


def _one_line(text: str, limit: int = 1000) -> str:
    """Without controls and other characters that have no shape; no longer than `limit`."""
    shown = " ".join("".join(char if char.isprintable() else " " for char in text[: 2 * limit]).split())
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def _ascii(text: str, limit: int) -> str:
    """On one line in ASCII; what is not becomes ``\\x{HEX}``, the form of RFC 6533 3 for addresses."""
    shown = [char if " " <= char <= "~" else f"\\x{{{ord(char):X}}}" for char in _one_line(text, limit)]
    while sum(map(len, shown)) > _MAX_VALUE:
        shown = [*shown[: min(len(shown) - 4, _MAX_VALUE - 3)], "..."]
    return "".join(shown)


def _wrapped(text: str, indent: str = "") -> str:
    lines = textwrap.wrap(
        text, 76, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=True
    )
    return "\r\n".join(lines)


def _bounded(header: bytes) -> bytes:
    """The header, whole lines of it, with CRLF line ends and nothing that could end the part."""
    kept = header[:_MAX_HEADER]
    if len(kept) < len(header):
        kept = kept[: kept.rfind(b"\n") + 1]
    return b"".join(line + b"\r\n" for line in re.split(rb"\r\n|\r|\n", kept.rstrip(b"\r\n")) if line)


def _text_part(kind: str, description: str, content: bytes) -> bytes:
    """A text part, quoted-printable where it has to be."""
    head = f"Content-Type: {kind}; charset={'us-ascii' if content.isascii() else 'utf-8'}\r\n"
    head += f"Content-Description: {description}\r\n"
    if content.isascii() and b"\0" not in content and max(map(len, content.split(b"\r\n"))) <= 990:
        return head.encode() + b"\r\n" + content
    encoded = quopri.encodestring(content.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return head.encode() + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + encoded


def _plain_part(kind: str, description: str, content: bytes) -> bytes:
    return f"Content-Type: {kind}\r\nContent-Description: {description}\r\n\r\n".encode() + content


def _message_part(description: str, content: bytes) -> bytes:
    encoding = "" if content.isascii() else "Content-Transfer-Encoding: 8bit\r\n"
    return f"Content-Type: message/rfc822\r\n{encoding}Content-Description: {description}\r\n\r\n".encode() + content
