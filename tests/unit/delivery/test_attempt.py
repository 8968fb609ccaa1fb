# SPDX-License-Identifier: GPL-3.0-or-later
"""One attempt over several hosts: what one of them says, and what the next one still may."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack

import pytest

from relay_agent.delivery.attempt import Attempt
from relay_agent.delivery.client import Connection
from relay_agent.delivery.destination import Destination, Job
from relay_agent.delivery.outcome import Deferred, Delivered, Failed, HostTrouble, Outcome, Scope
from relay_agent.delivery.resolve import UnresolvedError
from relay_agent.delivery.route import Security, Target, Way

from .memory_store import make_message
from .scripted import GOOD, Scripted, serving

OFFERED = GOOD["EHLO"].replace("250 ENH", "250-REQUIRETLS\r\n250 ENH")
SILENT = HostTrouble(Deferred("4.4.1", "connection refused", "silent.test", Scope.HOST))
NO_ADDRESS = UnresolvedError(Failed("5.4.4", "mail host has no address"))


class Hosts:
    """MX hosts in the order of their preference: a server, or why there is no session. opened: those asked."""

    def __init__(self, hosts: Sequence[Scripted | Exception]) -> None:
        self.hosts = hosts
        self.ports: list[int] = []
        self.opened: list[int] = []
        self.connections: list[Connection] = []
        self.hurry: Attempt | None = None

    def way(self) -> Way:
        return Way(
            tuple((number, Target(f"mx{number}.test", 25, Security.OPPORTUNISTIC)) for number in range(len(self.hosts)))
        )

    async def open(self, target: Target, domains: Iterable[str] = ()) -> Connection:
        number = int(target.host[2])
        self.opened.append(number)
        host = self.hosts[number]
        if isinstance(host, Exception):
            raise host
        connection = Connection(target.host, "relay.test")
        await connection._loop.create_connection(lambda: connection, "127.0.0.1", self.ports[number])
        self.connections.append(connection)
        await connection.greet()
        if self.hurry is not None:
            self.hurry.hurried = True  # it answered in the same moment
        return connection


async def _outcome(hosts: Hosts, *, hurried: bool = False) -> Outcome:
    message = make_message("bob@a.test", created=time.time(), REQUIRETLS="")
    async with AsyncExitStack() as stack:
        for host in hosts.hosts:
            hosts.ports.append(await stack.enter_async_context(serving(host)) if isinstance(host, Scripted) else 0)
        attempt = Attempt(hosts, Destination(hosts.way()), Job(message, message.recipients))
        hosts.hurry = attempt if hurried else None
        result = await attempt.run(None)
        for connection in hosts.connections:
            connection.abort()
            await connection.wait_closed()
    assert result.dead is None or isinstance(result.outcomes[0], Deferred)
    return result.outcomes[0]


@pytest.fixture(autouse=True)
def verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection is as good as over TLS with a certificate that was checked."""
    monkeypatch.setattr(Connection, "verified", True)


async def test_requiretls_goes_on_to_the_host_that_offers_it() -> None:
    """RFC 8689 4.2.1: each host of the list is tried, and none is given the mail without."""
    without, offering = Scripted(), Scripted({"EHLO": OFFERED})
    hosts = Hosts([without, offering])
    assert isinstance(await _outcome(hosts), Delivered)
    assert hosts.opened == [0, 1]
    assert not any(line.startswith("MAIL") for line in without.seen)
    assert next(line for line in offering.seen if line.startswith("MAIL")).endswith(" REQUIRETLS")


async def test_requiretls_bounces_when_no_host_offers_it() -> None:
    hosts = Hosts([Scripted(), Scripted()])
    found = await _outcome(hosts)
    assert isinstance(found, Failed)
    assert (found.status, hosts.opened) == ("5.7.30", [0, 1])
    assert "does not offer REQUIRETLS" in found.text


@pytest.mark.parametrize("hosts", [[Scripted(), SILENT], [SILENT, Scripted()]])
async def test_requiretls_waits_for_a_host_that_was_silent(hosts: list[Scripted | Exception]) -> None:
    found = await _outcome(Hosts(hosts))
    assert isinstance(found, Deferred)
    assert found.text == "connection refused"


async def test_requiretls_waits_for_a_host_that_offers_it_and_puts_the_mail_off() -> None:
    found = await _outcome(Hosts([Scripted({"EHLO": OFFERED, "RCPT": "451 4.7.1 Greylisted"}), Scripted()]))
    assert isinstance(found, Deferred)
    assert found.status == "4.7.1"


@pytest.mark.parametrize("hosts", [[Scripted(), NO_ADDRESS], [NO_ADDRESS, Scripted()]])
async def test_a_host_without_address_is_none_that_could_offer_it(hosts: list[Scripted | Exception]) -> None:
    found = await _outcome(Hosts(hosts))
    assert isinstance(found, Failed)
    assert found.status == "5.7.30"


async def test_an_attempt_cut_short_says_nothing_of_the_hosts_not_asked() -> None:
    hosts = Hosts([Scripted(), Scripted({"EHLO": OFFERED})])
    found = await _outcome(hosts, hurried=True)
    assert hosts.opened == [0]
    assert isinstance(found, Deferred)
    assert "REQUIRETLS" in found.text
