# SPDX-License-Identifier: GPL-3.0-or-later
"""How sessions begin: a port for clients that start with TLS and for those that wait, and ports behind a balancer."""

from __future__ import annotations

import asyncio
import base64
import smtplib
import ssl
import struct
import time
from contextlib import suppress
from ipaddress import ip_address

import pytest

from relay_agent.submission import opening

from .conftest import PASSWORD, Client, Relay, Running, eventually

TRUSTED = 'trusted_networks = ["192.0.2.0/24"]'
BEHIND = 'proxy_from = ["127.0.0.0/8"]'
V1 = b"PROXY TCP4 192.0.2.9 198.51.100.1 50000 587\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(source: str, port: int = 50000, *, command: int = 1, extra: bytes = b"") -> bytes:
    address = ip_address(source).packed
    rest = address + address + struct.pack("!HH", port, 587) + extra
    family = 0x11 if len(address) == 4 else 0x21
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(rest)) + rest


class TlsClient:
    """A TLS client whose every byte can be sent when the test wants."""

    def __init__(self, relay: Relay) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = relay.client_context().wrap_bio(self._in, self._out, server_hostname="relay.test")

    def hello(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._out.read()

    async def finish(self, client: Client) -> bytes:
        """End the handshake; the first bytes said over TLS."""
        done = False
        while True:
            data = await asyncio.wait_for(client.reader.read(65536), 30)
            assert data, "the relay hung up"
            self._in.write(data)
            try:
                if not done:
                    self._tls.do_handshake()
                    done = True
                    await client.send(self._out.read())
                return self._tls.read(1000)
            except ssl.SSLWantReadError:
                continue


async def test_auto_greets_who_waits(running: Running) -> None:
    async with running(tls="auto") as relay:
        client = await relay.connect(tls=False)
        begun = time.monotonic()
        assert (await client.line()).startswith("220 relay.test")
        assert 0.1 < time.monotonic() - begun < 10
        assert (await client.ask("EHLO laptop.test"))[:3] == "250"
        assert (await client.ask("MAIL FROM:<alice@alpha.test>")).startswith("530 5.7.0 Give STARTTLS first")
        assert (await client.ask("STARTTLS"))[:3] == "220"
        await client.start_tls(relay.client_context())
        assert (await client.ask("EHLO laptop.test"))[:3] == "250"
        token = base64.b64encode(f"\0alice\0{PASSWORD}".encode()).decode()
        assert (await client.ask(f"AUTH PLAIN {token}"))[:3] == "235"
        await client.close()


@pytest.mark.parametrize("whole", [True, False])
async def test_auto_takes_a_tls_hello_however_it_is_cut(running: Running, whole: bool) -> None:
    async with running(tls="auto", settings='auto_wait = "50ms"') as relay:
        length = len(TlsClient(relay).hello())
        cuts = [length] if whole else [1, 2, 4, 5, 6, length // 2, length - 1]
        for cut in cuts:
            client, tls = await relay.connect(tls=False), TlsClient(relay)
            hello = tls.hello()
            await client.send(hello[:cut])
            await asyncio.sleep(0.12)  # longer than a client has to begin: it has
            await client.send(hello[cut:])
            assert (await tls.finish(client)).startswith(b"220 relay.test"), cut
            await client.close()


async def test_auto_with_real_programs(running: Running) -> None:
    async with running(tls="auto") as relay:
        context = relay.client_context()
        context.check_hostname = False

        def submit() -> None:
            with smtplib.SMTP_SSL("127.0.0.1", relay.port, timeout=20, context=context) as program:
                program.login("alice", PASSWORD)
                program.sendmail("alice@alpha.test", ["bob@beta.test"], b"Subject: 1\r\n\r\nx\r\n")
            with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as program:
                program.starttls(context=context)
                program.login("alice", PASSWORD)
                program.sendmail("alice@alpha.test", ["bob@beta.test"], b"Subject: 2\r\n\r\nx\r\n")

        await asyncio.to_thread(submit)
        assert len(relay.carrier.messages) == 2
        assert [event["tls"] for event in relay.events("accepted")] == [True, True]


async def test_auto_does_not_make_the_hasty_wait(running: Running) -> None:
    async with running(tls="auto", settings='auto_wait = "5s"') as relay:
        client = await relay.connect(tls=False)
        await client.send(b"EHLO laptop.test\r\n")
        assert (await client.line()).startswith("220 ")
        assert (await client.reply())[-1].startswith("250 ")
        await client.close()
        browser = await relay.connect(tls=False)
        await browser.send(b"GET / HTTP/1.1\r\n\r\n")
        assert (await browser.line()).startswith("220 ")
        assert (await browser.line()).startswith("554 5.5.0 ")
        await browser.close()
        gone = await relay.connect(tls=False)
        await gone.close()
        await eventually(lambda: len(relay.service.sessions) == 0)


async def test_auto_counts_connections_before_it_waits(running: Running) -> None:
    async with running(tls="auto", settings='auto_wait = "5s"\nmax_connections_per_source = 1') as relay:
        first = await relay.connect(tls=False)
        await eventually(lambda: len(relay.service.sessions) == 1)
        second = await relay.connect(tls=False)
        assert (await second.line()).startswith("421 4.7.0 ")
        first.writer.transport.abort()
        await second.close()
        await eventually(lambda: len(relay.service.sessions) == 0)


@pytest.mark.parametrize("header", [V1, v2("192.0.2.9"), v2("::ffff:192.0.2.9"), v2("192.0.2.9", extra=b"\4\0\3abc")])
async def test_the_client_is_who_the_balancer_says(running: Running, header: bytes) -> None:
    async with running(tls="none", auth="none", listener=BEHIND, settings=TRUSTED) as relay:
        for cut in (0, 1, 5, 12, 16, len(header) - 1):
            client = await relay.connect(tls=False)
            await client.send(header[:cut])
            await asyncio.sleep(0.01)
            await client.send(header[cut:] + b"EHLO laptop.test\r\nMAIL FROM:<a@alpha.test>\r\n")
            replies = [(await client.reply())[-1][:3] for _ in range(3)]
            assert replies == ["220", "250", "250"]
            await client.send(b"RCPT TO:<b@beta.test>\r\nDATA\r\nX: y\r\n\r\nz\r\n.\r\n")
            assert [(await client.reply())[-1][:3] for _ in range(3)] == ["250", "354", "250"]
            await client.close()
        assert {event["peer"] for event in relay.events("accepted")} == {"192.0.2.9"}


@pytest.mark.parametrize("tls", ["implicit", "auto"])
@pytest.mark.parametrize("header", [V1, v2("2001:db8::9")])
async def test_a_tls_hello_right_behind_the_header(running: Running, tls: str, header: bytes) -> None:
    async with running(tls=tls, listener=BEHIND) as relay:
        client, program = await relay.connect(tls=False), TlsClient(relay)
        await client.send(header + program.hello())
        assert (await program.finish(client)).startswith(b"220 relay.test")
        (session,) = relay.service.sessions._open
        assert session.peer_address == ("192.0.2.9" if header == V1 else "2001:db8::9")
        await client.close()


async def test_starttls_behind_a_balancer(running: Running) -> None:
    async with running(tls="starttls", listener=BEHIND) as relay:
        client = await relay.connect(tls=False)
        await client.send(V1)
        assert (await client.line()).startswith("220 ")
        assert (await client.ask("EHLO laptop.test"))[:3] == "250"
        assert (await client.ask("STARTTLS"))[:3] == "220"
        await client.start_tls(relay.client_context())
        assert (await client.ask("EHLO laptop.test"))[:3] == "250"
        wrong = base64.b64encode(b"\0alice\0wrong").decode()
        assert (await client.ask(f"AUTH PLAIN {wrong}"))[:3] == "535"
        (event,) = relay.events("auth_failed")
        assert event["peer"] == "192.0.2.9"
        await client.close()


@pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff:f::f 192.0.2.9 1 2\r\n", v2("192.0.2.9", command=0)],
)
async def test_a_client_that_nobody_knows_is_not_trusted(running: Running, header: bytes) -> None:
    settings = 'trusted_networks = ["127.0.0.0/8", "192.0.2.0/24"]'
    async with running(tls="none", auth="none", listener=BEHIND, settings=settings) as relay:
        client = await relay.connect(tls=False)
        await client.send(header + b"EHLO laptop.test\r\nMAIL FROM:<a@alpha.test>\r\n")
        assert [(await client.reply())[-1][:3] for _ in range(3)] == ["220", "250", "530"]
        await client.close()


@pytest.mark.parametrize(
    "header",
    [
        b"EHLO laptop.test\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PROXY TCP4 192.0.2.9 198.51.100.1 50000\r\n",
        b"PROXY TCP4 192.0.2.999 198.51.100.1 50000 587\r\n",
        b"PROXY TCP6 192.0.2.9 198.51.100.1 50000 587\r\n",
        b"PROXY TCP4 192.0.2.9 198.51.100.1 50000 587\n",
        b"PROXY TCP4 " + b"1" * 200,
        SIGNATURE + b"\x31\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\0\x04" + bytes(4),
        SIGNATURE + b"\x21\x11\xff\xff" + bytes(5000),
        b"PRO",
    ],
)
async def test_without_a_header_there_is_no_session(
    running: Running, header: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_PROXY_HEADER", 0.3)
    async with running(tls="none", auth="none", listener=BEHIND, settings=TRUSTED) as relay:
        client = await relay.connect(tls=False)
        await client.send(header)
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(client.reader.read(), 30) == b""
        (event,) = relay.events("connection_refused")
        assert event["peer"] == "127.0.0.1"
        assert len(relay.service.sessions) == 0
        await client.close()


async def test_who_is_no_balancer_cannot_claim_an_address(running: Running) -> None:
    listener = 'proxy_from = ["198.51.100.0/24"]'
    async with running(tls="none", auth="none", listener=listener, settings=TRUSTED) as relay:
        client = await relay.connect(tls=False)
        await client.send(V1)
        assert (await client.line()).startswith("421 4.7.0 This port takes connections from its balancers only")
        await client.close()
        assert relay.events("not_a_balancer")


async def test_limits_are_those_of_the_real_client(running: Running) -> None:
    async with running(listener=BEHIND, settings="max_connections_per_source = 1") as relay:
        clients = [await relay.connect(tls=False) for _ in range(3)]
        for client, address in zip(clients, ("192.0.2.1", "192.0.2.2", "192.0.2.1"), strict=True):
            await client.send(v2(address))
            reply = await client.line()
        assert reply.startswith("421 4.7.0 ")
        (event,) = relay.events("turned_away")
        assert event["peer"] == "192.0.2.1"
        for client in clients:
            await client.close()
