# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts, ways to send through them, and what the tests of delivery have in common."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from traffic.fixtures import compose, lab, laptop, mailboxes, on, passwords, power, relays, submit
from traffic.mail_programs import Submission
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

__all__ = ["compose", "lab", "laptop", "mailboxes", "on", "passwords", "power", "relays", "submit"]

# Seconds; a relay keeps TLSA records for at least five before it looks them up anew, and the machine may be busy.
_ARRIVED_WITHIN = 60.0


@pytest.fixture(scope="session")
def send_by_each(
    relays: dict[str, Relay], compose: Callable[..., Submission], submit: Callable[[Submission], Any]
) -> Callable[[str], dict[str, Submission]]:
    """Submits a message for a domain to each relay; the messages by relay."""

    def send(domain: str) -> dict[str, Submission]:
        sent = {relay: compose(relay, domain=domain) for relay in relays}
        for submission in sent.values():
            outcome = submit(submission)
            assert outcome.rc == 0, outcome.stdout + outcome.stderr
        return sent

    return send


@pytest.fixture(scope="session")
def wait_in_queue(relays: dict[str, Relay]) -> Callable[[dict[str, Submission]], dict[str, tuple[str, dict[str, Any]]]]:
    """Waits until each message was tried and is kept; queue id and recipient by relay."""

    def wait(sent: dict[str, Submission]) -> dict[str, tuple[str, dict[str, Any]]]:
        found = {}
        for relay, submission in sent.items():
            assert relays[relay].wait_until_deferred(submission.token, seconds=30), f"{relay}: not in the queue"
            waiting = relays[relay].waiting(submission.token)
            assert waiting is not None
            found[relay] = waiting
        return found

    return wait


@pytest.fixture(scope="session")
def retry_until_arrived(
    relays: dict[str, Relay], mailboxes: Mailboxes
) -> Callable[[dict[str, Submission]], Counter[str]]:
    """Lets the relays try again until the messages are there or time is up; how many there are of each."""

    def retry(sent: dict[str, Submission]) -> Counter[str]:
        tokens = [submission.token for submission in sent.values()]
        deadline = time.monotonic() + _ARRIVED_WITHIN
        while True:
            for relay in sent:
                relays[relay].retry()
            arrived = mailboxes.wait_for(tokens, seconds=2)
            if all(arrived[token] for token in tokens) or time.monotonic() > deadline:
                return arrived

    return retry
