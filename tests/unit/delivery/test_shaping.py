# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts can take, and how that is learnt."""

from __future__ import annotations

import time
from typing import Any

import pytest

from relay_agent.config.schema import Config
from relay_agent.delivery.destination import Destination
from relay_agent.delivery.outcome import Deferred
from relay_agent.delivery.route import Security, Target, Way
from relay_agent.delivery.shaping import Limit, Peer, Shaper, Standing, pause_for
from relay_agent.delivery.tls.policy import Wanted

REFUSED = Deferred("4.4.1", "connection refused", "mx.a.test")


def way(*hosts: str, port: int = 25, **more: Any) -> Way:
    return Way(tuple((10, Target(host, port, Security.OPPORTUNISTIC, **more)) for host in hosts))


def config(*rules: dict[str, Any]) -> Config:
    return Config.model_validate(
        {
            "hostname": "relay.test",
            "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
            "submission": {"trusted_networks": ["127.0.0.0/8"]},
            "shaping": list(rules),
        }
    )


def test_the_first_rule_that_matches_any_host() -> None:
    shaper = Shaper(
        config(
            {"destinations": ["*.big.test"], "connections": 3, "messages_per_minute": 30},
            {"destinations": ["mx.big.test", "small.test"], "messages_per_minute": 6},
        )
    )
    assert shaper.peer(way("mx.big.test", "x.test")).limit == Limit(3, 0.5)
    assert shaper.peer(way("small.test")).limit == Limit(10, 0.1)
    assert shaper.peer(way("other.test")).limit == Limit(10)
    shaper.reconfigure(config({"destinations": ["*"], "connections": 2}))
    assert shaper.peer(way("other.test")).limit == Limit(2)


def test_ways_to_the_same_hosts_share_a_peer_whatever_their_tls() -> None:
    shaper = Shaper(config())
    strict = way("A.test", "b.test", tls=Wanted(secure_mx=True))
    assert shaper.peer(strict) is shaper.peer(way("b.test", "a.test"))
    assert shaper.peer(strict) is not shaper.peer(way("a.test"))
    assert shaper.peer(strict) is not shaper.peer(way("a.test", "b.test", port=26))


def test_trouble_with_tls_is_the_ways_own() -> None:
    peer = Peer(Limit(10))
    strict, plain = Destination(way("a.test"), peer), Destination(way("a.test"), peer)
    strict.block(Deferred("4.7.5", "certificate not accepted", "a.test"), 60, 3600)
    assert strict.blocked_for
    assert not plain.blocked_for
    strict.worked()
    strict.block(REFUSED, 60, 3600)
    assert plain.trouble is REFUSED


def test_connections_grow_one_by_one_after_trouble() -> None:
    peer = Peer(Limit(10))
    for _ in range(20):
        peer.grows()
    assert peer.window == 10
    peer.shrinks(5)
    for _ in range(4):
        peer.grows()
    assert peer.window == 5
    peer.grows()
    assert peer.window == 6
    peer.shrinks(0)
    assert peer.window == 1


def test_a_rate_is_kept_with_a_little_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    peer = Peer(Limit(10, 2.0))
    sent = 0
    for _ in range(600):  # a minute in tenths of a second
        while not peer.rate_wait:
            peer.sends()
            sent += 1
        now += 0.1
    assert 118 <= sent <= 132
    slow = Peer(Limit(10, 1 / 60))
    slow.sends()
    slow.sends()
    assert 59 < slow.rate_wait <= 60
    assert not Peer(Limit(10)).rate_wait


def test_pauses_grow_with_the_retries_and_end() -> None:
    waits = [pause_for(failures, 60, 3600) for failures in range(8)]
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
    assert pause_for(0, 1, 3600) == 0.5
    assert pause_for(30, 60, 120) == 60


def test_standing() -> None:
    peer = Peer(Limit(10))
    assert not peer.doubtful
    peer.wanted_since = time.monotonic() - 2
    assert peer.doubtful
    peer.worked()
    assert peer.standing is Standing.PROVEN
    assert not peer.doubtful
    peer.failed(REFUSED, 30)
    assert peer.doubtful
    assert not peer.forgettable


def test_what_nobody_needs_is_forgotten_but_not_who_failed_lately() -> None:
    shaper = Shaper(config())
    good, bad = shaper.peer(way("a.test")), shaper.peer(way("b.test"))
    bad.failed(REFUSED, 0)
    shaper.tidy(lambda peer: False)
    assert shaper.peers == [bad]
    assert shaper.peer(way("a.test")) is not good
    shaper.clear()
    assert not shaper.peers
