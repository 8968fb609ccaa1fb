# SPDX-License-Identifier: GPL-3.0-or-later
"""Every port of every relay carries a message of every mail program from the laptop to a mailbox."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from traffic.mail_programs import PROGRAMS, Submission
from traffic.mailboxes import Mailboxes
from traffic.relays import LISTENERS, Relay

WAYS = [(relay, port, program) for relay in ("relay1", "relay2") for port in LISTENERS for program in PROGRAMS]

Sent = dict[tuple[str, int, str], tuple[Submission, Any]]


@pytest.fixture(scope="module")
def sent(compose: Callable[..., Submission], submit: Callable[[Submission], Any]) -> Sent:
    """All messages, submitted side by side."""
    submissions = {way: compose(way[0], port=way[1], program=way[2]) for way in WAYS}
    with ThreadPoolExecutor(max_workers=12) as pool:
        return dict(
            zip(WAYS, zip(submissions.values(), pool.map(submit, submissions.values()), strict=True), strict=True)
        )


@pytest.fixture(scope="module")
def arrived(sent: Sent, mailboxes: Mailboxes) -> Counter[str]:
    """How many messages lie in the mailboxes for each that was sent."""
    return mailboxes.wait_for((submission.token for submission, _ in sent.values()), seconds=60)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way)))
def test_a_message_arrives_once(way: tuple[str, int, str], sent: Sent, arrived: Counter[str]) -> None:
    submission, outcome = sent[way]
    assert outcome.rc == 0, outcome.stdout + outcome.stderr
    assert arrived[submission.token] == 1


def test_content_is_carried_unchanged(sent: Sent, arrived: Counter[str], mailboxes: Mailboxes) -> None:
    # By msmtp, which sends what it gets; swaks adds an empty line.
    submission, _ = sent["relay1", 587, "msmtp"]
    assert arrived[submission.token] == 1
    message = mailboxes.read(submission.token)
    assert message["Message-ID"] == f"<{submission.token}@laptop.postroad.test>"
    assert message["Return-Path"] == f"<{submission.sender}>"
    assert message.get_payload() == "A line.\n.A line that begins with a dot.\n"


def test_trace_names_the_relay_and_not_the_traveller(sent: Sent, arrived: Counter[str], mailboxes: Mailboxes) -> None:
    submission, _ = sent[WAYS[0]]
    assert arrived[submission.token] == 1
    trace = mailboxes.read(submission.token).get_all("Received", [])
    assert any("by relay1.postroad.test" in line for line in trace)


@pytest.mark.parametrize("relay", ["relay1", "relay2"])
def test_nothing_stays_in_the_queue(relay: str, relays: dict[str, Relay], arrived: Counter[str]) -> None:
    assert arrived
    assert relays[relay].left_in_queue() == []
