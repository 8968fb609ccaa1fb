# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers and what is made of them: the header for submission, the author's check, bounces."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.message import Message as EmailMessage
from email.utils import getaddresses

from relay_agent.message.bounce import ReportedRecipient, make_bounce, make_relay_notice
from relay_agent.message.header import HeaderError, HeaderResult, Rule, received_line, submission_header
from relay_agent.message.mailbox import MailboxError, parse_mailboxes
from relay_agent.policy.authors import AuthorRule
from relay_agent.policy.senders import allowed_senders, normalise_pattern
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.model import Envelope, Message, Recipient
from relay_agent.suppression.complaint import complaint
from relay_agent.suppression.entry import Cause, Entry, fold, parse_change
from relay_agent.suppression.report import Report, ReportError, read_report

from .promises import in_words, whole_reply

__all__ = ["bounce", "feedback", "header", "mailboxes", "sender_pattern"]

_NOW = 1_800_000_000.0
_QUEUE_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
_RECEIVED = received_line(hostname="relay.test", protocol="ESMTPSA", queue_id=_QUEUE_ID, now=_NOW)
_SENDERS = allowed_senders(("alice@alpha.test", "@own.test"))
_RULES: tuple[Rule | None, ...] = (
    None,
    AuthorRule(_SENDERS, "alice@alpha.test"),
    AuthorRule(_SENDERS, ""),
    AuthorRule(_SENDERS, "alice@alpha.test", "alice@alpha.test"),
)
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:[^\r\n\0]*\r\n(?:[ \t][^\r\n\0]*\r\n)*")
_BOUNCE_FIELDS = [
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "auto-submitted",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
]
_REPORT_FIELDS = [
    "reporting-mta",
    "original-envelope-id",
    "x-postroad-queue-id",
    "arrival-date",
    "original-recipient",
    "final-recipient",
    "action",
    "status",
    "remote-mta",
    "diagnostic-code",
    "last-attempt-date",
]


def header(data: bytes) -> None:
    """The header a program sent: nothing in it begins a field that was not there, and a second time changes nothing."""
    if b"\0" in data or re.search(rb"\r(?!\n)", data):
        return
    data = re.sub(rb"(?<!\r)\n", b"\r\n", data)
    lines = (data if data.endswith(b"\r\n") or not data else data + b"\r\n").partition(b"\r\n\r\n")
    given = lines[0] + (b"\r\n" if lines[1] else b"")
    for rule in _RULES:
        try:
            found = _rewritten(given, rule)
        except HeaderError as error:
            whole_reply(error)
            continue
        fields = _FIELD.findall(found.header)
        assert b"".join(fields) == found.header, "a line that is no field"
        assert found.header.startswith(_RECEIVED)
        names = [field.partition(b":")[0].strip().lower() for field in fields]
        assert not {b"bcc", b"resent-bcc", b"return-path"} & set(names)
        assert {b"date", b"message-id"} <= set(names)
        assert not re.search(r"[\r\n]", found.message_id)
        added = {b"date", b"message-id", b"from"}
        for name, field in zip(names[1:], fields[1:], strict=True):
            assert field in given or name in added, "a field that was not there"
        assert given.endswith(found.rest)
        if names.count(b"received") >= 100:
            continue  # one more would be a loop
        again = _rewritten(found.header, rule)
        assert (again.header, again.rest) == (_RECEIVED + found.header, b""), "a second time changes it"
        if rule is not None:
            _check_authors(found.header)


def _rewritten(given: bytes, rule: Rule | None) -> HeaderResult:
    return submission_header(given, received=_RECEIVED, hostname="relay.test", queue_id=_QUEUE_ID, now=_NOW, rule=rule)


def _check_authors(found: bytes) -> None:
    """Another reader of addresses must not see an author who is not the account's."""
    parsed = message_from_bytes(found + b"\r\n")
    assert len(parsed.get_all("From", [])) <= 1  # none: it does not know "From : x" (RFC 5322 4.5)
    values = [str(value).replace("\r\n", "") for name in ("From", "Sender") for value in parsed.get_all(name, [])]
    for _, address in getaddresses(values):
        assert not address or "@" not in address or _SENDERS.permits(address), address


