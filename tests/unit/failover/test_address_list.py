# SPDX-License-Identifier: GPL-3.0-or-later
"""The address list at a name server: read, and changed only as it was read."""

from __future__ import annotations

import dns.rcode
import pytest

from relay_agent.failover.address_list import AddressList
from relay_agent.failover.settings import FailoverError, FailoverSettings
from tests.unit.zone_server import ZoneServer

NAME, MARK = "mail.example.org.", "_drained.mail.example.org."
MINE = frozenset({"192.0.2.1", "2001:db8::1"})


def test_what_is_read(settings: FailoverSettings, zone: ZoneServer) -> None:
    zone.put(MARK, "TXT", '"Relay2.example.org."')
    listing = AddressList(settings).read()
    assert listing.addresses == {"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"}
    assert listing.held == {"relay2.example.org"}
    assert listing.ttl == 30


def test_out_and_back(settings: FailoverSettings, zone: ZoneServer) -> None:
    addresses = AddressList(settings)
    assert addresses.withdraw(addresses.read(), "192.0.2.2")
    assert zone.at(NAME, "A") == {"192.0.2.1"}
    assert zone.at(NAME, "AAAA") == {"2001:db8::1", "2001:db8::2"}
    assert addresses.restore(addresses.read(), "192.0.2.2")
    assert zone.records[NAME, "A"] == {"192.0.2.1": 30, "192.0.2.2": 30}


def test_the_last_of_a_family_is_not_taken_out(settings: FailoverSettings, zone: ZoneServer) -> None:
    zone.put(NAME, "A", "192.0.2.2")
    addresses = AddressList(settings)
    assert not addresses.withdraw(addresses.read(), "192.0.2.2")
    assert zone.updates == []


def test_two_watchers_do_not_take_out_each_other_s(settings: FailoverSettings, zone: ZoneServer) -> None:
    """Both have seen the whole list; the second one's change is about a list that is no more."""
    one, other = AddressList(settings), AddressList(settings)
    seen = one.read(), other.read()
    assert one.withdraw(seen[0], "192.0.2.1")
    assert not other.withdraw(seen[1], "192.0.2.2")
    assert zone.at(NAME, "A") == {"192.0.2.2"}


def test_who_was_drained_meanwhile_is_not_put_back(settings: FailoverSettings, zone: ZoneServer) -> None:
    zone.put(NAME, "A", "192.0.2.1")
    addresses = AddressList(settings)
    seen = addresses.read()
    zone.put(MARK, "TXT", '"relay2.example.org"')
    assert not addresses.restore(seen, "192.0.2.2")
    assert zone.at(NAME, "A") == {"192.0.2.1"}


def test_held_out_and_released(settings: FailoverSettings, zone: ZoneServer) -> None:
    zone.put(MARK, "TXT", '"another.example.org"')
    addresses = AddressList(settings)
    assert addresses.hold(addresses.read(), "relay1.example.org", MINE)
    assert zone.at(NAME, "A") == {"192.0.2.2"}
    assert zone.at(NAME, "AAAA") == {"2001:db8::2"}
    assert addresses.read().held == {"relay1.example.org", "another.example.org"}
    assert addresses.release(addresses.read(), "RELAY1.example.org")
    assert zone.at(MARK, "TXT") == {'"another.example.org"'}


def test_the_last_one_is_held_but_stays_in_the_list(settings: FailoverSettings, zone: ZoneServer) -> None:
    zone.put(NAME, "A", "192.0.2.1")
    addresses = AddressList(settings)
    assert addresses.hold(addresses.read(), "relay1.example.org", MINE)
    assert zone.at(NAME, "A") == {"192.0.2.1"}
    assert zone.at(NAME, "AAAA") == {"2001:db8::2"}


def test_a_server_that_refuses(settings: FailoverSettings, zone: ZoneServer) -> None:
    addresses = AddressList(settings)
    seen = addresses.read()
    zone.rcode = dns.rcode.REFUSED
    with pytest.raises(FailoverError, match="may not change this name"):
        addresses.withdraw(seen, "192.0.2.2")
    with pytest.raises(FailoverError, match="refuses to answer"):
        addresses.read()
