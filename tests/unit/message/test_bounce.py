# SPDX-License-Identifier: GPL-3.0-or-later
"""The bounce, read back by Python's own parser as a mail program would."""

from __future__ import annotations

import email
import email.policy
import re
from email.message import EmailMessage
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.message.bounce import ReportedRecipient, make_bounce, make_delay_notice, make_relay_notice
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.model import Envelope, Message, Recipient

HEADER = b"From: Alice <alice@home.test>\r\nTo: bob@a.test\r\nSubject: Plans\r\nMessage-ID: <1@home.test>\r\n"


def _message(**options: str) -> Message:
    return Message("1M84A1CTJBH8HFE", Envelope("alice@home.test", "alice", options), {}, MemoryBody(b""), 1e9, 1e9 + 1)


def _failed(
    address: str = "bob@a.test",
    status: str = "5.1.1",
    text: str = "550 5.1.1 No such user",
    host: str = "mx.a.test",
    **options: str,
) -> ReportedRecipient:
    return ReportedRecipient(Recipient(address, options, last_attempt=1e9 + 60), status, text, host)


def _bounce(
    *failed: ReportedRecipient, header: bytes = HEADER, message: Message | None = None
) -> tuple[Message, EmailMessage]:
    bounce = make_bounce(message or _message(), failed, header=header, hostname="relay.test", lifetime=3600)
    content = bounce.body.read()
    assert content.isascii()
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", content)
    assert max(map(len, content.split(b"\r\n"))) <= 998
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    assert not parsed.defects
    return bounce, parsed


def test_envelope_and_header() -> None:
    bounce, parsed = _bounce(_failed())
    assert bounce.envelope.reverse_path == ""
    assert [each.address for each in bounce.recipients.values()] == ["alice@home.test"]
    assert bounce.expires - bounce.created == 3600
    assert parsed["From"] == "Mail Delivery System <MAILER-DAEMON@relay.test>"
    assert parsed["To"] == "alice@home.test"
    assert parsed["Auto-Submitted"] == "auto-replied"
    assert parsed["Subject"] == "Could not be delivered to bob@a.test"
    assert parsed["Message-ID"] == f"<{bounce.queue_id.lower()}@relay.test>"
    assert parsed["In-Reply-To"] == "<1@home.test>"
    assert parsed["Date"].datetime is not None
    assert parsed.get_content_type() == "multipart/report"
    assert parsed["Content-Type"].params["report-type"] == "delivery-status"
    assert [part.get_content_type() for part in parsed.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]


def test_for_people() -> None:
    _, parsed = _bounce(_failed(), _failed("carol@b.test", "5.1.2", "domain b.test does not exist", ""))
    text = next(parsed.iter_parts()).get_content()
    assert "This is the mail relay relay.test." in text
    words = " ".join(text.split())
    assert 'with the subject "Plans" could not be delivered to the 2 recipients below' in words
    assert "bob@a.test mx.a.test answered: 550 5.1.1 No such user The mailbox does not exist at a.test." in words
    assert "carol@b.test Reason: domain b.test does not exist There is no mail domain b.test." in words
    assert "1M84A1CTJBH8HFE" in words
    assert max(map(len, text.splitlines())) <= 78


def test_for_programs() -> None:
    message = _message(ENVID="QQ+2B1")
    _, parsed = _bounce(
        _failed(ORCPT="rfc822;b+2Bb@a.test"), _failed("carol@b.test", "5.1.2", "no such domain", ""), message=message
    )
    _, report, _ = parsed.iter_parts()
    about, bob, carol = cast("list[EmailMessage]", report.get_payload())
    assert about["Reporting-MTA"] == "dns; relay.test"
    assert about["Original-Envelope-Id"] == "QQ+1"
    assert about["Arrival-Date"] == "Sun, 09 Sep 2001 01:46:40 -0000"
    assert dict(bob.items()) == {
        "Original-Recipient": "rfc822; b+b@a.test",
        "Final-Recipient": "rfc822; bob@a.test",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.a.test",
        "Diagnostic-Code": "smtp; 550 5.1.1 No such user",
        "Last-Attempt-Date": "Sun, 09 Sep 2001 01:47:40 -0000",
    }
    assert "Remote-MTA" not in carol
    assert carol["Diagnostic-Code"] == "x-postroad; no such domain"


