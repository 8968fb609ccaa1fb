# SPDX-License-Identifier: GPL-3.0-or-later
"""DANE (RFC 7672): signed zones on nsd, a validating unbound, a Postfix with STARTTLS; and who asked for more."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay_agent.observability.measured import OUTGOING_TLS_DEMANDS

from .conftest import MakeRelay
from .peers import listens, wait_for
from .tls_world import CHAINED, MUTE, NEXT_RELAY, SELF_SIGNED, TlsWorld


@pytest.mark.parametrize("name", ["ee", "whole", "ta", "ta-next", "alias", "unusable", "without"])
async def test_delivered_over_tls(relay: MakeRelay, world: TlsWorld, name: str) -> None:
    """Names and dates do not matter for DANE-EE(3): the certificate has ended. An alias has the records of the host
    it leads to. Records that cannot be used ask for encryption alone."""
    sender = await relay(**world.delivery)
    address = CHAINED if name.startswith("ta") else SELF_SIGNED

    def with_mail() -> list[dict[str, int]]:
        # The look at whether the host listens is a session, too, and may end late.
        return [session for session in world.exchangers.sessions(address) if "mail" in session]

    before = len(with_mail())
    await sender.send(f"bob@{name}.signed.test")
    await sender.outcome("delivered")
    assert not sender.events.named("tls_fallback")
    await sender.dispatcher.stop(1.0)
    await sender.until(lambda: world.exchangers.took(f"bob@{name}.signed.test"), "the message")
    await sender.until(lambda: len(with_mail()) > before, "the end of the session")
    (ours,) = with_mail()[before:]
    assert ours["starttls"] == 1
    assert ours["mail"] == 1


@pytest.mark.parametrize(
    ("domain", "status", "words"),
    [
        ("wrong.signed.test", "4.7.5", "matches none of the TLSA records (3 1 1 abababab"),
        ("half.signed.test", "4.7.5", "(3 1 1 cdcdcdcd"),
        ("ta-name.signed.test", "4.7.5", "is for mx.ta.signed.test"),
        ("ta-late.signed.test", "4.7.5", "ended on"),
        ("stripped.signed.test", "4.7.4", "the server offers no STARTTLS"),
        ("unusable-mute.signed.test", "4.7.4", "the server offers no STARTTLS"),
        ("tampered.signed.test", "4.7.5", "the signatures (DNSSEC) do not validate"),
        ("ee.bogus.test", "4.7.5", "the signatures (DNSSEC) do not validate"),
    ],
)
async def test_deferred_with_the_reason(
    relay: MakeRelay, world: TlsWorld, domain: str, status: str, words: str
) -> None:
    """And no mail, nor the name of a recipient, goes to the host."""
    sender = await relay(**world.delivery)
    before = {address: len(world.exchangers.sessions(address)) for address in world.exchangers.certificates}
    await sender.send(f"bob@{domain}")
    (event,) = await sender.outcome("deferred")
    assert event["status"] == status
    assert words in event["reply"]
    if "bogus" not in domain and "tampered" not in domain:
        port = world.smtp_port
        assert f"_{port}._tcp.mx.{domain} (DANE, RFC 7672)" in event["reply"]
    await asyncio.sleep(0.2)
    for address, number in before.items():
        for session in world.exchangers.sessions(address)[number:]:
            assert "mail" not in session
            assert "data" not in session
    assert not world.exchangers.took(f"bob@{domain}")
    assert not sender.events.named("delivered")


@pytest.mark.parametrize(
    ("domain", "demand"),
    [("ee.signed.test", "dane"), ("unusable.signed.test", "encrypted"), ("clear.open.test", "opportunistic")],
)
async def test_what_was_demanded_is_counted(relay: MakeRelay, world: TlsWorld, domain: str, demand: str) -> None:
    sender = await relay(**world.delivery)
    before = dict(OUTGOING_TLS_DEMANDS)
    await sender.send(f"bob@{domain}")
    await sender.outcome("delivered")
    grown = {kind for kind, count in OUTGOING_TLS_DEMANDS.items() if count > before.get(kind, 0)}
    assert grown == {demand}


async def test_each_host_is_held_to_its_own_records(relay: MakeRelay, world: TlsWorld) -> None:
    """The first host's certificate is wrong; the second has no TLSA records, which is signed, too (RFC 7672 2.2)."""
    sender = await relay(**world.delivery)
    await sender.send("bob@pair.signed.test")
    (event,) = await sender.outcome("delivered")
    assert event["host"] == "mx.without.signed.test"
    (trouble,) = sender.events.named("connection_trouble")
    assert trouble["host"].startswith("mx.wrong.signed.test")


async def test_an_unsigned_zone_is_opportunistic(relay: MakeRelay, world: TlsWorld) -> None:
    """The TLSA record there matches nothing, and does not count."""
    sender = await relay(**world.delivery)
    await sender.send("bob@insecure.open.test", "bob@clear.open.test")
    await sender.outcome("delivered", 2)


async def test_without_a_resolver_to_believe_there_is_no_dane(relay: MakeRelay, world: TlsWorld) -> None:
    sender = await relay(**world.delivery, dnssec="off")
    await sender.send("bob@wrong.signed.test")
    await sender.outcome("delivered")


