# SPDX-License-Identifier: GPL-3.0-or-later
"""A real listener on loopback with a real queue behind it; only the carrying on is left out."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from relay_agent.accounts.hashing import hash_password
from relay_agent.accounts.store import Account
from relay_agent.accounts.verifier import Verifier
from relay_agent.config.load import parse_config
from relay_agent.config.schema import Tls
from relay_agent.delivery.calling import Call
from relay_agent.observability.log import MailLog
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import Message
from relay_agent.submission.acceptor import Acceptor
from relay_agent.submission.listeners import open_listeners
from relay_agent.submission.service import SubmissionService
from relay_agent.submission.session import session_maker
from relay_agent.submission.tls import server_context
from tests.integration.certificates import Certificate, make_certificate

PASSWORD = "s3cret"


@dataclass
class Collected:
    """The carrier: keeps what the queue has taken."""

    messages: list[Message] = field(default_factory=list)

    def submit(self, message: Message) -> None:
        self.messages.append(message)


class Waiting:
    """The mail that waits for sites: two messages for site.test, which a NOOP stands for."""

    def wait(self, account: str) -> float:
        return 0.0

    async def count(self, call: Call) -> dict[int, int]:
        await asyncio.sleep(0)
        return {0: 2} if "site.test" in call.domains else {}

    async def called(self, call: Call) -> int:
        return 0 if call.below else sum((await self.count(call)).values())

    async def collect(self, store: int, call: Call, line: str, host: str, peer: str) -> tuple[int, bool]:
        reader, writer = await asyncio.open_unix_connection("\0" + line)
        writer.write(b"NOOP\r\n")
        assert await reader.readline() == b"250 2.0.0 OK\r\n"
        writer.close()
        await writer.wait_closed()
        return 2, True


@dataclass
class Client:
    """A mail program's side of the connection, line by line."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def line(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), 30)).decode().removesuffix("\r\n")

    async def reply(self) -> list[str]:
        """A whole reply, all its lines; [""] when the connection is closed."""
        lines = [await self.line()]
        while lines[-1][3:4] == "-":
            lines.append(await self.line())
        return lines

    async def ask(self, command: str) -> str:
        """Send a line; the reply's last line."""
        await self.send(command.encode() + b"\r\n")
        return (await self.reply())[-1]

    async def start_tls(self, context: ssl.SSLContext) -> None:
        await self.writer.start_tls(context, server_hostname="relay.test")

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()


@dataclass
class Relay:
    """The listener under test."""

    port: int
    tls: str
    service: SubmissionService
    carrier: Collected
    certificate: Certificate
    log: io.StringIO
    own: Certificate | None = None  # the clients'

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.certificate.certificate))
        if self.own is not None:
            context.load_cert_chain(self.own.certificate, self.own.key)
        return context

    async def connect(self, *, tls: bool | None = None) -> Client:
        """Connected and greeted; over TLS on a port that begins with it, unless told otherwise."""
        implicit = self.tls == "implicit" if tls is None else tls
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            self.port,
            ssl=self.client_context() if implicit else None,
            server_hostname="relay.test" if implicit else None,
        )
        client = Client(reader, writer)
        if tls is None:
            assert (await client.reply())[-1].startswith("220 ")
        return client

    def events(self, name: str) -> list[dict[str, Any]]:
        self.service.events.flush()  # type: ignore[attr-defined]
        return [event for line in self.log.getvalue().splitlines() if (event := json.loads(line))["event"] == name]


Running = Callable[..., Any]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "relay.test")


@pytest.fixture(scope="session")
def account() -> Account:
    return Account(name="alice", hash=hash_password(PASSWORD.encode()))


@pytest.fixture
def running(tmp_path: Path, certificate: Certificate, account: Account) -> Running:
    """`async with running(tls="starttls", settings="max_message_size = 65536") as relay`."""

    @asynccontextmanager
    async def run(
        tls: str = "starttls",
        auth: str = "required",
        listener: str = "",
        settings: str = "",
        certificates: str = "",
        store: Callable[[EmbeddedStore], Any] = lambda store: store,
    ) -> AsyncIterator[Relay]:
        config = parse_config(
            f'hostname = "relay.test"\n[[listener]]\naddress = "127.0.0.1"\nport = 1\ntls = "{tls}"\nauth = "{auth}"\n'
            f"{listener}\n"
            f'[tls]\ncertificate = "{certificate.certificate}"\nkey = "{certificate.key}"\n{certificates}\n'
            f'[submission]\n{settings}\n[queue]\ndirectory = "{tmp_path}"\n',
            "test.toml",
        )
        log = io.StringIO()
        embedded = EmbeddedStore(tmp_path)
        carrier = Collected()
        assert isinstance(config.tls, Tls)
        service = SubmissionService(
            config=config,
            store=store(embedded),
            carrier=carrier,
            verifier=Verifier({account.name: account}),
            events=MailLog(log),
            tls_context=server_context(config.tls, web=any(each.web for each in config.listener)),
            sites=Waiting(),
        )
        loop = asyncio.get_running_loop()
        served = config.listener[0].model_copy(update={"port": 0})
        ((_, sockets),) = open_listeners([served])
        port = sockets[0].getsockname()[1]
        acceptor = Acceptor(loop, sockets[0], session_maker(service, served, loop))
        acceptor.start()
        service.sessions.watch(loop, lambda: service.config.submission.command_timeout)
        try:
            yield Relay(port, tls, service, carrier, certificate, log)
        finally:
            acceptor.stop()
            await service.sessions.close(2.0)
            service.verifier.close()
            await embedded.close()
            await asyncio.sleep(0)

    return run


async def eventually(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 30.0) -> None:
    """Wait until something becomes true."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        result = condition()
        if await result if isinstance(result, Awaitable) else result:
            return
        assert asyncio.get_running_loop().time() < deadline, "did not happen in time"
        await asyncio.sleep(0.02)
