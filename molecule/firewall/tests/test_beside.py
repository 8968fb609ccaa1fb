# SPDX-License-Identifier: GPL-3.0-or-later
"""Other packet filters on the same host: theirs stays theirs, and what they would drop is opened there."""

from collections.abc import Callable
from typing import Any

import pytest
from lab.topology import Lab
from traffic.filters import FOREIGN, Played
from traffic.fixtures import CHECKOUT

BESIDE = {"relay1": "ufw", "relay2": "firewalld"}


@pytest.mark.parametrize("relay", BESIDE)
def test_tables_of_others_are_as_their_owners_loaded_them(relay: str, on: Callable[[str], Any]) -> None:
    written = (CHECKOUT / "molecule/firewall/files/foreign.nft").read_text().split("\n", 1)[1]
    listed = "\n".join(on(relay).check_output(f"nft -s list table {name}") for name in FOREIGN)
    assert listed.split() == written.split()


@pytest.mark.parametrize("relay", BESIDE)
def test_submission_gets_through_the_other_filter_and_nothing_else(
    relay: str, on: Callable[[str], Any], lab: Lab, reaches: Callable[[str, int], bool]
) -> None:
    address = lab.host(relay).address
    assert [reaches(one, 587) for one in (address.ipv4, address.ipv6)] == [True, True]
    # The other filter is at work: what our table alone would let in does not get through it.
    host = on(relay)
    host.check_output("systemd-run --quiet --unit=other python3 -m http.server 9100")
    host.check_output("nft insert rule inet postroad incoming tcp dport 9100 accept")
    try:
        assert not reaches(address.ipv4, 9100)
        shown = host.check_output("ufw status" if relay == "relay1" else "firewall-cmd --permanent --list-ports")
        assert "587/tcp" in shown
        assert "9100" not in shown
    finally:
        host.run("systemctl stop other; systemctl reload postroad-firewall")


def test_where_it_may_not_open_it_fails_and_says_what_to_do(change: Callable[..., Played]) -> None:
    played = change(relay_firewall_ports=[587, 4711], relay_firewall_beside={"open": False, "firewalld_zones": []})
    assert played.failed.keys() == BESIDE.keys()
    for relay, tool in BESIDE.items():
        assert f"{tool} is active on this host and does not let in 4711/tcp" in played.failed[relay]["msg"]
