# SPDX-License-Identifier: GPL-3.0-or-later
"""A watcher's rounds: what it does with the list, and what it says."""

from __future__ import annotations

from typing import Any

import dns.rcode

from relay_agent.failover.address_list import AddressList
from relay_agent.failover.settings import FailoverSettings
from relay_agent.failover.watch import Watcher, own_member, rules_of
from relay_agent.observability.log import EventLog
from tests.unit.zone_server import ZoneServer

NAME, MARK = "mail.example.org.", "_drained.mail.example.org."
EVERYBODY = ("192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2")


class Log(EventLog):
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        self.events.append((name, fields))

    def names(self) -> list[str]:
        return [name for name, _ in self.events]


class World:
    """Who is dead, what time it is, and how long a look takes."""

    def __init__(self, settings: FailoverSettings) -> None:
        self.dead: set[str] = set()
        self.now = 100.0
        self.takes = 0.1
        self.outside = {"A": True, "AAAA": True}
        self.log = Log()
        self.watcher = Watcher(
            settings,
            AddressList(settings),
            self.log,
            look=self._look,
            outside=lambda _: self.outside,
            clock=lambda: self.now,
        )

    def _look(self, _: FailoverSettings) -> dict[str, bool]:
        self.now += self.takes
        return {address: address not in self.dead for address in EVERYBODY}

    def rounds(self, number: int) -> None:
        for _ in range(number):
            self.now += 1
            self.watcher.round()


def test_a_dead_relay_goes_with_both_addresses_and_comes_back(settings: FailoverSettings, zone: ZoneServer) -> None:
    world = World(settings)
    world.dead = {"192.0.2.2", "2001:db8::2"}
    world.rounds(3)
    assert zone.at(NAME, "A") == {"192.0.2.1"}
    assert zone.at(NAME, "AAAA") == {"2001:db8::1"}
    (_, told), _ = world.log.events
    assert told == {
        "relay": "relay2.example.org",
        "address": "192.0.2.2",
        "reason": "it missed 3 looks in a row",
    }
    world.dead = set()
    world.rounds(2)
    assert len(zone.at(NAME, "A") | zone.at(NAME, "AAAA")) == 4
    assert world.log.names() == ["failover_withdraw"] * 2 + ["failover_restore"] * 2


def test_one_family_alone(settings: FailoverSettings, zone: ZoneServer) -> None:
    world = World(settings)
    world.dead = {"2001:db8::2"}
    world.rounds(20)
    assert zone.at(NAME, "A") == {"192.0.2.1", "192.0.2.2"}
    assert zone.at(NAME, "AAAA") == {"2001:db8::1"}


def test_who_is_held_out_goes_at_once(settings: FailoverSettings, zone: ZoneServer) -> None:
    zone.put(MARK, "TXT", '"relay2.example.org"')
    world = World(settings)
    world.rounds(1)
    assert zone.at(NAME, "A") == {"192.0.2.1"}
    world.rounds(10)
    assert zone.at(NAME, "A") == {"192.0.2.1"}


def test_a_name_server_that_does_not_answer_breaks_the_row(settings: FailoverSettings, zone: ZoneServer) -> None:
    """Who does not reach it may be cut off itself, and what it saw meanwhile counts for nothing."""
    world = World(settings)
    world.dead = {"192.0.2.2", "2001:db8::2"}
    world.rounds(2)
    zone.rcode = dns.rcode.SERVFAIL
    world.rounds(5)
    zone.rcode = None
    world.rounds(2)
    assert zone.at(NAME, "A") == {"192.0.2.1", "192.0.2.2"}
    # Said once when it begins and once when it is over.
    assert world.log.names() == ["failover_waits", "failover_goes_on"]
    assert "SERVFAIL" in world.log.events[0][1]["reason"]
    world.rounds(1)
    assert zone.at(NAME, "A") == {"192.0.2.1"}


def test_a_look_that_took_far_too_long_does_not_count(settings: FailoverSettings, zone: ZoneServer) -> None:
    world = World(settings)
    world.dead = {"192.0.2.2", "2001:db8::2"}
    world.takes = 4 * settings.timeout + 11
    world.rounds(10)
    assert zone.at(NAME, "A") == {"192.0.2.1", "192.0.2.2"}


def test_a_host_that_slept_begins_anew(settings: FailoverSettings, zone: ZoneServer) -> None:
    world = World(settings)
    world.dead = {"192.0.2.2", "2001:db8::2"}
    world.rounds(2)
    world.now += rules_of(settings).gap + 1
    world.rounds(2)
    assert zone.at(NAME, "A") == {"192.0.2.1", "192.0.2.2"}


def test_nobody_outside_answers(settings: FailoverSettings, zone: ZoneServer) -> None:
    world = World(settings)
    world.dead = {"192.0.2.2", "2001:db8::2"}
    world.outside = {"A": False, "AAAA": False}
    world.rounds(10)
    assert zone.at(NAME, "A") == {"192.0.2.1", "192.0.2.2"}
    assert {fields["about"] for _, fields in world.log.events} == {"A", "AAAA"}
    assert world.log.names() == ["failover_waits"] * 2


def test_a_host_whose_own_ipv6_is_broken_leaves_the_others_alone(settings: FailoverSettings, zone: ZoneServer) -> None:
    """It reaches itself by the loopback address, and the name server by IPv4."""
    world = World(settings)
    world.dead = {"2001:db8::2"}
    world.outside = {"A": True, "AAAA": False}
    world.rounds(50)
    assert zone.at(NAME, "AAAA") == {"2001:db8::1", "2001:db8::2"}


def test_a_relay_that_is_dead_by_ipv4_goes_by_ipv6_too(settings: FailoverSettings, zone: ZoneServer) -> None:
    """Where no witness has an IPv6 address, as a name server that is named by its IPv4 address."""
    world = World(settings)
    world.dead = {"192.0.2.2", "2001:db8::2"}
    world.outside = {"A": True, "AAAA": False}
    world.rounds(4)
    assert zone.at(NAME, "A") == {"192.0.2.1"}
    assert zone.at(NAME, "AAAA") == {"2001:db8::1"}


def test_somebody_else_was_faster(settings: FailoverSettings, zone: ZoneServer) -> None:
    world = World(settings)
    world.dead = {"192.0.2.2"}
    world.rounds(2)
    read = AddressList.read

    class Late(AddressList):
        def read(self) -> Any:
            listing = read(self)
            zone.put(NAME, "A", "192.0.2.1", ttl=30)
            return listing

    world.watcher._addresses = Late(settings)
    world.rounds(1)
    assert world.log.names() == ["failover_overtaken"]
    world.rounds(5)
    assert world.log.names() == ["failover_overtaken"]
    assert zone.at(NAME, "A") == {"192.0.2.1"}


def test_an_update_that_is_refused_is_told_and_tried_again(settings: FailoverSettings, zone: ZoneServer) -> None:
    world = World(settings)
    world.dead = {"192.0.2.2"}
    zone.keys = {"relays": "b3RoZXI="}
    world.rounds(6)
    assert world.log.names() == ["failover_waits"]
    assert "its answer is not signed" in world.log.events[0][1]["reason"]
    zone.keys = {"relays": "c2VjcmV0IG9mIGEgdGVzdA=="}
    world.rounds(1)
    assert zone.at(NAME, "A") == {"192.0.2.1"}


def test_who_i_am(settings: FailoverSettings) -> None:
    assert own_member(settings).name == "relay1.example.org"
