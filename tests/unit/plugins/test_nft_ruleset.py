# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules as text: what is open to whom, in which order, and what is refused as a policy."""

import re
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.nft_ruleset import (
    UNKNOWN_UID,
    ExtraPort,
    ExtraRules,
    FirewallPolicy,
    PolicyError,
    Rates,
    parse_networks,
    render,
    submission_ports,
)


def rules_of(chain: str, **changes: Any) -> list[str]:
    """The rules of one chain for a usual policy with `changes`."""
    policy: dict[str, Any] = {"ports": [587, 465], "ssh_ports": [22], "smtp_users": {"postroad": 998}, **changes}
    text = render(FirewallPolicy(**policy))
    found = re.search(rf"chain {chain} \{{\n(.*?)\n\t\}}", text, re.DOTALL)
    return [line.strip() for line in found[1].splitlines()] if found else []


def test_replaces_our_table_and_no_other() -> None:
    text = render(FirewallPolicy(ports=[587], ssh_ports=[22]))
    assert "flush ruleset" not in text
    assert set(re.findall(r"^(?:delete )?table (.*?)(?: \{.*)?$", text, re.MULTILINE)) == {"inet postroad"}
    assert text.index("table inet postroad {}") < text.index("delete table") < text.index("table inet postroad {\n")


def test_ssh_comes_before_every_rule_that_refuses() -> None:
    rules = rules_of("incoming")
    ssh = rules.index("tcp dport { 22 } accept")
    assert all("reject" not in rule and "submission" not in rule for rule in rules[:ssh])


def test_default_refuses_the_rest_and_fails_closed() -> None:
    rules = rules_of("incoming")
    assert rules[0].endswith("policy drop;")
    assert rules[-2:] == ["meta l4proto 6 reject with tcp reset", "reject"]


def test_ports_are_sorted_once_each() -> None:
    assert "tcp dport { 465, 587 } jump submission" in rules_of("incoming", ports=[587, 465, 587])


def test_submission_ports_are_read_back() -> None:
    extra = [ExtraPort(port=80)]
    text = render(FirewallPolicy(ports=[587, 465], ssh_ports=[22], extra_ports=extra))
    assert submission_ports(text) == {465, 587}
    assert submission_ports("") == set()


def test_a_port_that_ssh_has_is_not_limited() -> None:
    assert "tcp dport { 587 } jump submission" in rules_of("incoming", ports=[22, 587])


def test_no_submission_port_is_no_rule() -> None:
    assert not any("jump submission" in rule for rule in rules_of("incoming", ports=[]))


def test_sources_of_ssh_in_both_families() -> None:
    rules = rules_of("incoming", ssh_sources=["198.51.100.0/24", "198.51.100.7", "2001:db8::/32"])
    assert "ip saddr { 198.51.100.0/24 } tcp dport { 22 } accept" in rules
    assert "ip6 saddr { 2001:db8::/32 } tcp dport { 22 } accept" in rules
    assert "tcp dport { 22 } accept" not in rules


def test_sources_of_ssh_hold_where_other_ports_are_open() -> None:
    rules = rules_of("incoming", ssh_sources=["198.51.100.1"], other_ports="accept")
    accepted = rules.index("ip saddr { 198.51.100.1/32 } tcp dport { 22 } accept")
    assert rules.index("tcp dport { 22 } reject with tcp reset") > accepted
    assert rules[0].endswith("policy accept;")
    assert "reject" not in rules


def test_dropping_in_silence_has_no_reject() -> None:
    rules = rules_of("incoming", other_ports="drop")
    assert rules[0].endswith("policy drop;")
    assert not any("reject" in rule for rule in rules)


def test_extra_ports() -> None:
    extra = [ExtraPort(port=80), ExtraPort(port=51820, protocol="udp", sources=["2001:db8::1"])]
    rules = rules_of("incoming", extra_ports=extra)
    assert "tcp dport 80 accept" in rules
    assert "ip6 saddr { 2001:db8::1/128 } udp dport 51820 accept" in rules


def test_rates_count_addresses_and_prefixes() -> None:
    rules = rules_of("submission", rates=Rates(new_connections_per_minute=7, burst=3, exempt=["10.0.0.0/8"]))
    assert rules == [
        "ip saddr { 10.0.0.0/8 } accept",
        "meta nfproto ipv4 update @sources4 { ip saddr limit rate over 7/minute burst 3 packets } counter drop",
        "meta nfproto ipv6 update @sources6 { ip6 saddr & ffff:ffff:ffff:ffff:: limit rate over 7/minute burst 3 "
        "packets } counter drop",
        "accept",
    ]


def test_outgoing_mail_is_for_the_given_users() -> None:
    rules = rules_of("mail", smtp_users={"postroad": 998, "monitor": 120})
    assert "meta skuid { 120, 998 } accept" in rules
    assert rules[-1].startswith("counter reject")
    assert "# monitor is 120, postroad is 998" in rules


