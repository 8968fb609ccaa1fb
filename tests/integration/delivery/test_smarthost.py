# SPDX-License-Identifier: GPL-3.0-or-later
"""Through an upstream relay: a real Postfix with STARTTLS, implicit TLS and SASL."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.certificates import make_certificate
from tests.ports import free_port

from .conftest import MakeRelay
from .peers import Sink, Smarthost

MakeSink = Callable[..., Sink]
BEHIND = "127.0.2.7"  # where the smarthost hands mail on to


def _directory(workplace: Path) -> Path:
    directory = Path(tempfile.mkdtemp(dir=workplace))
    directory.chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def smarthost(workplace: Path, smtp_port: int) -> Iterator[Smarthost]:
    directory = _directory(workplace)
    certificate = make_certificate(directory, "smart.test")
    host = Smarthost(directory, "127.0.2.5", free_port(), free_port(), certificate, f"[{BEHIND}]:{smtp_port}")
    try:
        yield host.start()
    finally:
        host.stop()


@pytest.fixture
def secret(smarthost: Smarthost) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile("w", suffix=".password") as file:
        file.write(f"{smarthost.password}\n")
        file.flush()
        yield Path(file.name)


def _hop(smarthost: Smarthost, secret: Path, *, tls: str = "starttls", **changes: Any) -> dict[str, Any]:
    hop = {
        "host": "smart.test",
        "port": smarthost.implicit_port if tls == "implicit" else smarthost.starttls_port,
        "tls": tls,
        "username": smarthost.username,
        "password_file": str(secret),
        "ca_file": str(smarthost.certificate.certificate),
    }
    hop.update(changes)
    return {key: value for key, value in hop.items() if value is not None}


def _via(*hops: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"domains": ["*"], "via": list(hops)}]


@pytest.mark.parametrize("auth", ["plain", "login"])
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_signed_in_over_verified_tls(
    relay: MakeRelay, sink: MakeSink, smarthost: Smarthost, secret: Path, tls: str, auth: str
) -> None:
    behind = sink(BEHIND)
    signed_in = f"sasl_method={auth.upper()}, sasl_username={smarthost.username}"
    before = smarthost.log().count(signed_in)
    sender = await relay(routes=_via(_hop(smarthost, secret, tls=tls, auth=auth)))
    await sender.send("bob@alpha.test", "carol@nowhere.test")
    events = await sender.outcome("delivered", 2)
    assert {event["host"] for event in events} == {"smart.test"}
    await sender.until(behind.received, "the message behind the smarthost")
    (received,) = behind.received()
    assert "ESMTPSA" in received.parsed["Received"]
    await sender.until(lambda: smarthost.log().count(signed_in) > before, "the sign-in in its log")
    assert smarthost.log().count(signed_in) == before + 1
    shown = repr(sender.events.seen)
    assert smarthost.password not in shown


async def test_wrong_password_defers_and_a_mended_one_counts_at_the_next_attempt(
    relay: MakeRelay, sink: MakeSink, smarthost: Smarthost, secret: Path
) -> None:
    behind = sink(BEHIND)
    await asyncio.to_thread(secret.write_text, "wrong\n")
    sender = await relay(routes=_via(_hop(smarthost, secret)))
    await sender.send("bob@alpha.test")
    (event,) = await sender.outcome("deferred", seconds=20)
    assert event["status"] == "4.7.8"
    assert event["reply"].startswith("sign-in refused: 535")
    await asyncio.to_thread(secret.write_text, f"{smarthost.password}\n")
    await sender.outcome("delivered", seconds=20)
    await sender.until(behind.received, "the message behind the smarthost")


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"ca_file": None}, "4.7.5", "certificate not accepted"),
        ({"host": "upstream.test"}, "4.4.1", "refused"),
        ({"host": "127.0.2.5"}, "4.7.5", "certificate not accepted"),
        ({"host": "missing.test"}, "4.4.3", "not found in DNS"),
        ({"password_file": "/nonexistent/secret"}, "4.3.5", "/nonexistent/secret cannot be read"),
        ({"ca_file": "/nonexistent/ca"}, "4.3.5", "/nonexistent/ca cannot be used"),
        ({"username": None, "password_file": None}, "5.7.1", "Recipient address rejected"),
    ],
)
async def test_trouble_with_the_upstream_is_told_in_words(
    relay: MakeRelay, smarthost: Smarthost, secret: Path, change: dict[str, Any], status: str, words: str
) -> None:
    sender = await relay(routes=_via(_hop(smarthost, secret, **change)))
    await sender.send("bob@alpha.test", sender="")
    (event,) = await sender.outcome("failed" if status[0] == "5" else "deferred", seconds=20)
    assert event["status"] == status
    assert words in event["reply"]


async def test_tls_is_mandatory(relay: MakeRelay, sink: MakeSink, smtp_port: int, secret: Path) -> None:
    plain = sink("127.0.2.6")  # offers no STARTTLS, but would take any sign-in
    hop = {"host": "upstream.test", "port": smtp_port, "tls": "starttls", "username": "u", "password_file": str(secret)}
    sender = await relay(routes=_via(hop))
    await sender.send("bob@alpha.test")
    (event,) = await sender.outcome("deferred")
    assert event["status"] == "4.7.4"
    assert not plain.received()


async def test_the_next_upstream_takes_over(
    relay: MakeRelay, sink: MakeSink, smarthost: Smarthost, secret: Path, smtp_port: int
) -> None:
    behind = sink(BEHIND)
    sink("127.0.2.6", "-Q", "MAIL")  # 421 to everything
    throttled = {"host": "upstream.test", "port": smtp_port, "tls": "none"}
    silent = {"host": "mx.dead.test", "port": smtp_port, "tls": "none"}
    refused = _hop(smarthost, secret, username="nobody@smart.test")
    sender = await relay(routes=_via(silent, throttled, refused, _hop(smarthost, secret)))
    await sender.send("bob@alpha.test")
    await sender.outcome("delivered", seconds=20)
    assert not sender.events.named("deferred")
    await sender.until(behind.received, "the message behind the smarthost")


async def test_a_changed_route_takes_queued_mail_along(
    relay: MakeRelay, sink: MakeSink, smarthost: Smarthost, secret: Path
) -> None:
    behind = sink(BEHIND)
    sender = await relay()
    await sender.send("bob@dead.test")
    await sender.outcome("deferred")
    routed = _with_routes(sender.config, _via(_hop(smarthost, secret)))
    sender.dispatcher.reconfigure(routed)
    await sender.outcome("delivered")
    await sender.until(behind.received, "the message behind the smarthost")


def _with_routes(config: Any, routes: list[dict[str, Any]]) -> Any:
    """The configuration with other routes."""
    return type(config).model_validate({**config.model_dump(), "route": routes})


@pytest.mark.parametrize(
    ("protocols", "protocol"), [(">=TLSv1.2", "ESMTPS"), ("<=TLSv1", "ESMTP")], ids=["works", "broken"]
)
async def test_opportunistic_tls_to_an_mx(
    relay: MakeRelay, sink: MakeSink, workplace: Path, smtp_port: int, protocols: str, protocol: str
) -> None:
    """An MX with a self-signed certificate gets mail encrypted; one whose handshake fails gets it in the clear."""
    behind = sink(BEHIND)
    directory = _directory(workplace)
    extra = f"smtpd_tls_security_level = may\nsmtpd_tls_protocols = {protocols}\n"
    extra += "smtpd_relay_restrictions = permit_mynetworks, reject\nsmtpd_recipient_restrictions =\n"
    certificate = make_certificate(directory, "mx.alpha.test")
    mx = Smarthost(directory, "127.0.2.1", smtp_port, free_port(), certificate, f"[{BEHIND}]:{smtp_port}", extra=extra)
    try:
        mx.start()
        sender = await relay()
        await sender.send("bob@alpha.test", content=b"Subject: to the MX\r\n\r\n")
        await sender.outcome("delivered")
        await sender.until(behind.received, "the message behind the MX")
        assert f" with {protocol} " in behind.received()[0].parsed["Received"]
        assert len(sender.events.named("tls_fallback")) == (protocol == "ESMTP")
    finally:
        mx.stop()
