# SPDX-License-Identifier: GPL-3.0-or-later
"""A smarthost that is down, without another one: mail waits in sight of the operator, and goes on when he says so."""

from collections import Counter
from collections.abc import Callable

import pytest
from traffic.mail_programs import Submission
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

pytestmark = pytest.mark.parametrize("relay", ["relay1", "relay2"])


@pytest.fixture(scope="module")
def listed() -> dict[str, str]:
    """What `relay-agent queue list` said, of groups and of each message, while the smarthost was down, by relay."""
    return {}


@pytest.fixture(scope="module")
def outage(
    listed: dict[str, str],
    relays: dict[str, Relay],
    send_by_each: Callable[[str], dict[str, Submission]],
    wait_in_queue: Callable[[dict[str, Submission]], object],
    power: Callable[..., None],
) -> dict[str, Submission]:
    """Messages that were accepted while the smarthost was switched off, by relay. It is on again after that."""
    power("stop", "smarthost1", "--hard")
    try:
        sent = send_by_each("alpha.test")
        wait_in_queue(sent)
        command = "relay-agent queue list && relay-agent queue list --each"
        listed.update({name: relay.host.check_output(command) for name, relay in relays.items()})
    finally:
        power("start", "smarthost1")
    return sent


@pytest.fixture(scope="module")
def early(outage: dict[str, Submission], mailboxes: Mailboxes) -> Counter[str]:
    """How many of the messages arrived before anybody asked for a retry."""
    return mailboxes.wait_for((submission.token for submission in outage.values()), seconds=0)


@pytest.fixture(scope="module")
def retried(
    early: Counter[str],
    outage: dict[str, Submission],
    retry_until_arrived: Callable[[dict[str, Submission]], Counter[str]],
) -> Counter[str]:
    """How many arrived afterwards."""
    assert early is not None
    return retry_until_arrived(outage)


def test_the_queue_shows_what_waits_and_why(relay: str, outage: dict[str, Submission], listed: dict[str, str]) -> None:
    lines = listed[relay].splitlines()
    (group,) = [line for line in lines if line.startswith("alpha.test ")]
    assert "timed out while connecting" in group
    (line,) = [line for line in lines if outage[relay].recipient in line]
    assert f"<{outage[relay].sender}>" in line
    assert "smarthost1.postroad.test" in line
    assert "connect" in line


def test_it_waits_for_its_time(relay: str, outage: dict[str, Submission], early: Counter[str]) -> None:
    assert early[outage[relay].token] == 0


def test_queue_retry_sends_it_on(relay: str, outage: dict[str, Submission], retried: Counter[str]) -> None:
    assert retried[outage[relay].token] == 1


def test_nothing_stays_in_the_queue(relay: str, retried: Counter[str], relays: dict[str, Relay]) -> None:
    assert retried
    assert relays[relay].left_in_queue() == []
