# SPDX-License-Identifier: GPL-3.0-or-later
import email
import email.policy

import pytest

from relay_agent.message.header import Field, HeaderError, HeaderResult, received_line, submission_header

NOW = 1_790_000_000.0
RECEIVED = received_line(hostname="relay.test", protocol="ESMTPSA", queue_id="Q1", now=NOW)


def rewrite(header: bytes) -> HeaderResult:
    return submission_header(header, received=RECEIVED, hostname="relay.test", queue_id="Q1", now=NOW)


def test_a_complete_header_only_gains_the_trace() -> None:
    header = b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <a@b>\r\nSubject: x\r\n\ty\r\n"
    assert rewrite(header) == HeaderResult(RECEIVED + header, b"", "<a@b>")


def test_missing_fields_are_added() -> None:
    result = rewrite(b"Subject: x\r\n")
    message = email.message_from_bytes(result.header + b"\r\n", policy=email.policy.SMTP)
    assert message["Message-ID"] == result.message_id == "<q1@relay.test>"
    assert message["Date"].datetime.timestamp() == NOW


def test_bcc_and_return_path_go_with_their_folded_lines() -> None:
    result = rewrite(
        b"To: a@b\r\nBcc: secret@b,\r\n other@b\r\nResent-Bcc: secret@b\r\n"
        b"Date: x\r\nRETURN-PATH : <x@y>\r\nMessage-ID:\r\n <folded@b>\r\n"
    )
    assert result.header == RECEIVED + b"To: a@b\r\nDate: x\r\nMessage-ID:\r\n <folded@b>\r\n"
    assert result.message_id == "<folded@b>"


def test_trace_line_tells_nothing_of_the_client() -> None:
    assert RECEIVED.startswith(b"Received: by relay.test (Postroad) with ESMTPSA\r\n\tid Q1; ")
    assert b"from" not in RECEIVED.lower()


@pytest.mark.parametrize(
    ("header", "kept", "rest"),
    [
        (b"hello world\r\n", b"", b"hello world\r\n"),
        (b"Subject: x\r\nhello world\r\nA: b\r\n", b"Subject: x\r\n", b"hello world\r\nA: b\r\n"),
        (b"From a@b Mon Nov 23\r\nSubject: x\r\n", b"Subject: x\r\n", b""),
        (b" starts folded\r\n", b"", b" starts folded\r\n"),
        (b"", b"", b""),
    ],
)
def test_what_is_no_field_belongs_to_the_body(header: bytes, kept: bytes, rest: bytes) -> None:
    result = rewrite(header)
    assert result.header.startswith(RECEIVED + kept)
    assert result.header.removeprefix(RECEIVED + kept).startswith(b"Date: ")
    assert result.rest == rest


def test_a_loop_is_refused() -> None:
    rewrite(b"Received: by x\r\n" * 99)
    with pytest.raises(HeaderError, match=r"^554 5\.4\.6"):
        rewrite(b"Received: by x\r\n" * 100)


@pytest.mark.parametrize("header", [b"", b"no field\r\n", b"Bcc: secret@b\r\n", b"From alice Mon Nov 23\r\n"])
def test_a_rule_for_a_header_without_fields(header: bytes) -> None:
    given: list[list[Field]] = []

    def rule(fields: list[Field]) -> list[Field]:
        given.append(fields)
        return [Field(b"from", b"From: a@b\r\n")]

    result = submission_header(header, received=RECEIVED, hostname="relay.test", queue_id="Q1", now=NOW, rule=rule)
    assert given == [[]]
    assert result.header.startswith(RECEIVED + b"From: a@b\r\n")
