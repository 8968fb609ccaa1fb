# SPDX-License-Identifier: GPL-3.0-or-later
"""TLSA records of relay2: there before the key that they announce, and what happens where one is missing."""

import json
from collections.abc import Callable
from typing import Any

from traffic.relays import Relay

RELAY = "relay2"
NAME = "_465._tcp.relay2.postroad.test"


def _records(relay: Relay) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(relay.host.check_output("relay-agent certificate tlsa --json"))
    return told


def test_both_keys_are_published_at_every_port_with_tls(
    relays: dict[str, Relay], timer_strikes: Callable[[str], bool], tlsa: Callable[[str], set[str]]
) -> None:
    assert timer_strikes(RELAY)
    told = _records(relays[RELAY])
    assert NAME + "." in told["names"]
    assert len(told["names"]) == 6
    for name in told["names"]:
        assert tlsa(name) == {told["present"], told["next"]}


def test_lines_to_paste(relays: dict[str, Relay]) -> None:
    told = _records(relays[RELAY])
    lines = relays[RELAY].host.check_output("relay-agent certificate tlsa --ttl 300").splitlines()
    assert f"{NAME}. 300 IN TLSA 3 1 1 {told['present']}" in lines
    assert f"{NAME}. 300 IN TLSA 3 1 1 {told['next']}" in lines


def test_the_next_key_takes_its_turn_and_another_is_announced(
    relays: dict[str, Relay],
    tlsa: Callable[[str], set[str]],
    eventually: Callable[[Callable[[], bool]], bool],
    certificate: Callable[[str], dict[str, Any]],
    timer_strikes: Callable[[str], bool],
) -> None:
    before = _records(relays[RELAY])
    seen = certificate(RELAY)["renewals"]["seen"]
    assert seen > 0
    relays[RELAY].host.check_output(f"sleep {certificate(RELAY)['renewals']['ttl'] + 1}")
    relays[RELAY].host.check_output("relay-agent certificate renew --now")
    after = _records(relays[RELAY])
    assert after["present"] == before["next"]
    assert after["next"] not in before.values()
    assert eventually(lambda: tlsa(NAME) == {after["present"], after["next"]})


def test_a_key_that_was_not_announced_long_enough_is_not_used(
    relays: dict[str, Relay], on: Callable[[str], Any], shown: Callable[[str], str]
) -> None:
    before, fingerprint = _records(relays[RELAY]), shown(RELAY)
    knot = "knotc zone-begin relay2.postroad.test && knotc zone-unset relay2.postroad.test _465._tcp TLSA"
    on("acme").check_output(f"{knot} && knotc zone-commit relay2.postroad.test")
    renewal = relays[RELAY].host.run("relay-agent certificate renew --now")
    assert renewal.rc == 0, renewal.stdout + renewal.stderr
    assert _records(relays[RELAY]) == before
    assert shown(RELAY) != fingerprint