@pytest.mark.parametrize(
    ("tls", "domain", "status", "words"),
    [
        ("required", "clear.open.test", "4.7.4", 'tls = "required"'),
        ("verified", "loose.open.test", "4.7.5", 'tls = "verified"'),
        ("verified", "clear.open.test", "4.7.4", 'tls = "verified"'),
    ],
)
async def test_the_operator_asks_for_more(
    relay: MakeRelay, world: TlsWorld, tls: str, domain: str, status: str, words: str
) -> None:
    policy = [{"domains": ["*.open.test"], "tls": tls}, {"domains": ["*"], "tls": "opportunistic"}]
    sender = await relay(**world.delivery, sections={"tls_policy": policy}, mta_sts=False)
    await sender.send(f"carol@{domain}")
    (event,) = await sender.outcome("deferred")
    assert event["status"] == status
    assert words in event["reply"]
    assert not world.exchangers.took(f"carol@{domain}")


async def test_the_operator_gets_what_he_asks_for(relay: MakeRelay, world: TlsWorld) -> None:
    """`required` takes any certificate, `verified` one that DANE or an authority vouches for."""
    policy = [{"domains": ["loose.open.test"], "tls": "required"}]
    sender = await relay(**world.delivery, tls="verified", sections={"tls_policy": policy}, mta_sts=False)
    await sender.send("bob@loose.open.test", "bob@ee.signed.test", "bob@sts.open.test")
    await sender.outcome("delivered", 3)


@pytest.fixture
def next_relay(world: TlsWorld, tmp_path: Path) -> Iterator[Path]:
    """Another relay of ours as the MX host: what offers REQUIRETLS. The file of its log."""
    config, log = tmp_path / "next.toml", tmp_path / "next.log"
    config.write_text(
        f"""hostname = "next.test"
[[listener]]
address = "{NEXT_RELAY}"
port = {world.smtp_port}
tls = "starttls"
auth = "none"
[tls]
certificate = "{world.next_relay.certificate}"
key = "{world.next_relay.key}"
[submission]
trusted_networks = ["127.0.0.0/8"]
[queue]
directory = "{tmp_path}/next"
[process]
workers = 1
[control]
socket = "{tmp_path}/control"
[delivery]
resolvers = ["127.0.0.1:{world.dns.port}"]
smtp_port = {world.smtp_port}
port25_check = []
[[route]]
domains = ["*"]
via = [{{ host = "{MUTE}", port = {world.smtp_port}, tls = "none" }}]
"""
    )
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "relay_agent", "serve", "--config", str(config)],
            stdout=out,
            stderr=out,
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    wait_for(lambda: process.poll() is not None or listens(NEXT_RELAY, world.smtp_port), "the next relay", 20)
    try:
        assert process.poll() is None, log.read_text()
        yield log
    finally:
        process.terminate()
        process.wait(30)


def _events(log: Path, name: str) -> list[dict[str, Any]]:
    whole = log.read_text().rpartition("\n")[0]  # the last line may be half written yet
    lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    return [each for each in lines if each["event"] == name]


@pytest.mark.parametrize("domain", ["tls.signed.test", "tls.open.test", "vouched.open.test"])
async def test_requiretls_is_carried(relay: MakeRelay, world: TlsWorld, next_relay: Path, domain: str) -> None:
    """With DANE, with MTA-STS, with `verified`. The next relay has only a way without TLS to go on: that it fails
    there shows that REQUIRETLS arrived."""
    policy = [{"domains": ["vouched.open.test"], "tls": "verified"}]
    sender = await relay(**world.delivery, sections={"tls_policy": policy})
    await sender.send(f"bob@{domain}", REQUIRETLS="")
    await sender.outcome("delivered")
    await sender.until(lambda: _events(next_relay, "failed"), "the failure at the next relay")
    (failed,) = _events(next_relay, "failed")
    assert failed["recipient"] == f"bob@{domain}"
    assert failed["status"] == "5.7.30"


async def test_an_offer_of_requiretls_is_not_enough(relay: MakeRelay, world: TlsWorld, next_relay: Path) -> None:
    """The certificate would be good; but nobody vouches for the host's name, which came from unsigned DNS."""
    sender = await relay(**world.delivery)
    await sender.send("bob@vouched.open.test", sender="", REQUIRETLS="")
    await sender.outcome("delivered")  # news goes on all the same (RFC 8689 5)
    await sender.send("carol@vouched.open.test", sender="alice@ta.signed.test", REQUIRETLS="")
    (failed,) = await sender.outcome("failed")
    assert failed["status"] == "5.7.30"
    assert "can be verified" in failed["reply"]


@pytest.mark.parametrize("domain", ["loose.open.test", "ee.signed.test"])
async def test_requiretls_bounces_otherwise(relay: MakeRelay, world: TlsWorld, domain: str) -> None:
    """Where nobody vouches for the host's name; and where DANE does, but the server does not offer REQUIRETLS."""
    sender = await relay(**world.delivery)
    await sender.send(f"alice@{domain}", sender="alice@ta.signed.test", REQUIRETLS="")
    (failed,) = await sender.outcome("failed")
    assert failed["status"] == "5.7.30"
    assert ("does not offer REQUIRETLS" if domain == "ee.signed.test" else "can be verified") in failed["reply"]
    (bounce,) = await sender.outcome("delivered")
    assert bounce["recipient"] == "alice@ta.signed.test"
    assert not world.exchangers.took(f"alice@{domain}")
