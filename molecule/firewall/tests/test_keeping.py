# SPDX-License-Identifier: GPL-3.0-or-later
"""What stays: over a change that is proved, over somebody's flush, over a reboot."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from lab.topology import Lab
from traffic.filters import FOREIGN, SHUT_OUT, Played

RELAYS = ("relay1", "relay2")
OWN = {
    "incoming": ["ip saddr @pests counter drop"],
    "outgoing": [],
    "declarations": ["set pests { type ipv4_addr; flags interval; elements = { 203.0.113.0/24 }; }"],
}


@pytest.fixture(scope="module")
def changed(guessed: dict[tuple[str, int], list[str]], change: Callable[..., Played]) -> Played:
    """A change that is good: rules of the operator's own, and a port less."""
    return change(relay_firewall_extra_rules=OWN, relay_firewall_ports=[587, 465, 2525, 2465, 443])


def test_a_good_change_is_proved_and_kept(changed: Played, on: Callable[[str], Any]) -> None:
    assert changed.status == 0, changed.output
    assert [changed.recap[relay]["changed"] for relay in RELAYS] == [1, 1]
    for relay in RELAYS:
        assert "203.0.113.0/24" in on(relay).check_output("nft list set inet postroad pests")
        assert "@pests" in on(relay).check_output("cat /etc/postroad/firewall.nft")
        assert on(relay).run("systemctl is-active postroad-firewall-restore.timer").rc != 0


def test_a_port_that_is_no_longer_ours_is_closed_in_the_other_filter(changed: Played, on: Callable[[str], Any]) -> None:
    assert "8025" not in on("relay1").check_output("ufw show added")
    assert "8025" not in on("relay2").check_output("firewall-cmd --list-ports; firewall-cmd --permanent --list-ports")
    assert "22/tcp" in on("relay1").check_output("ufw show added")


def test_who_was_shut_out_stays_so(
    changed: Played, lab: Lab, on: Callable[[str], Any], reaches: Callable[[str, int], bool]
) -> None:
    assert lab.host("laptop").address.ipv4 in on("relay1").check_output(SHUT_OUT.format(4))
    assert not reaches(lab.host("relay1").address.ipv4, 587)


def test_a_reboot_brings_everything_back(
    changed: Played,
    lab: Lab,
    on: Callable[[str], Any],
    power: Callable[..., None],
    tables: Callable[[str], dict[str, str]],
    change: Callable[..., Played],
    reaches: Callable[[str, int], bool],
) -> None:
    before = {relay: tables(relay) for relay in RELAYS}
    rules = {relay: on(relay).check_output("nft -st list table inet postroad") for relay in RELAYS}
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda relay: power("restart", relay), RELAYS))
    for relay in RELAYS:
        after = tables(relay)
        assert {name: after[name] for name in FOREIGN} == {name: before[relay][name] for name in FOREIGN}
        assert after.keys() == before[relay].keys()
        assert on(relay).check_output("nft -st list table inet postroad") == rules[relay]
        assert "203.0.113.0/24" in on(relay).check_output("nft list set inet postroad pests")
        assert reaches(lab.host(relay).address.ipv4, 587) is (relay == "relay2")
    again = change(relay_firewall_extra_rules=OWN, relay_firewall_ports=[587, 465, 2525, 2465, 443])
    assert [again.recap[relay].get("changed") for relay in RELAYS] == [0, 0], again.output


def test_the_operator_lets_an_address_in_again(
    guessed: dict[tuple[str, int], list[str]], lab: Lab, on: Callable[[str], Any], reached: Callable[..., bool]
) -> None:
    laptop, relay = lab.host("laptop").address, lab.host("relay1").address
    for address in (laptop.ipv4, laptop.ipv6):
        on("relay1").check_output(f"relay-agent shut-out release {address}")
    assert reached(587, relay.ipv4, relay.ipv6)
