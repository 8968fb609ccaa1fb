# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys given by the role's variable: what arrives verifies by the records in DNS, whichever way it came."""

from collections.abc import Callable
from typing import Any

import dkim
import dns.message
import dns.query
import pytest
from lab.topology import Lab
from traffic.fixtures import STATE
from traffic.mail_programs import Submission
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

RELAYS = ["relay1", "relay2"]
# Straight to the MX host, and by a smarthost.
DOMAINS = ["signed.test", "beta.test"]

Sent = dict[tuple[str, str], Submission]


@pytest.fixture(scope="module")
def sent(
    compose: Callable[..., Submission], submit: Callable[[Submission], Any], mailboxes: Mailboxes
) -> dict[tuple[str, str], Submission]:
    """A message from the signing domain by each relay to each domain, and time for them to arrive."""
    messages = {
        (relay, domain): compose(relay, domain=domain, sender_domain="signed.test")
        for relay in RELAYS
        for domain in DOMAINS
    }
    for submission in messages.values():
        outcome = submit(submission)
        assert outcome.rc == 0, outcome.stdout + outcome.stderr
    mailboxes.wait_for((submission.token for submission in messages.values()), seconds=30)
    return messages


@pytest.fixture(scope="module")
def published(lab: Lab) -> Callable[..., bytes]:
    """Looks a TXT record up at the zone's own name server, as dkimpy wants it."""

    def look_up(name: str | bytes, timeout: float = 5) -> bytes:
        query = dns.message.make_query(name if isinstance(name, str) else name.decode(), "TXT")
        answer, _ = dns.query.udp_with_fallback(query, lab.resolver.address.ipv4, port=5353, timeout=timeout)
        return b"".join(string for rrset in answer.answer for record in rrset for string in record.strings)

    return look_up


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("relay", RELAYS)
def test_both_signatures_verify(
    relay: str, domain: str, sent: Sent, mailboxes: Mailboxes, published: Callable[..., bytes]
) -> None:
    message = mailboxes.octets(sent[relay, domain].token)
    signatures = mailboxes.read(sent[relay, domain].token).get_all("DKIM-Signature", [])
    assert sorted(_tag(signature, "s") for signature in signatures) == ["ed25519", "rsa"]
    assert {_tag(signature, "d") for signature in signatures} == {"signed.test"}
    for index in range(len(signatures)):
        assert dkim.DKIM(message).verify(idx=index, dnsfunc=published), signatures[index]


@pytest.mark.parametrize("relay", RELAYS)
def test_a_changed_message_does_not_verify(
    relay: str, sent: Sent, mailboxes: Mailboxes, published: Callable[..., bytes]
) -> None:
    message = mailboxes.octets(sent[relay, "signed.test"].token)
    assert not dkim.verify(message.replace(b"A line.", b"Another line."), dnsfunc=published)


@pytest.mark.parametrize("relay", RELAYS)
def test_the_operator_can_check_the_records(relay: str, relays: dict[str, Relay]) -> None:
    relays[relay].host.check_output("relay-agent dkim check signed.test")


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
@pytest.mark.parametrize("relay", RELAYS)
def test_a_key_is_for_the_agent_alone(relay: str, kind: str, relays: dict[str, Relay]) -> None:
    host = relays[relay].host
    key = host.file(f"/etc/postroad/secrets/{kind}._domainkey.signed.test.dkim")
    assert (key.user, key.group, key.mode) == ("root", "postroad", 0o640)
    middle = (STATE / f"delivery/{kind}.pem").read_text().splitlines()[1]
    assert host.run("grep -rqF -e %s /var/log /var/lib/postroad", middle).rc == 1


def _tag(signature: str, name: str) -> str:
    tags = dict(part.strip().split("=", 1) for part in signature.split(";") if part.strip())
    return tags[name]
