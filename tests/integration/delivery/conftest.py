# SPDX-License-Identifier: GPL-3.0-or-later
"""A dispatcher with a real queue on one side and real mail and name servers on the other."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from relay_agent.config.schema import Config
from relay_agent.delivery.client import Timeouts
from relay_agent.delivery.dispatcher import Dispatcher
from relay_agent.dkim.signer import Signer
from relay_agent.observability.log import EventLog
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import Body, Envelope, Message, Recipient, new_queue_id
from tests.ports import free_port

from .peers import NameServer, Sink
from .tls_world import TlsWorld

_ZONE = """
alpha       MX 10 mx.alpha
mx.alpha    A 127.0.2.1
beta        MX 10 mx.alpha
plain       A 127.0.2.1
two         MX 10 first.two
two         MX 20 second.two
first.two   A 127.0.2.2
second.two  A 127.0.2.3
dead        MX 10 mx.dead
mx.dead     A 127.0.2.9
families    AAAA ::1
families    A 127.0.2.1
six         AAAA ::1
nullmx      MX 0 .
circle      MX 10 relay
relay       A 127.0.2.1
backup      MX 20 relay
backup      MX 10 mx.alpha
noaddress   MX 10 nothing.noaddress
empty       TXT "neither MX nor address"
xn--bcher-kva MX 10 mx.alpha
fault       A 127.0.2.4
smart       A 127.0.2.5
upstream    A 127.0.2.6
next        A 127.0.0.1
"""


@pytest.fixture(scope="session")
def workplace() -> Iterator[Path]:
    """A directory that servers under another user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="postroad-delivery-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def smtp_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def name_server(workplace: Path) -> Iterator[NameServer]:
    server = NameServer(workplace / "nsd", free_port())
    try:
        yield server.start(_ZONE)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def world(workplace: Path) -> Iterator[TlsWorld]:
    """Signed zones, MX hosts with certificates, a host for MTA-STS policies."""
    new = TlsWorld(workplace / "tls")
    try:
        yield new.start()
    finally:
        new.stop()


@pytest.fixture
def sink(workplace: Path, smtp_port: int) -> Iterator[Callable[..., Sink]]:
    """Starts smtp-sink at an address (of the zone above) with its fault options."""
    started: list[Sink] = []
    directory = Path(tempfile.mkdtemp(dir=workplace))
    directory.chmod(0o755)

    def start(address: str = "127.0.2.1", *options: str, port: int = smtp_port) -> Sink:
        new = Sink(address, port, directory / f"{len(started)}", options)
        started.append(new)
        return new.start()

    yield start
    for each in started:
        each.stop()


class Events(EventLog):
    """Keeps the log's events."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        self.seen.append((name, {"level": level, **fields}))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [fields for each, fields in self.seen if each == name]


@dataclass
class Relay:
    """The delivery side under test, with its queue."""

    store: EmbeddedStore
    dispatcher: Dispatcher
    events: Events
    config: Config
    sent: list[Message] = field(default_factory=list)

    async def send(
        self,
        *recipients: str,
        sender: str = "alice@home.test",
        content: bytes | Body = b"Subject: hello\r\n\r\nHello.\r\n",
        expires_in: float = 3600.0,
        **options: str,
    ) -> Message:
        """Store a message and hand it over, as the submission side does."""
        now = time.time()
        message = Message(
            queue_id=new_queue_id(),
            envelope=Envelope(sender, "alice", options),
            recipients={number: Recipient(address) for number, address in enumerate(recipients)},
            body=MemoryBody(content) if isinstance(content, bytes) else content,
            created=now,
            expires=now + expires_in,
        )
        await self.store.store(message)
        self.dispatcher.submit(message)
        self.sent.append(message)
        return message

    async def until(self, condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {seconds} s; log ends: {self.events.seen[-5:]}"
            await asyncio.sleep(0.01)

    async def outcome(self, name: str, count: int = 1, seconds: float = 30.0) -> list[dict[str, Any]]:
        """Wait for `count` events of this name."""
        await self.until(lambda: len(self.events.named(name)) >= count, f"{count} x {name}", seconds)
        return self.events.named(name)

    async def settled(self, seconds: float = 30.0) -> None:
        """Wait until nothing is in hand."""
        await self.until(lambda: not self.dispatcher.snapshot()["in_hand"], "nothing in hand", seconds)


MakeRelay = Callable[..., Any]


@pytest.fixture
async def relay(tmp_path: Path, name_server: NameServer, smtp_port: int) -> AsyncIterator[MakeRelay]:
    """Makes a running Relay; keyword arguments go into the configuration's [delivery], `routes` into [[route]],
    `sections` beside them. All relays of a test share the queue's directory, but for their stores."""
    made: list[Relay] = []

    async def make(
        *,
        routes: list[dict[str, Any]] | None = None,
        timeouts: Timeouts | None = None,
        sections: dict[str, Any] | None = None,
        **delivery: Any,
    ) -> Relay:
        config = Config.model_validate(
            {
                "hostname": "relay.test",
                "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
                "submission": {"trusted_networks": ["127.0.0.0/8"]},
                "route": routes or [],
                "queue": {"directory": str(tmp_path / "shared")},
                **(sections or {}),
                "delivery": {
                    "resolvers": [f"127.0.0.1:{name_server.port}"],
                    "smtp_port": smtp_port,
                    "retry_first": 1,
                    "connect_timeout": 2,
                    "port25_check": [],
                    **delivery,
                },
            }
        )
        store = EmbeddedStore(tmp_path / f"queue{len(made)}")
        events = Events()
        signer = Signer(config.dkim, events)
        signer.reload()
        new = Relay(store, Dispatcher(config, store, events, timeouts=timeouts, signer=signer), events, config)
        made.append(new)
        await new.dispatcher.start()
        return new

    yield make
    for each in made:
        await each.dispatcher.stop(0.5)
        await each.store.close()
