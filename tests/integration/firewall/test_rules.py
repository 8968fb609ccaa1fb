# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules let through and what they stop, tried with real connections."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.nft_live import NftError, PacketFilter
from ansible_collections.postroad.relay.plugins.module_utils.nft_ruleset import (
    ExtraPort,
    FirewallPolicy,
    Rates,
    render,
)

from tests.integration.firewall.namespaces import PEER4, PEER6, RELAY4, RELAY6, Hosts

AGENT_UID, OTHER_UID = 4711, 4712

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nft") is None, reason="needs root and nftables (scripts/test-packages.sh)"
)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts.made() as made:
        made.wait_for_link()
        with made.listening(made.relay, 22, 587, 8080, 9090), made.listening(made.peer, 25, 26):
            yield made


def load(hosts: Hosts, **changes: Any) -> None:
    policy: dict[str, Any] = {"ports": [587, 465], "ssh_ports": [22], "smtp_users": {"postroad": AGENT_UID}, **changes}
    hosts.nft("-f", "-", text=render(FirewallPolicy(**policy)))


@pytest.mark.parametrize("relay", [RELAY4, RELAY6])
def test_what_is_open_and_what_is_closed(hosts: Hosts, relay: str) -> None:
    load(hosts, extra_ports=[ExtraPort(port=8080)])
    seen = {port: hosts.connect(hosts.peer, relay, port)[0] for port in (22, 587, 465, 8080, 9090)}
    # 465 is open in the filter and nobody listens: the kernel itself refuses.
    assert seen == {22: "open", 587: "open", 465: "refused", 8080: "open", 9090: "refused"}


@pytest.mark.parametrize("relay", [RELAY4, RELAY6])
def test_other_ports_can_stay_silent_or_open(hosts: Hosts, relay: str) -> None:
    load(hosts, other_ports="drop")
    assert hosts.connect(hosts.peer, relay, 9090) == ["silent"]
    load(hosts, other_ports="accept")
    assert hosts.connect(hosts.peer, relay, 9090) == ["open"]


@pytest.mark.parametrize("other_ports", ["reject", "accept"])
def test_ssh_is_for_its_sources(hosts: Hosts, other_ports: str) -> None:
    load(hosts, ssh_sources=[PEER4[0], PEER6[0]], other_ports=other_ports)
    for relay, (let_in, kept_out) in ((RELAY4, PEER4), (RELAY6, PEER6)):
        assert hosts.connect(hosts.peer, relay, 22, source=let_in) == ["open"]
        assert hosts.connect(hosts.peer, relay, 22, source=kept_out) == ["refused"]


def test_rate_counts_each_ipv4_address(hosts: Hosts) -> None:
    load(hosts, rates=Rates(new_connections_per_minute=1, burst=5))
    first = hosts.connect(hosts.peer, RELAY4, 587, source=PEER4[0], count=8)
    assert first[:5] == ["open"] * 5
    assert first[-1] == "silent"
    assert hosts.connect(hosts.peer, RELAY4, 587, source=PEER4[1]) == ["open"]
    assert hosts.connect(hosts.peer, RELAY4, 22, source=PEER4[0]) == ["open"]


def test_rate_counts_an_ipv6_prefix_as_one(hosts: Hosts) -> None:
    load(hosts, rates=Rates(new_connections_per_minute=1, burst=5))
    hosts.connect(hosts.peer, RELAY6, 587, source=PEER6[0], count=8)
    assert hosts.connect(hosts.peer, RELAY6, 587, source=PEER6[1]) == ["silent"]
    assert hosts.connect(hosts.peer, RELAY4, 587) == ["open"]


def test_exempt_sources_have_no_rate(hosts: Hosts) -> None:
    load(hosts, rates=Rates(new_connections_per_minute=1, burst=1, exempt=[PEER4[0]]))
    assert hosts.connect(hosts.peer, RELAY4, 587, source=PEER4[0], count=20) == ["open"] * 20


@pytest.mark.parametrize("peer", [PEER4[0], PEER6[0]])
def test_outgoing_mail_is_for_the_agent(hosts: Hosts, peer: str) -> None:
    load(hosts)
    assert hosts.connect(hosts.relay, peer, 25, uid=AGENT_UID) == ["open"]
    assert hosts.connect(hosts.relay, peer, 25, uid=OTHER_UID) != ["open"]
    assert hosts.connect(hosts.relay, peer, 25) != ["open"]
    assert hosts.connect(hosts.relay, peer, 26, uid=OTHER_UID) == ["open"]
    load(hosts, smtp_users=None)
    assert hosts.connect(hosts.relay, peer, 25, uid=OTHER_UID) == ["open"]


def test_foreign_tables_survive(hosts: Hosts) -> None:
    hosts.nft("add", "table", "ip", "docker")
    hosts.nft("add", "table", "inet", "f2b")
    load(hosts)
    load(hosts, ports=[2525])
    tables = hosts.nft("list", "tables")
    assert tables.split("\n")[:-1] == ["table ip docker", "table inet f2b", "table inet postroad"]
    hosts.nft("delete", "table", "ip", "docker")
    hosts.nft("delete", "table", "inet", "f2b")


def filter_of(hosts: Hosts, directory: Path) -> PacketFilter:
    """The product's own view of the relay's filter."""

    def command(args: list[str], /) -> tuple[int, str, str]:
        inside = ["ip", "netns", "exec", hosts.relay, *args]
        done = subprocess.run(inside, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return PacketFilter(command, shutil.which("nft") or "nft", directory)


def test_a_change_by_hand_is_seen(hosts: Hosts, tmp_path: Path) -> None:
    rules = render(FirewallPolicy(ports=[587], ssh_ports=[22], ssh_sources=[PEER4[0]], smtp_users={"postroad": 4711}))
    packet_filter = filter_of(hosts, tmp_path)
    hosts.nft("-f", "-", text=rules)
    hosts.connect(hosts.peer, RELAY4, 587, count=3)  # counters and sets that fill are no change
    assert packet_filter.live() == packet_filter.as_loaded(rules) != ""
    hosts.nft("insert", "rule", "inet", "postroad", "incoming", "tcp", "dport", "9090", "accept")
    assert packet_filter.live() != packet_filter.as_loaded(rules)
    hosts.nft("delete", "table", "inet", "postroad")
    assert packet_filter.live() == ""


def test_trying_out_leaves_the_live_rules_alone(hosts: Hosts, tmp_path: Path) -> None:
    load(hosts)
    packet_filter = filter_of(hosts, tmp_path)
    before = packet_filter.live()
    packet_filter.as_loaded(render(FirewallPolicy(ports=[1], ssh_ports=[2])))
    with pytest.raises(NftError, match="the rules do not load"):
        packet_filter.as_loaded("table inet postroad { chain x { nonsense; } }\n")
    assert packet_filter.live() == before