def test_a_user_not_made_yet_is_said_to_be() -> None:
    assert "# postroad is made by the run" in rules_of("mail", smtp_users={"postroad": UNKNOWN_UID})


def test_unrestricted_outgoing_mail_has_no_chain() -> None:
    assert rules_of("outgoing", smtp_users=None) == []


def test_own_rules_come_before_those_for_ssh_and_after_what_is_established() -> None:
    own = ExtraRules(
        incoming=["ip saddr @pests drop"],
        outgoing=["udp dport 53 accept"],
        declarations=["set pests { type ipv4_addr; elements = { 203.0.113.1 }; }"],
    )
    rules = rules_of("incoming", extra_rules=own)
    assert rules.index("ct state established,related accept") < rules.index("jump own_incoming")
    assert rules.index("jump own_incoming") < rules.index("tcp dport { 22 } accept")
    assert rules_of("own_incoming", extra_rules=own) == ["ip saddr @pests drop"]
    assert rules_of("outgoing", extra_rules=own)[1:] == ["jump own_outgoing", "tcp dport 25 jump mail"]
    assert rules_of("outgoing", extra_rules=own, smtp_users=None)[1:] == ["jump own_outgoing"]
    text = render(FirewallPolicy(ports=[587], ssh_ports=[22], extra_rules=own))
    assert text.index("set pests") < text.index("chain own_incoming")
    assert "own_" not in render(FirewallPolicy(ports=[587], ssh_ports=[22]))


def test_those_who_guess_are_dropped_before_all_else_and_the_spared_are_not() -> None:
    rules = rules_of("submission", shut_out=["198.51.100.0/24", "2001:db8::/32"])
    assert rules[:2] == [
        "ip saddr != { 198.51.100.0/24 } ip saddr @shut_out4 counter drop",
        "ip6 saddr != { 2001:db8::/32 } ip6 saddr & ffff:ffff:ffff:ffff:: @shut_out6 counter drop",
    ]
    assert rules_of("submission", shut_out=[])[0] == "ip saddr @shut_out4 counter drop"
    assert not any("shut_out" in rule for rule in rules_of("submission"))
    assert not any("shut_out" in rule for rule in rules_of("incoming", shut_out=[]))


def test_same_policy_same_text() -> None:
    one = render(FirewallPolicy(ports=[1, 2], ssh_ports=[22, 2222], smtp_users={"a": 1, "b": 2}))
    two = render(FirewallPolicy(ports=[2, 1], ssh_ports=[2222, 22], smtp_users={"b": 2, "a": 1}))
    assert one == two


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ports": [0]}, "relay_firewall_ports: 0 is not a port"),
        ({"ssh_ports": [65536]}, "relay_firewall_ssh.ports: 65536 is not a port"),
        (
            {"extra_rules": ExtraRules(incoming=["a\nb"])},
            "relay_firewall_extra_rules.incoming: 'a\\nb' is not one line",
        ),
        ({"extra_rules": ExtraRules(incoming=["} table ip x {"])}, "'} table ip x {' has braces that do not match"),
        ({"extra_rules": ExtraRules(outgoing=["x { y"])}, "relay_firewall_extra_rules.outgoing: 'x { y' has braces"),
        ({"extra_rules": ExtraRules(declarations=[""])}, "relay_firewall_extra_rules.declarations: '' is not one line"),
        ({"shut_out": ["everyone"]}, "relay_firewall_shut_out.never: 'everyone' is not an address"),
        ({"extra_ports": [ExtraPort(port=-1)]}, "relay_firewall_extra_ports: -1 is not a port"),
        ({"extra_ports": [ExtraPort(port=1, protocol="tcp accept")]}, "relay_firewall_extra_ports: 'tcp accept'"),
        ({"other_ports": "open"}, "relay_firewall_other_ports: 'open' is not one of reject, drop, accept"),
        ({"rates": Rates(burst=0)}, "relay_firewall_rates.burst: 0 is not between"),
        ({"rates": Rates(new_connections_per_minute=2_000_000)}, "relay_firewall_rates.new_connections_per_minute"),
        ({"rates": Rates(exempt=["office"])}, "relay_firewall_rates.exempt: 'office' is not an address"),
        ({"ssh_sources": ["10.0.0.1/8"]}, "relay_firewall_ssh.sources: '10.0.0.1/8' is not an address or network"),
        ({"ssh_sources": ["1.1.1.1 } accept #"]}, "relay_firewall_ssh.sources"),
    ],
)
def test_bad_policy_names_the_variable(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(text)):
        rules_of("incoming", **changes)


def test_networks_are_merged_by_family() -> None:
    merged = parse_networks(["2001:db8::/33", "10.1.0.0/16", "10.0.0.0/8", "2001:db8:8000::/33"], "x")
    assert [str(network) for network in merged] == ["10.0.0.0/8", "2001:db8::/32"]
