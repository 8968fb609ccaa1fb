# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet filter of a relay as text: from a policy to one nftables table. No input, no output, no state.

The table is `inet postroad`. It can only narrow what other tables let through: in nftables an accept ends the
base chain it stands in, while a drop in any table is final.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = [
    "ExtraPort",
    "ExtraRules",
    "FirewallPolicy",
    "PolicyError",
    "Rates",
    "SHUT_OUT_SETS",
    "TABLE",
    "UNKNOWN_UID",
    "parse_networks",
    "render",
    "submission_ports",
    "without_ids",
]

TABLE = "inet postroad"
UNKNOWN_UID = 65534
"""Stands for a user that only a real run makes, in what check mode shows."""

SHUT_OUT_SETS = {4: "shut_out4", 6: "shut_out6"}
"""The sets of addresses that guess passwords, by family; a service fills them (relay_agent.shut_out)."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

OTHER_PORTS = ("reject", "drop", "accept")
PROTOCOLS = ("tcp", "udp")

_SUBMISSION = re.compile(r"tcp dport \{ ([0-9, ]+) \} jump submission")
_USERS = re.compile(r"# ([^\n]+ (?:is \d+|is made by the run))\n\t\tmeta skuid \{ [0-9, ]+ \} accept")
_IDS = re.compile(r" is (?:\d+|made by the run)\b")


class PolicyError(ValueError):
    """The policy cannot be turned into rules; the text names the variable and the value."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How fast one source (an IPv4 address, an IPv6 /64) may open connections to the submission ports."""

    new_connections_per_minute: int = 600
    burst: int = 300
    exempt: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ExtraPort:
    """A port beside submission and SSH that is open, for everyone or for `sources` alone."""

    port: int
    protocol: str = "tcp"
    sources: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ExtraRules:
    """The operator's own rules in nft's language: one a line, tried before ours, and sets and chains that they use."""

    incoming: Sequence[str] = ()
    outgoing: Sequence[str] = ()
    declarations: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class FirewallPolicy:
    """What may come in and what may go out.

    `shut_out` are the sources that are never shut out for guessing; `None`: nobody is. `smtp_users` maps the users that
    may open connections to port 25 elsewhere to their ids. None of them given (`None`) leaves outgoing mail
    unrestricted.
    """

    ports: Sequence[int]
    ssh_ports: Sequence[int]
    ssh_sources: Sequence[str] = ()
    extra_ports: Sequence[ExtraPort] = ()
    rates: Rates = field(default_factory=Rates)
    other_ports: str = "reject"
    extra_rules: ExtraRules = field(default_factory=ExtraRules)
    shut_out: Sequence[str] | None = None
    smtp_users: Mapping[str, int] | None = None


def parse_networks(values: Iterable[str], variable: str) -> list[Network]:
    """Addresses and networks of both families, overlaps merged, IPv4 first. Raises PolicyError naming `variable`."""
    networks: list[Network] = []
    for value in values:
        try:
            networks.append(ipaddress.ip_network(value))
        except ValueError as error:
            raise PolicyError(f"{variable}: {value!r} is not an address or network: {error}") from error
    four = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    six = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    return [*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six)]


def render(policy: FirewallPolicy) -> str:
    """The file that `nft -f` loads: it replaces our table and no other, in one transaction.

    Raises PolicyError for a port, address, rate or choice that cannot be.
    """
    _check(policy)
    lines = [
        "# Written by Postroad (role relay_firewall); changes by hand are undone by the next run.",
        "# The empty table makes the delete succeed where there is none yet (nft 1.0.6 has no `destroy`).",
        f"table {TABLE} {{}}",
        f"delete table {TABLE}",
        "",
        f"table {TABLE} {{",
        *(f"\t{line.strip()}" for line in policy.extra_rules.declarations),
        *_sets(shut_out=policy.shut_out is not None),
    ]
    for name, rules in (("own_incoming", policy.extra_rules.incoming), ("own_outgoing", policy.extra_rules.outgoing)):
        if rules:
            lines += _chain(name, [rule.strip() for rule in rules])
    lines += _chain("incoming", _incoming(policy))
    lines += _chain("submission", _submission(policy.rates, policy.shut_out))
    outgoing = ["jump own_outgoing"] if policy.extra_rules.outgoing else []
    if policy.smtp_users is not None:
        outgoing.append("tcp dport 25 jump mail")
    if outgoing:
        lines += _chain("outgoing", ["type filter hook output priority filter; policy accept;", *outgoing])
    if policy.smtp_users is not None:
        lines += _chain("mail", _outgoing_mail(policy.smtp_users))
    lines[-1:] = ["}", ""]
    return "\n".join(lines)


