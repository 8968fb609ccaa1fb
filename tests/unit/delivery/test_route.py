# SPDX-License-Identifier: GPL-3.0-or-later
"""The order in which hosts are tried, and which way a router finds."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from relay_agent.config.schema import Config, Hop
from relay_agent.delivery.resolve import Exchangers, MailHost, Resolver
from relay_agent.delivery.route import Router, Security, Target, Way, way_via
from relay_agent.delivery.routing.port25 import Port25, State
from relay_agent.delivery.routing.reach import Origin
from relay_agent.delivery.tls.outward import OutwardTls
from relay_agent.queue.model import Envelope, Message

from .memory_store import Events

ENVELOPE = Envelope("alice@home.test", "alice")


def test_upstreams_keep_their_order_and_say_how() -> None:
    hops = (
        Hop(host="a.test", tls="implicit", port=465, username="u", password_file=Path("/secret")),
        Hop(host="b.test", tls="none", port=25),
    )
    way = way_via(hops)
    for _ in range(10):
        assert [target.label for _, target in way.in_order()] == ["a.test:465", "b.test"]
    (_, first), (_, second) = way.in_order()
    assert (first.security, first.username, first.upstream) == (Security.IMPLICIT, "u", True)
    assert second.security is Security.NONE


def test_equal_preference_is_shuffled() -> None:
    hosts = [Target(f"mx{number}.test", 25, Security.OPPORTUNISTIC) for number in range(4)]
    way = Way(((10, hosts[0]), (20, hosts[1]), (20, hosts[2]), (30, hosts[3])))
    orders = {tuple(target for _, target in way.in_order()) for _ in range(100)}
    assert orders == {(hosts[0], hosts[1], hosts[2], hosts[3]), (hosts[0], hosts[2], hosts[1], hosts[3])}


def test_priorities_come_before_weights_and_weights_divide() -> None:
    hops = (
        Hop(host="last.test", priority=20),
        Hop(host="often.test", priority=10, weight=3),
        Hop(host="seldom.test", priority=10, weight=1),
    )
    way = way_via(hops)
    orders = [[target.host for _, target in way.in_order()] for _ in range(2000)]
    assert {order[2] for order in orders} == {"last.test"}
    first = Counter(order[0] for order in orders)
    assert 1350 < first["often.test"] < 1650


class _Resolver(Resolver):
    """One MX host for every domain."""

    async def exchangers(self, domain: str) -> Exchangers:
        return Exchangers((MailHost(f"mx.{domain}", 10),), 60)


def _router(state: State = State.OPEN, **sections: Any) -> tuple[Router, Port25]:
    config = Config.model_validate(
        {
            "hostname": "relay.test",
            "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
            "submission": {"trusted_networks": ["127.0.0.0/8"]},
            **sections,
        }
    )
    resolver = _Resolver((), "relay.test")

    async def submit(message: Message) -> None:
        raise AssertionError(message)

    port25 = Port25((), 25, resolver, Events())
    port25.state = state
    return Router(config, resolver, OutwardTls(config, resolver, Events(), submit), port25), port25


async def _hosts(router: Router, domain: str, envelope: Envelope = ENVELOPE) -> list[str]:
    way = await router.find(router.plan(domain, envelope))
    return [target.label for _, target in way.choices]


async def test_routes_by_domain_sender_and_account() -> None:
    router, _ = _router(
        route=[
            {"domains": ["inside.test"], "mx": True},
            {"senders": ["news.test"], "via": [{"host": "bulk.test"}]},
            {"accounts": ["bob"], "domains": ["*.test"], "via": [{"host": "bobs.test"}]},
        ]
    )
    assert await _hosts(router, "inside.test", Envelope("x@news.test", "bob")) == ["mx.inside.test"]
    assert await _hosts(router, "a.test", Envelope("x@news.test", "bob")) == ["bulk.test:587"]
    assert await _hosts(router, "a.test", Envelope("x@home.test", "bob")) == ["bobs.test:587"]
    assert await _hosts(router, "a.example", Envelope("x@home.test", "bob")) == ["mx.a.example"]
    await router.resolver.close()


async def test_mail_of_one_domain_from_two_addresses_is_two_ways() -> None:
    router, _ = _router(
        route=[
            {"senders": ["one.test"], "mx": True, "source_address": "192.0.2.1", "helo": "one.test"},
            {"mx": True, "source_address6": "2001:db8::2"},
        ]
    )
    one = await router.find(router.plan("a.test", Envelope("x@one.test")))
    two = await router.find(router.plan("a.test", Envelope("x@two.test")))
    assert one.choices[0][1].origin == Origin("192.0.2.1", None, "one.test")
    assert two.choices[0][1].origin == Origin(None, "2001:db8::2", None)
    assert router.known(router.plan("a.test", Envelope("x@one.test"))) == one
    await router.resolver.close()


@pytest.mark.parametrize("fallback", [True, False])
async def test_port_25_closed_and_a_pool(fallback: bool) -> None:
    sections: dict[str, Any] = {"route": [{"domains": ["x.test"], "via": [{"host": "routed.test"}]}]}
    if fallback:
        sections["delivery"] = {"fallback_via": [{"host": "instead.test"}]}
    router, port25 = _router(State.CLOSED, **sections)
    expected = "instead.test:587" if fallback else "routed.test:587"
    assert await _hosts(router, "a.test") == [expected]
    assert router.instead == expected
    port25.state = State.OPEN
    assert await _hosts(router, "a.test") == ["mx.a.test"]
    await router.resolver.close()


async def test_port_25_closed_and_no_pool() -> None:
    router, _ = _router(State.CLOSED)
    assert await _hosts(router, "a.test") == ["mx.a.test"]
    assert router.instead is None
    await router.resolver.close()


SITE = {
    "domains": ["site.test"],
    "etrn": True,
    "owners": ["site"],
    "via": [{"host": "site.test", "port": 25, "tls": "none"}],
}
OF_A_SENDER = {"senders": ["news.test"], "via": [{"host": "bulk.test"}]}
OF_AN_ACCOUNT = {"accounts": ["bob"], "via": [{"host": "bobs.test"}]}
OPEN_TO_ALL = {"domains": ["x.test"], "via": [{"host": "routed.test"}]}


@pytest.mark.parametrize(
    ("routes", "instead"),
    [
        ([SITE, OPEN_TO_ALL], "routed.test:587"),
        ([OF_A_SENDER, OF_AN_ACCOUNT, OPEN_TO_ALL], "routed.test:587"),
        ([SITE], None),
        ([OF_A_SENDER], None),
        ([OF_AN_ACCOUNT], None),
    ],
)
async def test_port_25_closed_and_pools_for_some_mail_only(routes: list[dict[str, Any]], instead: str | None) -> None:
    router, _ = _router(State.CLOSED, route=routes)
    assert router.instead == instead
    assert await _hosts(router, "a.test") == [instead or "mx.a.test"]
    assert [target.host for target in router.upstreams] == [route["via"][0]["host"] for route in routes]
    await router.resolver.close()


async def test_mail_waits_for_the_first_look() -> None:
    router, port25 = _router(State.UNKNOWN, delivery={"fallback_via": [{"host": "instead.test"}]})
    port25._first.clear()
    assert router.known(router.plan("a.test", ENVELOPE)) is None
    asked = asyncio.ensure_future(_hosts(router, "a.test"))
    await asyncio.sleep(0)
    port25.state = State.CLOSED
    port25._first.set()
    assert await asked == ["instead.test:587"]
    await router.resolver.close()
