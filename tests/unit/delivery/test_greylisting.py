# SPDX-License-Identifier: GPL-3.0-or-later
"""Replies of real servers that greylist, and of those that do not."""

from __future__ import annotations

import pytest

from relay_agent.delivery.greylisting import is_greylisting
from relay_agent.delivery.outcome import Deferred, judge
from relay_agent.delivery.reply import Reply


def said(code: int, text: str) -> Deferred:
    outcome = judge(Reply(code, (text,)), "mx.test", about_recipient=True)
    assert isinstance(outcome, Deferred)
    return outcome


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (450, "4.2.0 <bob@a.test>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/"),
        (451, "4.7.1 Greylisting in action, please come back later"),
        (451, "4.7.1 Gray-listed: try again in 5 minutes"),
        (421, "grey listed, come back"),
    ],
)
def test_by_name_it_counts_at_every_attempt(code: int, text: str) -> None:
    assert is_greylisting(said(code, text))
    assert is_greylisting(said(code, text), 7)


@pytest.mark.parametrize(
    ("code", "text", "first"),
    [
        (451, "4.7.1 Please try again later", True),
        (450, "4.7.1 Service temporarily unavailable", True),
        (450, "4.2.0 Wait 300 seconds", True),
        (450, "4.2.1 The user is receiving mail too quickly, try again later", False),
        (452, "4.2.2 Mailbox full, try again later", False),
        (450, "4.7.1 Client host rejected: cannot find your hostname", False),
        (421, "4.7.0 Try again later", False),
    ],
)
def test_by_its_manner_only_the_first_time(code: int, text: str, first: bool) -> None:
    assert is_greylisting(said(code, text), 1) is first
    assert not is_greylisting(said(code, text), 2)
    assert not is_greylisting(said(code, text))


def test_never_what_we_say_ourselves() -> None:
    assert not is_greylisting(Deferred("4.4.1", "greylisted while connecting", "mx.test"), 1)
    assert not is_greylisting(Deferred("4.3.0", "450 greylisted", "mx.test", fault=True), 1)
    assert not is_greylisting(Deferred("4.7.1", "450 4.7.1 greylisted", ""), 1)