def submission_ports(rules: str) -> set[int]:
    """The submission ports that rules of `render` open; none in the empty text."""
    return {int(port) for listed in _SUBMISSION.findall(rules) for port in listed.split(",")}


def without_ids(rules: str) -> str:
    """Rules of `render` with users by name alone: for what is shown of a first run, before which no id is known."""
    return _USERS.sub(lambda match: f"# by id: {_IDS.sub('', match[1])}\n\t\tmeta skuid {{ ... }} accept", rules)


def _check(policy: FirewallPolicy) -> None:
    for variable, ports in (
        ("relay_firewall_ports", policy.ports),
        ("relay_firewall_ssh.ports", policy.ssh_ports),
        ("relay_firewall_extra_ports", [extra.port for extra in policy.extra_ports]),
    ):
        for port in ports:
            if not 1 <= port <= 65535:
                raise PolicyError(f"{variable}: {port} is not a port (1 to 65535)")
    for extra in policy.extra_ports:
        if extra.protocol not in PROTOCOLS:
            raise PolicyError(f"relay_firewall_extra_ports: {extra.protocol!r} is not one of {', '.join(PROTOCOLS)}")
    if policy.other_ports not in OTHER_PORTS:
        raise PolicyError(f"relay_firewall_other_ports: {policy.other_ports!r} is not one of {', '.join(OTHER_PORTS)}")
    for key in ("new_connections_per_minute", "burst"):
        # nft takes 32 bits for a burst; a rate of a million a minute is no limit any more.
        if not 1 <= getattr(policy.rates, key) <= 1_000_000:
            raise PolicyError(f"relay_firewall_rates.{key}: {getattr(policy.rates, key)} is not between 1 and 1000000")
    for key in ("incoming", "outgoing", "declarations"):
        for line in getattr(policy.extra_rules, key):
            _check_line(line, f"relay_firewall_extra_rules.{key}")


def _check_line(line: str, variable: str) -> None:
    """That a line stays where it is put: nft itself says whether it makes sense. Raises PolicyError."""
    if not line.strip() or not line.isprintable():
        raise PolicyError(f"{variable}: {line!r} is not one line of nft's language; make an entry of each line")
    depth = 0
    for character in line:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            break
    if depth != 0:
        raise PolicyError(f"{variable}: {line!r} has braces that do not match")


def _sets(*, shut_out: bool) -> list[str]:
    lines = []
    for family, name in SHUT_OUT_SETS.items() if shut_out else ():
        lines += [f"\tset {name} {{", f"\t\ttype ipv{family}_addr", "\t\tsize 65535", "\t\tflags timeout", "\t}", ""]
    for family, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        # A full set counts no further sources and lets them in: the agent has limits of its own.
        lines += [f"\tset sources{family} {{", f"\t\ttype {kind}", "\t\tsize 65535"]
        lines += ["\t\tflags dynamic,timeout", "\t\ttimeout 2m", "\t}", ""]
    return lines


def _chain(name: str, rules: Iterable[str]) -> list[str]:
    return [f"\tchain {name} {{", *(f"\t\t{rule}" for rule in rules), "\t}", ""]


