# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes are told, and what is taken for an answer; a real name server is asked in tests/integration."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest

from relay_agent.config.schema import Config
from relay_agent.delivery import resolve
from relay_agent.delivery.outcome import Deferred, UnresolvedError
from relay_agent.delivery.resolve import Resolver
from relay_agent.observability.log import EventLog
from relay_agent.reputation import watch as module
from relay_agent.reputation.watch import ReputationWatch

ADDRESS = "192.0.2.1"
NAME = "1.2.0.192.bl.test"


class Events(EventLog):
    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        self.seen.append((name, fields))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.seen]


class World:
    """What the lists answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, tuple[str, ...]] = {}
        self.silent = False
        self.closed = 0
        self.log = Events()
        world = self

        class Asked(Resolver):
            def __init__(self, servers: Sequence[str], own_name: str) -> None:
                pass

            async def listed(self, name: str) -> tuple[str, ...]:
                if world.silent:
                    raise UnresolvedError(Deferred("4.4.3", f"no usable answer from DNS for {name} (A): timeout"))
                return world.answers.get(name, ())

            async def texts(self, name: str) -> tuple[str, ...]:
                return ("see https://bl.test/" + name, "\x1b[31mred\n")

            async def close(self) -> None:
                world.closed += 1

        monkeypatch.setattr(resolve, "Resolver", Asked)

    def watch(self, own: Sequence[str] = (), **reputation: Any) -> ReputationWatch:
        config = Config.model_validate(
            {
                "hostname": "relay.test",
                "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
                "reputation": {"lists": ["bl.test"], "addresses": [ADDRESS], **reputation},
            }
        )

        async def found(_: Resolver, __: str) -> tuple[IPv4Address | IPv6Address, ...]:
            return tuple(map(ip_address, own))

        return ReputationWatch(config, self.log, found)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_a_listing_is_told_once_and_so_is_its_end(world: World) -> None:
    watch = world.watch()
    await watch.look()
    (finding,) = watch.findings
    assert (finding.listed, finding.problem) == (False, "")
    assert world.log.seen == []
    world.answers[NAME] = ("127.0.0.2",)
    await watch.look()
    first = watch.findings[0]
    await watch.look()
    assert world.log.names == ["blocklist_listed"]
    (finding,) = watch.findings
    assert finding.listed
    assert finding.since == first.since
    assert finding.reason.startswith("see https://bl.test/")
    assert finding.reason.isprintable()
    world.answers.clear()
    await watch.look()
    await watch.look()
    assert world.log.names == ["blocklist_listed", "blocklist_cleared"]
    assert world.closed == 5


async def test_no_answer_is_neither_listed_nor_clean(world: World) -> None:
    watch = world.watch()
    world.answers[NAME] = ("127.0.0.2",)
    await watch.look()
    since = watch.findings[0].since
    world.silent = True
    await watch.look()
    await watch.look()
    (finding,) = watch.findings
    assert finding.listed is None
    assert "timeout" in finding.problem
    world.silent = False
    await watch.look()
    assert watch.findings[0].since == since
    assert world.log.names == ["blocklist_listed", "blocklist_unusable"]


async def test_a_list_that_refuses_us_lists_nobody(world: World) -> None:
    watch = world.watch()
    world.answers[NAME] = ("127.255.255.254",)
    await watch.look()
    assert watch.findings[0].listed is None
    assert "no public resolver" in watch.findings[0].problem


async def test_a_list_that_has_everybody_lists_nobody(world: World) -> None:
    watch = world.watch()
    world.answers.update({NAME: ("127.0.0.2",), "1.0.0.127.bl.test": ("127.0.0.2",)})
    await watch.look()
    assert watch.findings[0].listed is None
    assert "it is gone" in watch.findings[0].problem


async def test_a_key_is_not_told(world: World) -> None:
    watch = world.watch(lists=["secretkey.zen.dq.spamhaus.net"])
    world.silent = True
    await watch.look()
    assert "secretkey" not in repr((watch.status(), world.log.seen))


async def test_addresses_are_found_where_none_are_named(world: World) -> None:
    watch = world.watch(["192.0.2.7"], addresses=[])
    assert watch.status() == {"addresses": None, "listings": []}
    await watch.look()
    assert [finding.address for finding in watch.findings] == ["192.0.2.7"]
    lost = world.watch([], addresses=[])
    await lost.look()
    assert lost.status() == {"addresses": [], "listings": []}
    assert world.log.names == ["blocklist_unusable"]


async def test_a_reload_does_not_tell_it_anew(world: World) -> None:
    world.answers[NAME] = ("127.0.0.2",)
    watch = world.watch()
    await watch.look()
    again = world.watch()
    again.restore(watch.export())
    await again.look()
    assert world.log.names == ["blocklist_listed"]
    assert again.findings[0].since == watch.findings[0].since
    other = world.watch(lists=["other.test"])
    other.restore(watch.export())
    other.restore([{"of": "another release"}])
    assert other.findings == []


async def test_nothing_is_asked_without_lists(world: World) -> None:
    watch = world.watch(lists=[])
    watch.start()
    assert watch.status() is None
    await watch.close()
    assert world.closed == 0


async def test_rounds_go_on_whatever_happens(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_WITHIN", 0.0)
    watch = world.watch()
    rounds = asyncio.Event()

    async def look() -> None:
        rounds.set()
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(watch, "look", look)
    watch.start()
    await asyncio.wait_for(rounds.wait(), 10)
    await asyncio.sleep(0)
    await watch.close()
    assert world.log.names == ["blocklist_fault"]
