# SPDX-License-Identifier: GPL-3.0-or-later
"""IPv6 and IPv4 between two hosts: network namespaces with a cable between them, in which packets can get lost."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.firewall.namespaces import Hosts, run
from tests.ports import free_port

from .conftest import MakeRelay
from .peers import NameServer, Sink

SECOND = "fd00:51::10"  # of the relay, beside the address that its kernel would take
ZONE = """
both        AAAA fd00:51::2
both        A 198.51.100.2
six         AAAA fd00:51::2
"""
SILENT = """
table inet lost {
    chain out {
        type filter hook output priority 0
        meta nfproto ipv6 tcp dport %d drop
    }
}
"""


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts.made() as made:
        run("ip", "-n", made.relay, "address", "add", f"{SECOND}/64", "dev", "eth0", "nodad", "preferred_lft", "0")
        made.wait_for_link()
        yield made


@pytest.fixture
def names(hosts: Hosts, workplace: Path) -> Iterator[NameServer]:
    """On the relay's own loopback."""
    with hosts.inside(hosts.relay):
        server = NameServer(Path(tempfile.mkdtemp(dir=workplace)), free_port())
        try:
            yield server.start(ZONE)
        finally:
            server.stop()


@pytest.fixture
def mx(hosts: Hosts, workplace: Path, smtp_port: int) -> Iterator[dict[str, Sink]]:
    """The peer's mail server, which listens at an address of each family."""
    directory = Path(tempfile.mkdtemp(dir=workplace))
    directory.chmod(0o755)
    sinks = {
        address: Sink(address, smtp_port, directory / name)
        for name, address in (("four", "198.51.100.2"), ("six", "fd00:51::2"))
    }
    try:
        with hosts.inside(hosts.peer):
            for each in sinks.values():
                each.start()
        yield sinks
    finally:
        for each in sinks.values():
            each.stop()


async def test_the_ipv6_address_of_a_route_is_connected_from(
    relay: MakeRelay, hosts: Hosts, names: NameServer, mx: dict[str, Sink]
) -> None:
    with hosts.inside(hosts.relay):
        sender = await relay(
            routes=[{"senders": ["bound.test"], "mx": True, "source_address6": SECOND}],
            resolvers=[f"127.0.0.1:{names.port}"],
        )
        seen = []
        for count, domain in enumerate(("home.test", "bound.test"), 1):
            await sender.send("bob@six.test", sender=f"alice@{domain}")
            await sender.outcome("delivered", count)
            dumps = sorted(mx["fd00:51::2"].directory.glob("m.*"), key=lambda path: path.stat().st_mtime_ns)
            seen.append(SECOND in await asyncio.to_thread(dumps[-1].read_text))
        assert seen == [False, True]


async def test_a_family_whose_packets_get_lost_costs_no_time(
    relay: MakeRelay, hosts: Hosts, names: NameServer, mx: dict[str, Sink], smtp_port: int
) -> None:
    with hosts.inside(hosts.relay):
        # The neighbour's address is asked for before the first packet; on a busy machine that takes its time.
        socket.create_connection(("fd00:51::2", smtp_port), 10).close()
        sender = await relay(resolvers=[f"127.0.0.1:{names.port}"])
        await sender.send("bob@both.test")
        await sender.outcome("delivered")
        assert len(mx["fd00:51::2"].received()) == 1, "IPv6 comes first where it works"
        await asyncio.to_thread(hosts.nft, "-f", "-", text=SILENT % smtp_port)
        fresh = await relay(resolvers=[f"127.0.0.1:{names.port}"], connect_timeout="30s")
        for count in range(1, 4):
            started = time.monotonic()
            await fresh.send(f"bob{count}@both.test")
            await fresh.outcome("delivered", count)
            assert time.monotonic() - started < 15
        assert len(mx["198.51.100.2"].received()) == 3
        assert not fresh.events.named("deferred")
