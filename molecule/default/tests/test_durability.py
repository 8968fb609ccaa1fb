# SPDX-License-Identifier: GPL-3.0-or-later
"""What a relay accepted arrives, whatever happens to it and to the other side in between."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from traffic.mail_programs import Submission
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay


@pytest.fixture(scope="module")
def outage(
    on: Callable[[str], Any],
    relays: dict[str, Relay],
    compose: Callable[..., Submission],
    submit: Callable[[Submission], Any],
    power: Callable[..., None],
) -> dict[str, Submission]:
    """Messages that were accepted while the mail host was down, by what their relay went through since.

    The mail host is up again when the tests get them.
    """
    mx = on("mx")
    accepted: dict[str, Submission] = {}

    def accept(fate: str, relay: str) -> None:
        submission = accepted[fate] = compose(relay)
        outcome = submit(submission)
        assert outcome.rc == 0, outcome.stdout + outcome.stderr

    mx.check_output("systemctl stop postfix")
    try:
        accept("left alone", "relay2")
        accept("killed and rebooted", "relay1")
        for fate, relay in (("left alone", "relay2"), ("killed and rebooted", "relay1")):
            assert relays[relay].wait_until_deferred(accepted[fate].token, seconds=30), f"{fate}: never tried"
        before = relays["relay1"].main_pid()
        relays["relay1"].kill()
        assert relays["relay1"].wait_until_running(other_than=before), "relay1 did not come back after kill -9"
        accept("rebooted", "relay1")
        power("restart", "relay1")
        assert relays["relay1"].wait_until_running(), "the agent did not start with relay1"
        accept("power cut", "relay1")
        power("restart", "relay1", "--hard")
        assert relays["relay1"].wait_until_running(), "the agent did not start after the power cut"
    finally:
        mx.check_output("systemctl start postfix")
    return accepted


@pytest.fixture(scope="module")
def arrived(outage: dict[str, Submission], mailboxes: Mailboxes) -> Counter[str]:
    """How many messages lie in the mailboxes for each that was accepted."""
    return mailboxes.wait_for((submission.token for submission in outage.values()), seconds=60)


@pytest.mark.parametrize("fate", ["left alone", "killed and rebooted", "rebooted", "power cut"])
def test_accepted_while_mx_was_down(fate: str, outage: dict[str, Submission], arrived: Counter[str]) -> None:
    assert arrived[outage[fate].token] >= 1


@pytest.mark.parametrize("fate", ["left alone", "rebooted"])
def test_no_duplicate_without_a_crash(fate: str, outage: dict[str, Submission], arrived: Counter[str]) -> None:
    assert arrived[outage[fate].token] == 1


def test_the_firewall_is_back_after_a_reboot(outage: dict[str, Submission], relays: dict[str, Relay]) -> None:
    assert outage
    assert "table inet postroad" in relays["relay1"].host.check_output("nft list tables")
