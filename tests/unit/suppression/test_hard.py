# SPDX-License-Identifier: GPL-3.0-or-later
"""Which refusals mean the mailbox."""

import time

import pytest

from relay_agent.delivery.outcome import Deferred, Delivered, Failed, Outcome, judge
from relay_agent.delivery.reply import Reply
from relay_agent.suppression.hard import is_hard_bounce


def refused(text: str) -> Outcome:
    return judge(Reply(int(text[:3]), (text[4:],)), "mx.beta.test", about_recipient=True)


@pytest.mark.parametrize(
    "text",
    [
        "550 5.1.1 <x@b.test>: Recipient address rejected: User unknown in local recipient table",
        "550 5.1.1 The email account that you tried to reach does not exist",
        "550 5.1.1 <anti.spam@blocker.test>: unknown",
        "550 5.2.1 The email account that you tried to reach is inactive",
        "551 5.1.6 moved",
        "553 5.1.3 bad syntax",
        "550 5.1.2 no such host here",
        "550 No such user here",
        "550 Unknown user",
        "550 Mailbox <x@b.test> does not exist",
        "550 User x@b.test is unknown",
    ],
)
def test_there_is_no_such_mailbox(text: str) -> None:
    assert is_hard_bounce(refused(text), by_own_host=True)
    assert not is_hard_bounce(refused(text), by_own_host=False)


@pytest.mark.parametrize(
    "text",
    [
        "550 5.7.1 Message rejected as spam",
        "550 5.7.26 unauthenticated",
        "550 5.1.1 Your host is blocked, see https://bl.test",
        "550 5.1.1 rejected by local policy",
        "550 5.1.10 null MX",
        "552 5.2.2 mailbox full",
        "550 5.1.8 bad sender",
        "550 Go away",
        "550 Service unavailable; client host [192.0.2.1] blocked using bl.test",
        "554 5.0.0 transaction failed",
        "500 5.5.1 what?",
    ],
)
def test_that_is_about_something_else(text: str) -> None:
    assert not is_hard_bounce(refused(text), by_own_host=True)


def test_what_we_conclude_ourselves_is_no_bounce() -> None:
    for outcome in (
        Failed("5.1.2", "domain beta.test does not exist"),
        Failed("5.1.1", "550 5.1.1 no", ""),
        Failed("5.1.1", "gave up after 5 days; the last answer was: 450 4.1.1 no", "mx.beta.test"),
        Deferred("4.1.1", "450 4.1.1 no", "mx.beta.test"),
        Delivered("2.1.5", "250 ok", "mx.beta.test"),
    ):
        assert not is_hard_bounce(outcome, by_own_host=True)


@pytest.mark.parametrize("piece", ["user ", "user!", "<", "a@", "unknown ", "no such "])
def test_no_reply_takes_long(piece: str) -> None:
    begun = time.process_time()
    is_hard_bounce(Failed("5.1.1", "550 " + piece * 1000, "mx.beta.test"), by_own_host=True)
    assert time.process_time() - begun < 0.5
