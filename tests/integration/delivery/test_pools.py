# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools of upstream relays: what one does not take the next does, and one that is well again comes back."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relay_agent.delivery import destination
from relay_agent.delivery.routing import health, port25
from tests.integration.certificates import Certificate, make_certificate
from tests.ports import free_port

from .conftest import MakeRelay, Relay
from .peers import Sink, Smarthost

MakeSink = Callable[..., Sink]
BEHIND = "127.0.2.7"  # where the smarthost hands mail on to


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The client certificate that the smarthost knows."""
    return make_certificate(tmp_path_factory.mktemp("known"), "relay.test")


@pytest.fixture(scope="module")
def smarthost(workplace: Path, smtp_port: int, known: Certificate) -> Iterator[Smarthost]:
    """Takes SCRAM-SHA-256 and nothing else, or the one certificate that it knows."""
    directory = Path(tempfile.mkdtemp(dir=workplace))
    directory.chmod(0o755)
    clients = directory / "clients"
    clients.write_text(f"{_fingerprint(known)} relay.test\n")
    certificate = make_certificate(directory, "smart.test")
    rights = "permit_sasl_authenticated, permit_tls_clientcerts, reject"
    host = Smarthost(
        directory,
        "127.0.2.5",
        free_port(),
        free_port(),
        certificate,
        f"[{BEHIND}]:{smtp_port}",
        mechanisms="SCRAM-SHA-256",
        extra="smtpd_tls_ask_ccert = yes\nsmtpd_tls_fingerprint_digest = sha256\n"
        f"relay_clientcerts = texthash:{clients}\n"
        f"smtpd_relay_restrictions = {rights}\nsmtpd_recipient_restrictions = {rights}\n",
    )
    try:
        yield host.start()
    finally:
        host.stop()


def _fingerprint(certificate: Certificate) -> str:
    """As Postfix writes it."""
    der = ssl.PEM_cert_to_DER_cert(certificate.certificate.read_text())
    return hashlib.sha256(der).digest().hex(":").upper()


@pytest.fixture
def secret(smarthost: Smarthost, tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{smarthost.password}\n")
    return path


def _smart(smarthost: Smarthost, secret: Path | None, **changes: Any) -> dict[str, Any]:
    hop = {
        "host": "smart.test",
        "port": smarthost.starttls_port,
        "ca_file": str(smarthost.certificate.certificate),
    }
    if secret is not None:
        hop |= {"username": smarthost.username, "password_file": str(secret)}
    return hop | changes


def _state(relay: Relay, place: int = 0) -> dict[str, Any]:
    upstreams: list[dict[str, Any]] = relay.dispatcher.snapshot()["upstreams"]
    return upstreams[place]


async def test_scram_against_cyrus(relay: MakeRelay, sink: MakeSink, smarthost: Smarthost, secret: Path) -> None:
    behind = sink(BEHIND)
    sender = await relay(routes=[{"via": [_smart(smarthost, secret)]}])
    await sender.send("bob@alpha.test")
    await sender.outcome("delivered", seconds=20)
    await sender.until(behind.received, "the message behind the smarthost")
    assert "ESMTPSA" in behind.received()[0].parsed["Received"]
    assert "SCRAM-SHA-256" in smarthost.log()
    assert smarthost.password not in repr(sender.events.seen)


async def test_a_client_certificate(relay: MakeRelay, sink: MakeSink, smarthost: Smarthost, known: Certificate) -> None:
    behind = sink(BEHIND)
    hop = _smart(smarthost, None, client_certificate=str(known.certificate), client_key=str(known.key))
    sender = await relay(routes=[{"via": [hop]}])
    await sender.send("bob@alpha.test")
    await sender.outcome("delivered", seconds=20)
    await sender.until(behind.received, "the message behind the smarthost")


async def test_another_client_certificate_of_the_same_name_is_refused(
    relay: MakeRelay, sink: MakeSink, smarthost: Smarthost, tmp_path: Path
) -> None:
    behind = sink(BEHIND)
    own = make_certificate(tmp_path, "relay.test")
    hop = _smart(smarthost, None, client_certificate=str(own.certificate), client_key=str(own.key))
    sender = await relay(routes=[{"via": [hop]}])
    await sender.send("bob@alpha.test", sender="")
    (event,) = await sender.outcome("failed", seconds=20)
    assert event["status"].startswith("5.7.")
    assert not behind.received()


async def test_a_refused_sign_in_and_the_way_back(
    relay: MakeRelay,
    sink: MakeSink,
    smarthost: Smarthost,
    secret: Path,
    smtp_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "FIRST_REST", 6.0)  # a wrong password is answered in a second or two
    behind, other = sink(BEHIND), sink("127.0.2.6")
    await asyncio.to_thread(secret.write_text, "wrong\n")
    second = {"host": "upstream.test", "port": smtp_port, "tls": "none"}
    sender = await relay(routes=[{"via": [_smart(smarthost, secret), second]}])
    await sender.send("bob@alpha.test")
    await sender.outcome("delivered", seconds=20)
    assert not sender.events.named("deferred")
    assert len(other.received()) == 1
    shown = _state(sender)
    assert (shown["state"], shown["cause"], shown["failures"]) == ("rests", "sign_in", 1)
    assert "sign-in refused" in shown["last_error"]
    (event,) = sender.events.named("host_rests")
    assert event["cause"] == "sign_in"
    await sender.send("carol@alpha.test")
    await sender.outcome("delivered", 2)
    assert len(other.received()) == 2  # not even tried at the first
    await asyncio.to_thread(secret.write_text, f"{smarthost.password}\n")
    await asyncio.sleep(6.7)
    await sender.send("dave@alpha.test")
    await sender.outcome("delivered", 3, seconds=20)
    await sender.until(behind.received, "the message behind the smarthost")
    assert _state(sender)["state"] == "well"
    assert len(sender.events.named("host_recovered")) == 1


@pytest.mark.parametrize(
    ("options", "tls", "cause"),
    [
        (None, "none", "connection"),
        (("-Q", "MAIL"), "none", "refused"),
        (("-r", "MAIL"), "none", "refused"),
        (("-r", "MAIL", "-b", "451 4.7.1 slow down"), "none", "throttled"),
        (("-r", "CONNECT", "-b", "451 4.7.1 slow down"), "none", "throttled"),
        (("-r", "DATA", "-b", "451 4.7.1 slow down"), "none", "throttled"),
        ((), "starttls", "tls"),
        ((), "implicit", "tls"),
    ],
    ids=["dead", "421", "450-to-mail", "451-to-mail", "451-to-connect", "451-to-data", "no-starttls", "no-tls"],
)
async def test_the_next_takes_over(
    relay: MakeRelay, sink: MakeSink, smtp_port: int, options: tuple[str, ...] | None, tls: str, cause: str
) -> None:
    if options is not None:
        sink("127.0.2.4", *options)
    good = sink("127.0.2.6")
    first = {"host": "fault.test", "port": smtp_port, "tls": tls}
    sender = await relay(routes=[{"via": [first, {"host": "upstream.test", "port": smtp_port, "tls": "none"}]}])
    await sender.send("bob@alpha.test")
    await sender.outcome("delivered", seconds=20)
    assert not sender.events.named("deferred")
    assert len(good.received()) == 1
    assert (_state(sender)["state"], _state(sender)["cause"]) == ("rests", cause)
    assert _state(sender, 1)["state"] == "well"


async def test_weights_divide_the_sessions(
    relay: MakeRelay, sink: MakeSink, smtp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destination, "_IDLE_FOR", 0.0)  # a session for each message
    often, seldom = sink("127.0.2.4"), sink("127.0.2.6")
    hops = [
        {"host": host, "port": smtp_port, "tls": "none", "priority": 1, "weight": weight}
        for host, weight in (("fault.test", 3), ("upstream.test", 1))
    ]
    sender = await relay(routes=[{"via": hops}])
    for count in range(1, 241):
        await sender.send("bob@alpha.test")
        await sender.outcome("delivered", count)
    assert len(sender.events.named("connected")) >= 235
    # 180 and 60, give or take five standard deviations.
    assert 146 <= len(often.received()) <= 214
    assert len(often.received()) + len(seldom.received()) == 240


async def test_the_preferred_one_comes_back_under_load(
    relay: MakeRelay, sink: MakeSink, smtp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions with the second never pause; the first gets its probe all the same, and then all."""
    monkeypatch.setattr(health, "FIRST_REST", 0.5)
    second = sink("127.0.2.6")
    hops = [{"host": host, "port": smtp_port, "tls": "none"} for host in ("fault.test", "upstream.test")]
    sender = await relay(routes=[{"via": hops}])
    await sender.send("bob@alpha.test")
    await sender.outcome("delivered")
    first = sink("127.0.2.4")
    count = 1
    while not first.received():
        assert count < 200
        count += 1
        await sender.send("bob@alpha.test")
        await sender.outcome("delivered", count)
        await asyncio.sleep(0.03)
    before = len(second.received())
    for _ in range(5):
        count += 1
        await sender.send("bob@alpha.test")
        await sender.outcome("delivered", count)
    assert len(second.received()) == before


