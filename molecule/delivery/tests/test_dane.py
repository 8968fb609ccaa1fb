# SPDX-License-Identifier: GPL-3.0-or-later
"""DANE (RFC 7672): a signed zone says which certificate its MX host has, and it has that one."""

import re
from collections.abc import Callable

import pytest
from traffic.mail_programs import Submission
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

pytestmark = pytest.mark.parametrize("relay", ["relay1", "relay2"])


@pytest.fixture(scope="module")
def sent(send_by_each: Callable[[str], dict[str, Submission]], mailboxes: Mailboxes) -> dict[str, Submission]:
    """A message by each relay, and time for them to arrive."""
    messages = send_by_each("signed.test")
    mailboxes.wait_for((submission.token for submission in messages.values()), seconds=30)
    return messages


def test_mail_goes_over_tls(relay: str, sent: dict[str, Submission], mailboxes: Mailboxes) -> None:
    trace = mailboxes.read(sent[relay].token).get_all("Received", [])
    # The topmost is the mail host's own.
    assert re.match(rf"from {relay}\.postroad\.test .*\(using TLSv1\.[23] with cipher ", trace[0], re.DOTALL)


def test_the_relay_counts_it_as_dane(relay: str, sent: dict[str, Submission], relays: dict[str, Relay]) -> None:
    assert sent
    assert relays[relay].metric('postroad_outgoing_tls_demands_total{demand="dane"}') >= 1


def test_only_its_own_resolver_is_believed(relay: str, relays: dict[str, Relay]) -> None:
    """And dnssec is left to itself: it is on because the resolver is on the host."""
    settings = relays[relay].host.check_output("grep -E '^(resolvers|dnssec)' /etc/postroad/agent.toml")
    assert settings == 'resolvers = ["127.0.0.1"]'
