# SPDX-License-Identifier: GPL-3.0-or-later
"""The TLSA record fits, but no STARTTLS is offered: what somebody in the middle would do."""

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from lab.topology import Address, Lab
from traffic.mail_programs import Submission
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

RELAYS = ["relay1", "relay2"]

each_relay = pytest.mark.parametrize("relay", RELAYS)


@dataclass(frozen=True)
class Stripped:
    """The time without STARTTLS: what was sent, how it waits in the queue, what the mail host logged."""

    sent: dict[str, Submission]
    deferred: dict[str, tuple[str, dict[str, Any]]]
    log: str


@pytest.fixture(scope="module")
def stripped(
    send_by_each: Callable[[str], dict[str, Submission]],
    wait_in_queue: Callable[[dict[str, Submission]], dict[str, tuple[str, dict[str, Any]]]],
    relays: dict[str, Relay],
    on: Callable[[str], Any],
    lab: Lab,
) -> Stripped:
    """STARTTLS is offered again when the tests get it."""
    mx = on("mx")
    for relay in relays.values():
        relay.restart()  # so that no session from before is used
    mx.check_output("postconf -e smtpd_tls_security_level=none && systemctl restart postfix")
    try:
        since = mx.check_output("journalctl --lines=0 --show-cursor | sed -n 's/^-- cursor: //p'")
        sent = send_by_each("signed.test")
        deferred = wait_in_queue(sent)
        log = _log_of_sessions(mx, since, [lab.hosts[relay].address for relay in RELAYS])
    finally:
        mx.check_output("postconf -e smtpd_tls_security_level=may && systemctl restart postfix")
    return Stripped(sent, deferred, log)


def _log_of_sessions(mx: Any, since: str, relays: list[Address]) -> str:
    """What Postfix logged, as soon as a session of each relay has ended there: the relay has its answer before."""
    deadline = time.monotonic() + 30
    while True:
        log: str = mx.check_output(
            "journalctl --sync && journalctl --output=cat --unit=postfix@-.service --after-cursor=%s", since
        )
        if all(_sessions(log, relay) for relay in relays) or time.monotonic() > deadline:
            return log
        time.sleep(0.5)


def _sessions(log: str, relay: Address) -> list[str]:
    """The commands of each session of a relay that has ended."""
    ended = re.findall(r"disconnect from \S*\[(.*)\] (.*)", log)
    return [commands for address, commands in ended if address in (relay.ipv4, relay.ipv6)]


@each_relay
def test_mail_waits_and_the_reason_is_in_words(relay: str, stripped: Stripped) -> None:
    _, recipient = stripped.deferred[relay]
    assert recipient["last_status"] == "4.7.4"
    assert "the server offers no STARTTLS" in recipient["last_reply"]


@each_relay
def test_nothing_goes_in_the_clear(relay: str, stripped: Stripped, lab: Lab, mailboxes: Mailboxes) -> None:
    sessions = _sessions(stripped.log, lab.hosts[relay].address)
    assert sessions, stripped.log
    for commands in sessions:
        assert "ehlo=1" in commands
        assert "mail=" not in commands
    assert stripped.sent[relay].token not in mailboxes.files()


@pytest.fixture(scope="module")
def arrived(stripped: Stripped, retry_until_arrived: Callable[[dict[str, Submission]], Counter[str]]) -> Counter[str]:
    """What arrives once STARTTLS is offered again."""
    return retry_until_arrived(stripped.sent)


@each_relay
def test_it_goes_on_with_starttls(relay: str, stripped: Stripped, arrived: Counter[str]) -> None:
    assert arrived[stripped.sent[relay].token] == 1
