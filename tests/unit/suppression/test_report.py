# SPDX-License-Identifier: GPL-3.0-or-later
"""Complaints as they come, and what only looks like one."""

import time

import pytest

from relay_agent.suppression.report import LARGEST, ReportError, read_report
from tests.feedback import feedback_report


def test_a_report_is_read() -> None:
    report = read_report(feedback_report())
    assert (report.kind, report.is_complaint) == ("abuse", True)
    assert report.recipients == ("bob@beta.test",)
    assert report.sender == "news@alpha.test"
    assert report.relays == (("relay.test", "01KAQ8Z0J7M5T2X"),)
    assert report.message_id == "<offers-47@alpha.test>"
    assert report.reporter == "Provider-Feedback/3.1"


def test_the_header_of_the_message_is_enough() -> None:
    assert read_report(feedback_report(returned="text/rfc822-headers")) == read_report(feedback_report())


def test_who_complained_when_the_reporter_does_not_say() -> None:
    assert read_report(feedback_report(recipient="")).recipients == ("bob@beta.test",)
    several = "To: bob@beta.test, carol@beta.test\n"
    assert read_report(feedback_report(recipient="", to=several)).recipients == ()
    assert read_report(feedback_report(recipient="", to="To: bob@beta.test\nCc: carol@beta.test\n")).recipients == ()
    assert read_report(feedback_report(recipient="", to="")).recipients == ()
    many = "".join(f"Original-Rcpt-To: rfc822;b{number}@beta.test\n" for number in range(500))
    assert len(read_report(feedback_report(recipient=many)).recipients) == 100


def test_whose_mail_it_was() -> None:
    assert read_report(feedback_report(sender="")).sender == "news@alpha.test"
    assert read_report(feedback_report(sender="Original-Mail-From: <>\n")).sender == "news@alpha.test"
    foreign = "Received: from a by mx.other.test with SMTP; x\n"
    assert read_report(feedback_report(trace=foreign)).relays == (("mx.other.test", ""),)
    assert read_report(feedback_report(trace="")).relays == ()


@pytest.mark.parametrize("kind", ["not-spam", "virus", "auth-failure", "other", "x-made-up"])
def test_other_kinds_are_no_complaint(kind: str) -> None:
    assert not read_report(feedback_report(kind=kind)).is_complaint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a report"),
        (b"Subject: hello\r\n\r\nHello\r\n", "not a report"),
        (feedback_report().replace(b"feedback-report;", b"delivery-status;", 1), "another kind"),
        (feedback_report().replace(b"report-type=feedback-report;", b""), "another kind"),
        (feedback_report().replace(b"message/feedback-report", b"text/plain"), "no part message/feedback-report"),
        (feedback_report(kind=""), "lacks Feedback-Type"),
        (feedback_report().replace(b"Version: 1\r\n", b""), "lacks Feedback-Type"),
        (b"Content-Type: multipart/report; report-type=feedback-report\r\n\r\nx\r\n", "has no parts"),
        (b"Content-Type: message/rfc822\r\n\r\n" * 5000, "parts within parts"),
        (
            b'Content-Type: multipart/report; report-type=feedback-report; boundary="a"\r\n\r\n--a\r\n' * 30,
            "parts with",
        ),
        (b"\xff\xfe\x00" * 1000, "not a report"),
    ],
)
def test_what_is_no_report_is_named(content: bytes, words: str) -> None:
    with pytest.raises(ReportError, match=words):
        read_report(content)


def test_a_huge_report_costs_no_more_than_its_beginning() -> None:
    content = feedback_report().replace(b"Buy now!", b"--=_parts\r\n" * 200_000)
    begun = time.process_time()
    assert read_report(content).recipients == ("bob@beta.test",)
    assert time.process_time() - begun < 5
    assert len(content) > LARGEST


def test_no_line_breaks_come_out_of_it() -> None:
    content = feedback_report(recipient="Original-Rcpt-To: <bob@beta.test>\n\tRCPT TO:<x@y.test>\n")
    assert read_report(content).recipients == ("bob@beta.test",)  # the addressee: that field is no address
    report = read_report(feedback_report().replace(b"Provider-Feedback/3.1", b"a\r\n b\x00c"))
    assert report.reporter.isprintable()
