# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses are ours, as others see it."""

from ipaddress import ip_address

import pytest

from relay_agent.delivery.outcome import Failed
from relay_agent.delivery.resolve import Resolver, UnresolvedError
from relay_agent.reputation import addresses as module
from relay_agent.reputation.addresses import own_addresses, public, source_addresses


class Named(Resolver):
    """Knows the addresses of one name."""

    def __init__(self, *found: str) -> None:
        self.found = found

    async def addresses(self, name: str, *, nothing: Failed | None = None) -> tuple[str, ...]:
        if not self.found:
            raise UnresolvedError(Failed("5.4.4", f"mail host {name} has no address"))
        return self.found


def test_the_routes_tell_addresses() -> None:
    for address in source_addresses():
        ip_address(address)


def test_private_addresses_mean_nothing_elsewhere() -> None:
    given = ["10.0.0.1", "127.0.0.1", "fe80::1%eth0", "::1", "8.8.8.8", "2606:4700::1", "8.8.8.8"]
    assert [str(each) for each in public(given)] == ["8.8.8.8", "2606:4700::1"]


async def test_the_routes_come_before_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "source_addresses", lambda: ["8.8.8.8", "fd00::1"])
    assert await own_addresses(Named("1.1.1.1"), "relay.test") == (ip_address("8.8.8.8"),)
    monkeypatch.setattr(module, "source_addresses", lambda: ["10.0.0.1"])
    assert await own_addresses(Named("1.1.1.1", "10.0.0.1"), "relay.test") == (ip_address("1.1.1.1"),)
    assert await own_addresses(Named(), "relay.test") == ()