def test_the_header_comes_back() -> None:
    _, parsed = _bounce(_failed())
    part = list(parsed.iter_parts())[2]
    assert part.get_content().encode() == HEADER


def test_a_huge_header_comes_back_in_part_and_in_whole_lines() -> None:
    _, parsed = _bounce(_failed(), header=HEADER + b"X-Many: value\r\n" * 10_000)
    content = list(parsed.iter_parts())[2].get_content()
    assert len(content) <= 32_768
    assert content.endswith("X-Many: value\r\n")


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Gr\u00fc\u00dfe"),
        (b"=?nonsense?q?x?=", "=?nonsense?q?x?="),
        ("Gr\u00fc\u00dfe".encode(), "Gr"),
        (b"=?utf-8?q?a=0D=0ABcc:_x?=", "a Bcc: x"),
        (b"x" * 500, "x" * 40),
    ],
)
def test_subjects(subject: bytes, shown: str) -> None:
    _, parsed = _bounce(_failed(), header=b"Subject: " + subject + b"\r\n")
    assert shown in next(parsed.iter_parts()).get_content()


def test_addresses_beyond_ascii() -> None:
    _, parsed = _bounce(_failed("b\u00f6b@a.test"))
    _, report, _ = parsed.iter_parts()
    recipient = cast("list[EmailMessage]", report.get_payload())[1]
    assert recipient["Final-Recipient"] == "utf-8; b\\x{F6}b@a.test"
    assert "b\u00f6b@a.test" in next(parsed.iter_parts()).get_content()
    message = _message()
    message.envelope = Envelope("\u00e4lice@home.test")
    bounce, parsed = _bounce(_failed(), message=message)
    assert parsed["To"] == "undisclosed-recipients:;"
    assert bounce.recipients[0].address == "\u00e4lice@home.test"


HOSTILE = st.text(st.sampled_from("\r\n\0\t \x1b\u2028\u00e4ab:=-@<>?,;\"'"), max_size=40)


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.binary(max_size=200))
def test_nothing_from_outside_begins_a_line(address: str, text: str, host: str, sender: str, header: bytes) -> None:
    evil = "\r\nX-Evil: yes\r\n\r\n--"
    message = _message(ENVID=evil)
    message.envelope = Envelope(sender + evil, "alice", {"ENVID": evil})
    failed = _failed(address + evil, text=text + evil, host=host + evil, ORCPT="rfc822;" + evil)
    _, parsed = _bounce(failed, _failed(), header=header, message=message)
    assert "X-Evil" not in parsed
    assert len(list(parsed.iter_parts())) == 3
    _, report, _ = parsed.iter_parts()
    parts = cast("list[EmailMessage]", report.get_payload())
    assert len(parts) == 3
    assert all("X-Evil" not in part for part in parts)
    assert all(not part.defects for part in (*parts, *parsed.iter_parts()))


def test_who_wants_a_bounce() -> None:
    assert _failed().wants_bounce
    assert _failed(NOTIFY="SUCCESS,FAILURE").wants_bounce
    assert not _failed(NOTIFY="NEVER").wants_bounce
    assert not _failed(NOTIFY="SUCCESS,DELAY").wants_bounce


def test_the_whole_message_comes_back() -> None:
    content = HEADER + b"\r\nGr\xc3\xbc\xc3\x9fe\r\n--\r\n"
    bounce = make_bounce(_message(), [_failed()], header=HEADER, hostname="relay.test", lifetime=60, content=content)
    assert bounce.envelope.options == {"BODY": "8BITMIME"}
    parsed = email.message_from_bytes(bounce.body.read(), policy=email.policy.default)
    *_, returned = parsed.iter_parts()
    assert returned.get_content_type() == "message/rfc822"
    inner = cast("list[EmailMessage]", returned.get_payload())[0]
    assert inner["Subject"] == "Plans"
    assert bounce.body.read().count(content) == 1