async def test_deferred_mail_goes_the_way_of_its_sender_after_a_change(
    relay: MakeRelay, sink: MakeSink, smtp_port: int
) -> None:
    one, two = sink("127.0.2.4"), sink("127.0.2.6")
    sender = await relay()
    await sender.send("bob@dead.test", sender="news@shop.test")
    await sender.send("bob@dead.test", sender="alice@home.test")
    await sender.outcome("deferred", 2)
    routes = [
        {"senders": ["shop.test"], "via": [{"host": "fault.test", "port": smtp_port, "tls": "none"}]},
        {"via": [{"host": "upstream.test", "port": smtp_port, "tls": "none"}]},
    ]
    changed = type(sender.config).model_validate({**sender.config.model_dump(), "route": routes})
    sender.dispatcher.reconfigure(changed)
    await sender.outcome("delivered", 2)
    assert one.received()[0].sender.startswith("<news@shop.test>")
    assert two.received()[0].sender.startswith("<alice@home.test>")


async def test_source_address_and_name_of_a_route(relay: MakeRelay, sink: MakeSink) -> None:
    mx = sink()
    sender = await relay(routes=[{"mx": True, "source_address": "127.0.2.200", "helo": "out.relay.test"}])
    await sender.send("bob@alpha.test")
    await sender.outcome("delivered")
    (dump,) = mx.directory.glob("m.*")
    head = await asyncio.to_thread(dump.read_text)
    assert "127.0.2.200" in head
    assert "out.relay.test" in head


