# SPDX-License-Identifier: GPL-3.0-or-later
"""MTA-STS (RFC 8461): policies on an HTTPS host, announced in DNS, and a Postfix at the MX hosts."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from .conftest import MakeRelay
from .tls_world import CHAINED, TlsWorld


@pytest.mark.parametrize("domain", ["sts.open.test", "off.open.test", "both.signed.test"])
async def test_delivered(relay: MakeRelay, world: TlsWorld, domain: str) -> None:
    """A certificate as the policy wants it; a policy that wants nothing; DANE, which comes before the policy."""
    sender = await relay(**world.delivery)
    await sender.send(f"dora@{domain}")
    await sender.outcome("delivered")
    assert sender.events.named("mta_sts_policy")[0]["domain"] == domain
    assert not sender.events.named("tls_fallback")


@pytest.mark.parametrize(
    ("domain", "status", "words"),
    [
        ("strange.open.test", "4.7.5", "certificate is not accepted (self-signed certificate in certificate chain)"),
        ("late.open.test", "4.7.5", "certificate is not accepted (certificate has expired)"),
        ("mute.open.test", "4.7.4", "the server offers no STARTTLS"),
        ("foreign.open.test", "4.7.5", "mail host mx.foreign.open.test matches no mx of the policy"),
    ],
)
async def test_enforced(relay: MakeRelay, world: TlsWorld, domain: str, status: str, words: str) -> None:
    sender = await relay(**world.delivery)
    await sender.send(f"dora@{domain}")
    (event,) = await sender.outcome("deferred")
    assert event["status"] == status
    assert words in event["reply"]
    assert "MTA-STS policy (mode enforce, RFC 8461)" in event["reply"]
    assert not world.exchangers.took(f"dora@{domain}")
    assert not sender.events.named("delivered")


@pytest.mark.parametrize("domain", ["trial.open.test", "trialmute.open.test", "trialforeign.open.test"])
async def test_testing_delivers_whatever_is_found(relay: MakeRelay, world: TlsWorld, domain: str) -> None:
    sender = await relay(**world.delivery)
    await sender.send(f"dora@{domain}")
    await sender.outcome("delivered")


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        ("webdown.open.test", "mta-sts.webdown.open.test"),
        ("webcert.open.test", "certificate of mta-sts.webcert.open.test not accepted"),
        ("moved.open.test", "HTTP status 302"),
        ("broken.open.test", "no version: STSv1"),
    ],
)
async def test_a_policy_that_cannot_be_had_is_none(relay: MakeRelay, world: TlsWorld, domain: str, words: str) -> None:
    """RFC 8461 3.3: there is nothing to hold the domain to. The log says why."""
    sender = await relay(**world.delivery)
    await sender.send(f"dora@{domain}")
    await sender.outcome("delivered")
    (event,) = sender.events.named("mta_sts_trouble")
    assert event["domain"] == domain
    assert words in event["reason"]


async def test_a_policy_outlives_its_host_and_a_restart(relay: MakeRelay, world: TlsWorld, tmp_path: Path) -> None:
    first = await relay(**world.delivery)
    await first.send("emil@strange.open.test")
    await first.outcome("deferred")
    file = tmp_path / "shared" / "mta-sts" / "strange.open.test"
    await first.until(file.exists, "the policy on the disk")
    world.web.stop()
    try:
        # The policy is a day old, so it is fetched again: in vain.
        kept = json.loads(file.read_text())
        kept["fetched"] = time.time() - 86_390
        file.write_text(json.dumps({**kept, "policy": kept["policy"].replace("86400", "172800"), "id": "older"}))
        second = await relay(**world.delivery)
        await second.send("emil@strange.open.test")
        (event,) = await second.outcome("deferred")
        assert "MTA-STS policy (mode enforce" in event["reply"]
        await second.outcome("mta_sts_trouble")
        assert not world.exchangers.took("emil@strange.open.test")
    finally:
        world.web.start()


async def test_a_new_policy_takes_the_place_of_the_old(relay: MakeRelay, world: TlsWorld, tmp_path: Path) -> None:
    """Another worker has kept an older one: the id in DNS is another, so the new one is fetched."""
    directory = tmp_path / "shared" / "mta-sts"
    directory.mkdir(parents=True)
    old = {"id": "older", "fetched": time.time() - 60, "policy": "version: STSv1\nmode: none\nmax_age: 86400"}
    (directory / "strange.open.test").write_text(json.dumps(old))
    sender = await relay(**world.delivery)
    await sender.send("frieda@strange.open.test")
    await sender.outcome("delivered")  # the old one still holds while the new one is fetched
    await sender.outcome("mta_sts_policy")
    sender.dispatcher.wake()
    await sender.send("gustav@strange.open.test")
    await sender.outcome("deferred")


async def test_requiretls_needs_an_offer_even_with_a_policy(relay: MakeRelay, world: TlsWorld) -> None:
    """The policy proves the host's name; Postfix does not offer REQUIRETLS, and that is then what is missing."""
    sender = await relay(**world.delivery)
    await sender.send("hanna@sts.open.test", sender="alice@ta.signed.test", REQUIRETLS="")
    (failed,) = await sender.outcome("failed")
    assert failed["status"] == "5.7.30"
    assert "does not offer REQUIRETLS" in failed["reply"]
    assert CHAINED in {event["address"] for event in sender.events.named("connected")}