def test_the_bounce_of_a_message_that_needs_tls_needs_it_too() -> None:
    bounce, _ = _bounce(_failed(), message=_message(REQUIRETLS=""))
    assert bounce.envelope.options == {"REQUIRETLS": ""}


def test_handed_on() -> None:
    relayed = ReportedRecipient(
        Recipient("bob@a.test", {"NOTIFY": "SUCCESS", "ORCPT": "rfc822;b@home.test"}),
        "2.0.0",
        "250 2.0.0 Queued",
        "mx.a.test",
        "relayed",
    )
    notice = make_relay_notice(_message(ENVID="x1"), [relayed], header=HEADER, hostname="relay.test", lifetime=60)
    assert notice.envelope.reverse_path == ""
    parsed = email.message_from_bytes(notice.body.read(), policy=email.policy.default)
    words, report, header = parsed.iter_parts()
    assert "bob@a.test (to mx.a.test)" in words.get_content()
    about, bob = cast("list[EmailMessage]", report.get_payload())
    assert about["Original-Envelope-Id"] == "x1"
    assert (bob["Action"], bob["Status"], bob["Original-Recipient"]) == ("relayed", "2.0.0", "rfc822; b@home.test")
    assert header.get_content_type() == "text/rfc822-headers"


@pytest.mark.parametrize(
    "subject", ["=?utf-8?b?R3LDvMOfZQ=-?=", "=?utf-8?b?YWJj?= =?x-none?q?a?=", "=?utf-16?b?YQ==?="]
)
def test_a_subject_that_cannot_be_decoded_does_not_lose_the_bounce(subject: str) -> None:
    _, parsed = _bounce(_failed(), header=f"Subject: {subject}\r\n".encode())
    assert parsed["Subject"] == "Could not be delivered to bob@a.test"


def test_a_reply_in_another_script_fits_a_line() -> None:
    bounce, _ = _bounce(_failed(text="550 5.1.1 " + "\u90ae" * 480))
    (line,) = re.findall(rb"Diagnostic-Code: (.*)\r\n", bounce.body.read())
    assert re.fullmatch(rb"smtp; 550 5\.1\.1 (?:\\x\{90AE\})+\.\.\.", line)
    assert len(line) > 850


def test_a_notice_of_delay() -> None:
    """RFC 3464 2.3.3 and 2.3.9: it says until when it is tried, and gives only the header back."""
    recipient = Recipient("bob@beta.test", {"ORCPT": "rfc822;b@beta.test"}, attempts=5, last_attempt=5000.0)
    delayed = ReportedRecipient(recipient, "4.4.1", "connection timed out", "mx.beta.test", "delayed")
    message = _message(ENVID="x1", RET="FULL")
    notice = make_delay_notice(message, [delayed], header=HEADER, hostname="relay.test", lifetime=60)
    assert notice.envelope.reverse_path == ""
    content = notice.body.read().decode("ascii")
    assert "Subject: Delayed: mail to bob@beta.test" in content
    assert "need not do anything" in " ".join(content.split())
    assert "Action: delayed\r\n" in content
    assert "Will-Retry-Until: " in content
    assert "Original-Recipient: rfc822; b@beta.test" in content
    assert "Original-Envelope-Id: x1" in content
    assert "text/rfc822-headers" in content
    both = make_delay_notice(message, [delayed, delayed], header=HEADER, hostname="relay.test", lifetime=60)
    assert b"the 2 recipients below" in both.body.read().replace(b"\r\n", b" ")


def test_who_is_told_of_a_delay() -> None:
    for notify, told in ((None, True), ("DELAY", True), ("SUCCESS,DELAY", True), ("FAILURE", False), ("NEVER", False)):
        recipient = Recipient("bob@beta.test", {"NOTIFY": notify} if notify else {})
        assert ReportedRecipient(recipient, "4.4.1", "x", "").wants_delay_notice is told
