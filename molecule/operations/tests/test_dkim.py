# SPDX-License-Identifier: GPL-3.0-or-later
"""rotate_dkim.yml with real DNS: what signs verifies at every moment."""

import json
import re
import secrets
import shlex
import smtplib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dkim
import dns.message
import dns.query
import pytest
from lab.topology import Lab
from traffic.mailboxes import Mailboxes
from traffic.operator import Run, message
from traffic.relays import Relay

DOMAIN = "alpha.test"
RELAYS = ["relay1", "relay2"]
_ZONE = re.compile(r"^\S+\._domainkey\.\S+ IN TXT (?:\([^)]*\)|\"[^\"]*\")", re.MULTILINE)


@dataclass
class Story:
    """The runs of two rotations, and the messages sent between them, as they arrived: by relay."""

    runs: dict[str, Run]
    messages: dict[str, dict[str, bytes]]
    keys: dict[str, dict[str, dict[str, str]]]
    verdicts: dict[str, dict[str, bool]]


@pytest.fixture(scope="module")
def published(lab: Lab) -> Callable[..., bytes]:
    """Looks a TXT record up at the zone's name server, as dkimpy wants it."""

    def look_up(name: str | bytes, timeout: float = 5) -> bytes:
        query = dns.message.make_query(name if isinstance(name, str) else name.decode(), "TXT")
        answer, _ = dns.query.udp_with_fallback(query, lab.resolver.address.ipv4, port=5353, timeout=timeout)
        return b"".join(string for rrset in answer.answer for record in rrset for string in record.strings)

    return look_up


@pytest.fixture(scope="module")
def send(
    sign_in: Callable[..., smtplib.SMTP], passwords: dict[str, str], mailboxes: Mailboxes
) -> Callable[[], dict[str, bytes]]:
    """A message by each relay, as the mail host has it."""

    def by_each() -> dict[str, bytes]:
        tokens = {relay: secrets.token_hex(6) for relay in RELAYS}
        for relay, token in tokens.items():
            recipient = f"bob+{token}@beta.test"
            with sign_in(relay, "alice", passwords["alice"]) as session:
                session.sendmail(f"alice@{DOMAIN}", [recipient], message(f"alice@{DOMAIN}", recipient, token))
        mailboxes.wait_for(tokens.values(), seconds=30)
        return {relay: mailboxes.octets(token) for relay, token in tokens.items()}

    return by_each


@pytest.fixture(scope="module")
def story(
    play: Callable[..., Run],
    on: Callable[[str], Any],
    relays: dict[str, Relay],
    send: Callable[[], dict[str, bytes]],
    published: Callable[..., bytes],
) -> Story:
    """From no keys to the first, to the second, to the first one's end."""
    told = Story({}, {}, {}, {})

    def step(name: str, *, check: bool = True, **variables: Any) -> Run:
        given = {f"rotate_dkim_{key}": value for key, value in variables.items()} | {"rotate_dkim_domain": DOMAIN}
        if check:
            told.runs[f"{name}, check"] = play("rotate_dkim", check=True, **given)
        told.runs[name] = play("rotate_dkim", **given)
        assert told.runs[name].status == 0, told.runs[name].output
        told.keys[name] = {relay: states(relays[relay]) for relay in RELAYS}
        told.messages[name] = send()
        told.verdicts[name] = {
            relay: dkim.verify(octets, dnsfunc=published) for relay, octets in told.messages[name].items()
        }
        return told.runs[name]

    def publish(output: str) -> None:
        records = "\n".join(_ZONE.findall(output)) + "\n"
        command = f"printf %s {shlex.quote(records)} >> /etc/nsd/zones/{DOMAIN} && systemctl restart nsd"
        on("dns").check_output(command)

    publish(step("made").output)
    step("active")
    publish(step("next made", check=False, after_days=0).output)
    step("next active", check=False)
    step("kept", check=False)
    step("gone", keep_days=0)
    return told


