# SPDX-License-Identifier: GPL-3.0-or-later
"""One relay carries mail on to another: what the delivery side sends, the submission side takes, octet by octet."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from relay_agent.delivery.client import Connection
from relay_agent.delivery.outcome import Delivered, Failed
from relay_agent.delivery.resolve import Resolver
from relay_agent.delivery.sign_in.credentials import Credentials
from relay_agent.delivery.sign_in.dialogue import sign_in
from relay_agent.delivery.sign_in.tokens import TokenKeeper
from relay_agent.delivery.transaction import Mail, send
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.model import Envelope, Recipient

from .conftest import PASSWORD, Relay, Running


async def _connected(relay: Relay, context: ssl.SSLContext | None, secret: Path | None = None) -> Connection:
    connection = Connection("relay.test", "laptop.test")
    await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", relay.port)
    await connection.greet()
    if context is not None:
        await connection.start_tls(context)
        resolver = Resolver((), "laptop.test")
        await sign_in(connection, Credentials("alice", secret), TokenKeeper(resolver))
        await resolver.close()
    return connection


@pytest.mark.parametrize("size", [0, 1, 65_537, 700_000])
async def test_binary_content(running: Running, size: int) -> None:
    content = b"Date: x\r\nMessage-ID: <1@a.test>\r\n\r\n\0\r" + bytes(range(256)) * (size // 256)
    async with running(tls="none", auth="none", settings='trusted_networks = ["127.0.0.0/8"]') as relay:
        connection = await _connected(relay, None)
        options = {"BODY": "BINARYMIME", "RET": "FULL", "ENVID": "x+2B1"}
        recipients = {0: Recipient("bob@beta.test", {"NOTIFY": "NEVER", "ORCPT": "rfc822;b@beta.test"})}
        mail = Mail(Envelope("alice@alpha.test", "alice", options), recipients, MemoryBody(content), binary=True)
        outcomes = await send(connection, mail)
        assert isinstance(outcomes[0], Delivered), outcomes
        (message,) = relay.carrier.messages
        assert message.body.read().endswith(content)
        assert message.envelope.options == options
        assert message.recipients[0].options == recipients[0].options
        connection.quit()
        await connection.wait_closed()


async def test_tls_on_the_whole_way(running: Running, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    await asyncio.to_thread(secret.write_text, PASSWORD)
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    envelope = Envelope("alice@alpha.test", "alice", {"REQUIRETLS": ""})
    mail = Mail(envelope, {0: Recipient("bob@beta.test")}, MemoryBody(b"X: y\r\n\r\nz\r\n"))
    async with running(tls="starttls") as relay:
        for context, kind in ((unverified, Failed), (relay.client_context(), Delivered)):
            connection = await _connected(relay, context, secret)
            outcomes = await send(connection, mail)
            assert isinstance(outcomes[0], kind), outcomes
            connection.quit()
            await connection.wait_closed()
        (message,) = relay.carrier.messages
        assert message.envelope.options == {"REQUIRETLS": ""}
