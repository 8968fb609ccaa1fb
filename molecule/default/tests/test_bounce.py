# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail that can never arrive comes back, in a form that people and programs can read (RFC 3464)."""

from collections.abc import Callable
from email.message import Message
from typing import Any

import pytest
from traffic.mail_programs import Submission
from traffic.mailboxes import Mailboxes

# Recipient domain, and the enhanced status code that says why: RFC 3463 3.2, RFC 7505 4.2.
HOPELESS = {"nowhere.test": "5.1.2", "nullmx.test": "5.1.10"}


@pytest.fixture(scope="module")
def bounces(
    compose: Callable[..., Submission], submit: Callable[[Submission], Any], mailboxes: Mailboxes
) -> dict[str, tuple[Submission, Message]]:
    """The bounce for each hopeless domain, out of the sender's mailbox."""
    sent = {domain: compose("relay1", recipient=f"someone@{domain}") for domain in HOPELESS}
    for submission in sent.values():
        outcome = submit(submission)
        assert outcome.rc == 0, outcome.stdout + outcome.stderr
    mailboxes.wait_for((submission.token for submission in sent.values()), seconds=60)
    return {domain: (submission, mailboxes.read(submission.token)) for domain, submission in sent.items()}


@pytest.mark.parametrize("domain", list(HOPELESS))
def test_the_sender_gets_a_delivery_status_notification(
    domain: str, bounces: dict[str, tuple[Submission, Message]]
) -> None:
    _, bounce = bounces[domain]
    assert bounce.get_content_type() == "multipart/report"
    assert bounce.get_param("report-type") == "delivery-status"
    (status,) = [part for part in bounce.walk() if part.get_content_type() == "message/delivery-status"]
    # The fields of the message as a whole, then those of its one recipient.
    fields = status.get_payload()
    assert isinstance(fields, list)
    recipient = fields[1]
    assert isinstance(recipient, Message)
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == HOPELESS[domain]
    assert recipient["Final-Recipient"].replace(" ", "") == f"rfc822;someone@{domain}"


@pytest.mark.parametrize("domain", list(HOPELESS))
def test_it_says_which_message_it_is_about(domain: str, bounces: dict[str, tuple[Submission, Message]]) -> None:
    submission, bounce = bounces[domain]
    assert f"<{submission.token}@laptop.postroad.test>" in bounce.as_string()


@pytest.mark.parametrize("domain", list(HOPELESS))
def test_nobody_can_bounce_it_back(domain: str, bounces: dict[str, tuple[Submission, Message]]) -> None:
    _, bounce = bounces[domain]
    assert bounce["Return-Path"] == "<>"
    assert bounce["Auto-Submitted"] == "auto-replied"