def mailboxes(data: bytes) -> None:
    """The mailboxes of a From line: what is taken for an address reads as that address again."""
    try:
        found = parse_mailboxes(data.decode("utf-8", "replace"))
    except MailboxError as error:
        in_words(error)
        return
    for mailbox in found:
        assert not re.search(r"[\x00-\x1f\x7f]", mailbox.name + mailbox.address) or "\t" in mailbox.name
        (again,) = parse_mailboxes(mailbox.address)
        assert again.address == mailbox.address
        (again,) = parse_mailboxes(f"<{mailbox.address}>")
        assert again.address == mailbox.address


def sender_pattern(data: bytes) -> None:
    """A pattern of what an account may send as, and behind a line feed an address that is held against it."""
    pattern, _, address = data.decode("utf-8", "replace").partition("\n")
    try:
        normal = normalise_pattern(pattern)
    except ValueError:
        return
    assert normalise_pattern(normal) == normal
    allowed = allowed_senders((normal,))
    allowed.permits(address)
    if allowed.first:
        assert allowed.permits(allowed.first)


def feedback(data: bytes) -> None:
    """A complaint: what comes of it is bounded, printable, and fits an entry of the suppression list."""
    try:
        report = read_report(data)
        found = complaint(report, "relay.test", {})
    except ReportError as error:
        in_words(error)
        return
    assert isinstance(report, Report)
    assert found.reason.isprintable()
    assert 0 < len(found.recipients) <= 100
    for address in found.recipients:
        assert fold(address) == address
        record = Entry(address, found.owner, Cause.COMPLAINT, found.reason, 1.0, 2.0, sender=found.sender).record()
        entry = parse_change(record)
        assert entry.key == (address, found.owner)


def bounce(data: bytes) -> None:
    """A bounce of hostile parts, NUL between them: header, reply, host, address, sender, ENVID, ORCPT, content."""
    parts = [part.decode("utf-8", "replace") for part in data.split(b"\0")]
    parts += [""] * (8 - len(parts))
    original, text, host, address, sender, envelope_id, original_recipient, content = parts[:8]
    options = {"ORCPT": original_recipient} if original_recipient else {}
    message = Message(
        queue_id=_QUEUE_ID,
        envelope=Envelope(sender, "alice", {"ENVID": envelope_id} if envelope_id else {}),
        recipients={},
        body=MemoryBody(b""),
        created=_NOW,
        expires=_NOW + 1,
    )
    failed = [
        ReportedRecipient(Recipient(address, options, last_attempt=_NOW), "5.1.1", text, host),
        ReportedRecipient(Recipient("bob@beta.test"), "5.0.0", "550 5.1.1 no", "mx.test"),
    ]
    # What the queue holds has whole line ends.
    whole = re.sub(rb"\r\n|\r|\n", b"\r\n", content.encode() + b"\r\n") if content else None
    for made in (
        make_bounce(message, failed, header=original.encode(), hostname="relay.test", lifetime=1.0),
        make_bounce(message, failed[:1], header=original.encode(), hostname="relay.test", lifetime=1.0, content=whole),
        make_relay_notice(message, failed, header=original.encode(), hostname="relay.test", lifetime=1.0),
    ):
        _check_bounce(made, sender, whole if whole is not None and whole in made.body.read() else None)


def _check_bounce(made: Message, sender: str, whole: bytes | None) -> None:
    assert made.envelope.reverse_path == ""
    assert made.recipients[0].address == sender
    raw = made.body.read()
    ours = raw
    if whole is not None:
        before, _, behind = raw.rpartition(whole)
        ours = before + behind
    assert ours.isascii()
    assert ours.count(b"\r") == ours.count(b"\n") == ours.count(b"\r\n")
    assert max(map(len, ours.split(b"\r\n"))) <= 998
    parsed = message_from_bytes(raw)
    assert not {name.lower() for name in parsed} - set(_BOUNCE_FIELDS), parsed.keys()
    assert len({name.lower() for name in parsed}) == len(parsed.keys()), "a field twice"
    assert parsed.get_content_type() == "multipart/report"
    parts = parsed.get_payload()
    assert isinstance(parts, list)
    assert len(parts) == 3, "a part too many"
    assert isinstance(parts[1], EmailMessage)
    report = parts[1].get_payload()
    assert isinstance(report, list)
    for block in report:
        assert isinstance(block, EmailMessage)
        assert not {name.lower() for name in block} - set(_REPORT_FIELDS), block.keys()
        assert not block.get_payload()