def _incoming(policy: FirewallPolicy) -> list[str]:
    verdict = "accept" if policy.other_ports == "accept" else "drop"
    rules = [
        f"type filter hook input priority filter; policy {verdict};",
        "ct state established,related accept",
        'iifname "lo" accept',
        # ICMP, IGMP, ICMPv6, by number as a small host knows no names: without neighbour discovery and
        # "packet too big" IPv6 stops.
        "meta l4proto { 1, 2, 58 } accept",
        "ct state invalid drop",
        # Answers to DHCP come as new flows when the lease is fresh.
        "udp sport 67 udp dport 68 accept",
        "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",
    ]
    if policy.extra_rules.incoming:
        # Before SSH, or they could not say anything about it. What they cut off comes back by itself.
        rules.insert(3, "jump own_incoming")
    ssh = f"tcp dport {_ports(policy.ssh_ports)}"
    rules += _from(policy.ssh_sources, "relay_firewall_ssh.sources", f"{ssh} accept") if policy.ssh_ports else []
    if policy.ssh_ports and policy.ssh_sources and policy.other_ports == "accept":
        rules.append(f"{ssh} reject with tcp reset")
    ports = sorted(set(policy.ports) - set(policy.ssh_ports))
    if ports:
        rules.append(f"tcp dport {_ports(ports)} jump submission")
    for extra in policy.extra_ports:
        rule = f"{extra.protocol} dport {extra.port} accept"
        rules += _from(extra.sources, "relay_firewall_extra_ports.sources", rule)
    if policy.other_ports == "reject":
        rules += ["meta pkttype { broadcast, multicast } drop", "meta l4proto 6 reject with tcp reset", "reject"]
    return rules


def _submission(rates: Rates, spared: Sequence[str] | None) -> list[str]:
    rules = [] if spared is None else _shut_out(spared)
    rules += _from(rates.exempt, "relay_firewall_rates.exempt", "accept") if rates.exempt else []
    limit = f"limit rate over {rates.new_connections_per_minute}/minute burst {rates.burst} packets"
    # Dropped, not refused: an honest client's SYN comes again a second later and finds the burst worn off.
    # A home or office has a /64 at the least, so one address of it says nothing.
    return [
        *rules,
        f"meta nfproto ipv4 update @sources4 {{ ip saddr {limit} }} counter drop",
        f"meta nfproto ipv6 update @sources6 {{ ip6 saddr & ffff:ffff:ffff:ffff:: {limit} }} counter drop",
        "accept",
    ]


def _shut_out(spared: Sequence[str]) -> list[str]:
    """Drop those that guess, and none of the spared, whatever somebody put into the sets."""
    networks = parse_networks(spared, "relay_firewall_shut_out.never")
    rules = []
    for version, keyword, source in ((4, "ip", "ip saddr"), (6, "ip6", "ip6 saddr & ffff:ffff:ffff:ffff::")):
        listed = ", ".join(str(network) for network in networks if network.version == version)
        unless = f"{keyword} saddr != {{ {listed} }} " if listed else ""
        rules.append(f"{unless}{source} @{SHUT_OUT_SETS[version]} counter drop")
    return rules


def _outgoing_mail(users: Mapping[str, int]) -> list[str]:
    rules = ["ct state established,related accept", 'oifname "lo" accept']
    if users:
        ids = ", ".join(str(uid) for uid in sorted(set(users.values())))
        known = {name: f"{name} is {uid}" for name, uid in users.items() if uid != UNKNOWN_UID}
        names = ", ".join(known.get(name, f"{name} is made by the run") for name in sorted(users))
        rules += [f"# {names}", f"meta skuid {{ {ids} }} accept"]
    return [*rules, "counter reject with icmpx type admin-prohibited"]


def _ports(ports: Iterable[int]) -> str:
    return "{ " + ", ".join(str(port) for port in sorted(set(ports))) + " }"


def _from(sources: Sequence[str], variable: str, rule: str) -> list[str]:
    """`rule` for the given sources: one line a family, or one line for all when there is no restriction."""
    if not sources:
        return [rule]
    networks = parse_networks(sources, variable)
    lines = []
    for keyword, version in (("ip", 4), ("ip6", 6)):
        matching = [str(network) for network in networks if network.version == version]
        if matching:
            lines.append(f"{keyword} saddr {{ {', '.join(matching)} }} {rule}")
    return lines