@pytest.mark.parametrize("hosts", [["127.0.2.9"], ["mx.dead.test", "127.0.2.9"]])
async def test_port_25_closed(relay: MakeRelay, sink: MakeSink, smtp_port: int, hosts: list[str]) -> None:
    instead, mx = sink("127.0.2.6"), sink()
    fallback = [{"host": "upstream.test", "port": smtp_port, "tls": "none"}]
    sender = await relay(port25_check=hosts, fallback_via=fallback)
    await sender.send("bob@alpha.test")
    await sender.outcome("delivered")
    assert (len(instead.received()), len(mx.received())) == (1, 0)
    shown = sender.dispatcher.snapshot()["port25"]
    assert (shown["state"], shown["instead"]) == ("closed", f"upstream.test:{smtp_port}")
    assert sender.events.named("port25")[0]["level"] == "warning"


async def test_port_25_open_by_one_of_them_and_closed_later(
    relay: MakeRelay, sink: MakeSink, smtp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port25, "_EVERY", 0.5)
    watched, instead, mx = sink("127.0.2.3"), sink("127.0.2.6"), sink()
    fallback = [{"host": "upstream.test", "port": smtp_port, "tls": "none"}]
    sender = await relay(port25_check=["127.0.2.9", "second.two.test"], fallback_via=fallback)
    await sender.send("bob@alpha.test")
    await sender.outcome("delivered")
    assert (len(instead.received()), len(mx.received())) == (0, 1)
    assert not watched.received()  # nothing but a greeting
    watched.stop()
    await sender.until(lambda: sender.dispatcher.snapshot()["port25"]["state"] == "closed", "closed")
    await sender.send("bob@alpha.test")
    await sender.outcome("delivered", 2)
    assert len(instead.received()) == 1


async def test_without_addresses_nothing_is_known_of_port_25(relay: MakeRelay, sink: MakeSink) -> None:
    sink()
    sender = await relay(port25_check=["missing.test"])
    await sender.until(lambda: sender.dispatcher.snapshot()["port25"]["looked_at"], "the look")
    assert sender.dispatcher.snapshot()["port25"]["state"] == "unknown"
    await sender.send("bob@alpha.test")
    await sender.outcome("delivered")


@pytest.mark.parametrize(("domain", "status"), [("two.test", None), ("alpha.test", "5.4.6"), ("plain.test", "5.4.6")])
async def test_mail_for_our_own_address_does_not_go_in_a_circle(
    relay: MakeRelay, sink: MakeSink, smtp_port: int, domain: str, status: str | None
) -> None:
    """A listener has the MX port at the address of alpha's only host and of two's second one."""
    first = sink("127.0.2.2")
    address = "127.0.2.1" if status else "127.0.2.3"
    listener = {"address": address, "port": smtp_port, "tls": "none", "auth": "none"}
    sender = await relay(sections={"listener": [listener]})
    await sender.send(f"bob@{domain}", sender="")
    if status is None:
        await sender.outcome("delivered")
        assert len(first.received()) == 1
        return
    (event,) = await sender.outcome("failed")
    assert event["status"] == status
    assert "in a circle" in event["reply"]