def states(relay: Relay) -> dict[str, str]:
    listing = json.loads(relay.host.check_output(f"relay-agent dkim keys {DOMAIN} --json"))
    return {key["selector"]: key["state"] for key in listing}


def selectors(octets: bytes) -> list[str]:
    header = octets.partition(b"\n\n")[0].replace(b"\n\t", b" ").replace(b"\n ", b" ")
    signatures = [line for line in header.split(b"\n") if line.lower().startswith(b"dkim-signature:")]
    return sorted(found.decode() for line in signatures for found in re.findall(rb"\bs=([^;\s]+)", line))


@pytest.mark.parametrize("stage", ["made", "active", "next made", "next active", "kept", "gone"])
def test_all_relays_have_the_same_keys_in_the_same_states(stage: str, story: Story) -> None:
    assert story.keys[stage]["relay1"] == story.keys[stage]["relay2"]
    count = {"made": 2, "active": 2, "next made": 4, "next active": 4, "kept": 4, "gone": 2}
    assert len(story.keys[stage]["relay1"]) == count[stage]


@pytest.mark.parametrize("relay", RELAYS)
def test_nothing_signs_before_its_record_is_there(relay: str, story: Story) -> None:
    assert selectors(story.messages["made"][relay]) == []
    assert "DNS does not have them everywhere" in story.runs["made"].output
    first = sorted(story.keys["active"][relay])
    assert selectors(story.messages["next made"][relay]) == first


@pytest.mark.parametrize("stage", ["active", "next made", "next active", "kept", "gone"])
@pytest.mark.parametrize("relay", RELAYS)
def test_what_is_signed_verifies_by_dns(relay: str, stage: str, story: Story) -> None:
    signing = sorted(name for name, state in story.keys[stage][relay].items() if state == "active")
    assert len(signing) == 2
    assert selectors(story.messages[stage][relay]) == signing
    assert story.verdicts[stage][relay]


@pytest.mark.parametrize("relay", RELAYS)
def test_mail_of_the_keys_before_verifies_in_the_overlap(
    relay: str, story: Story, published: Callable[..., bytes]
) -> None:
    assert dkim.verify(story.messages["next made"][relay], dnsfunc=published)
    assert "Leave the records of the keys before in DNS" in story.runs["kept"].output
    assert story.runs["kept"].changes == {}


@pytest.mark.parametrize("stage", ["made", "active", "gone"])
def test_the_check_showed_what_the_run_did(stage: str, story: Story) -> None:
    told, done = story.runs[f"{stage}, check"], story.runs[stage]
    assert told.status == 0, told.output
    assert told.changes == done.changes
    assert set(done.changes) == set(RELAYS)


def test_the_records_to_take_out_are_named(story: Story) -> None:
    gone = set(story.keys["kept"]["relay1"]) - set(story.keys["gone"]["relay1"])
    for selector in gone:
        assert f"{selector}._domainkey.{DOMAIN}. TXT" in story.runs["gone"].output


def test_no_key_is_shown(story: Story, relays: dict[str, Relay]) -> None:
    (path, *_) = relays["relay1"].host.check_output(f"ls /etc/postroad/dkim/{DOMAIN}/*.pem").splitlines()
    secret = relays["relay1"].host.check_output(f"grep -v -e ----- -e '#' -e : {path}").splitlines()[0]
    for run in story.runs.values():
        assert "PRIVATE KEY" not in run.output
        assert secret not in run.output


def test_a_misspelt_variable_is_refused(play: Callable[..., Run]) -> None:
    refused = play("rotate_dkim", rotate_dkim_domian=DOMAIN)
    assert refused.status != 0
    assert "did you mean rotate_dkim_domain?" in refused.output


def test_some_of_the_relays_are_not_enough(play: Callable[..., Run]) -> None:
    refused = play("rotate_dkim", "--limit=relay1", rotate_dkim_domain=DOMAIN)
    assert refused.status != 0
    assert "relay2 cannot be asked or is left out by --limit" in refused.output
