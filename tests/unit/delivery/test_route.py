# SPDX-License-Identifier: GPL-3.0-or-later
"""Matching routes, and the order in which hosts are tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_agent.config.schema import Hop, Route
from relay_agent.delivery.route import Security, Target, Way, matching_route, targets_via

ROUTES = (
    Route(domains=("example.org", "b\u00fccher.example"), via=(Hop(host="one.test"),)),
    Route(domains=("*.example.org",), via=(Hop(host="two.test"),)),
    Route(domains=("*",), via=(Hop(host="three.test"),)),
)


@pytest.mark.parametrize(
    ("domain", "host"),
    [
        ("example.org", "one.test"),
        ("EXAMPLE.org", "one.test"),
        ("xn--bcher-kva.example", "one.test"),
        ("B\u00fccher.example", "one.test"),
        ("a.example.org", "two.test"),
        ("a.b.example.org", "two.test"),
        ("notexample.org", "three.test"),
        ("[192.0.2.1]", "three.test"),
        ("no domain", "three.test"),
    ],
)
def test_first_match_wins(domain: str, host: str) -> None:
    route = matching_route(ROUTES, domain)
    assert route is not None
    assert route.via[0].host == host


def test_no_match_is_mx() -> None:
    assert matching_route(ROUTES[:2], "elsewhere.example") is None


def test_upstreams_keep_their_order_and_say_how() -> None:
    hops = (
        Hop(host="a.test", tls="implicit", port=465, username="u", password_file=Path("/secret")),
        Hop(host="b.test", tls="none", port=25),
    )
    way = Way(tuple(enumerate(targets_via(hops))))
    for _ in range(10):
        assert [target.label for target in way.in_order()] == ["a.test:465", "b.test"]
    first, second = way.in_order()
    assert (first.security, first.username, first.upstream) == (Security.IMPLICIT, "u", True)
    assert second.security is Security.NONE


def test_equal_preference_is_shuffled() -> None:
    hosts = [Target(f"mx{number}.test", 25, Security.OPPORTUNISTIC) for number in range(4)]
    way = Way(((10, hosts[0]), (20, hosts[1]), (20, hosts[2]), (30, hosts[3])))
    orders = {tuple(way.in_order()) for _ in range(100)}
    assert orders == {(hosts[0], hosts[1], hosts[2], hosts[3]), (hosts[0], hosts[2], hosts[1], hosts[3])}
