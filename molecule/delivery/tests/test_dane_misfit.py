# SPDX-License-Identifier: GPL-3.0-or-later
"""A TLSA record that does not fit: the certificate was changed and the record was not, or somebody is in the middle."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from traffic.fixtures import STATE
from traffic.mail_programs import Submission
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

pytestmark = pytest.mark.parametrize("relay", ["relay1", "relay2"])

ZONE = "/etc/nsd/zones/signed.test.plain"

Deferred = dict[str, tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def sent(send_by_each: Callable[[str], dict[str, Submission]]) -> dict[str, Submission]:
    """A message by each relay for the domain whose record does not fit."""
    return send_by_each("misfit.signed.test")


@pytest.fixture(scope="module")
def deferred(sent: dict[str, Submission], wait_in_queue: Callable[[dict[str, Submission]], Deferred]) -> Deferred:
    """How they wait in the queue."""
    return wait_in_queue(sent)


@pytest.fixture(scope="module")
def repaired(
    deferred: Deferred,
    sent: dict[str, Submission],
    on: Callable[[str], Any],
    retry_until_arrived: Callable[[dict[str, Submission]], Counter[str]],
) -> Iterator[Counter[str]]:
    """What arrives with a record that fits; the old one is back after the tests."""
    assert deferred
    fitting = (STATE / "delivery/tlsa").read_text().strip()
    dns = on("dns")
    dns.check_output(f"cp {ZONE} {ZONE}.before")
    dns.check_output(f"sed -i '/^_25._tcp.mx.misfit /s/[0-9a-f]*$/{fitting}/' {ZONE} && sign-zone signed.test")
    yield retry_until_arrived(sent)
    dns.check_output(f"mv {ZONE}.before {ZONE} && sign-zone signed.test")


def test_mail_waits_and_the_reason_is_in_words(relay: str, deferred: Deferred, relays: dict[str, Relay]) -> None:
    queue_id, recipient = deferred[relay]
    assert recipient["last_status"] == "4.7.5"
    story = relays[relay].host.check_output(f"relay-agent queue show {queue_id}")
    assert "matches none of the TLSA records (3 1 1 abababab" in story
    assert "_25._tcp.mx.misfit.signed.test (DANE, RFC 7672)" in story
    assert "no mail without proper TLS" in relays[relay].host.check_output("relay-agent queue list")


def test_nothing_reaches_the_host(
    relay: str, deferred: Deferred, sent: dict[str, Submission], on: Callable[[str], Any], mailboxes: Mailboxes
) -> None:
    assert deferred
    assert sent[relay].token not in mailboxes.files()
    assert sent[relay].token not in on("mx").check_output("journalctl --output=cat --unit=postfix@-.service")


def test_it_goes_on_when_the_record_is_put_right(
    relay: str, repaired: Counter[str], sent: dict[str, Submission]
) -> None:
    assert repaired[sent[relay].token] == 1
