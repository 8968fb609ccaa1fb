# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and answers of DNS block lists (RFC 5782)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Final

__all__ = ["NEVER_LISTED", "judge", "question", "shown_list"]

Address = IPv4Address | IPv6Address

NEVER_LISTED: Final = {4: ip_address("127.0.0.1"), 6: ip_address("::ffff:7f00:1")}  # RFC 5782 5
_ANSWERS = IPv4Network("127.0.0.0/8")  # RFC 5782 2.1
_COMPLAINTS = IPv4Network("127.255.255.0/24")
_WORDS = {
    "127.255.255.252": "says that its name is misspelt",
    "127.255.255.254": "answers no public resolver: ask by a resolver of your own (delivery.resolvers)",
    "127.255.255.255": "says that it was asked too much",
}
_KEYED = ".dq.spamhaus.net"


def question(address: Address, zone: str) -> str:
    """The name that is asked for: the address turned round, in octets (RFC 5782 2.1) or nibbles (2.4)."""
    return f"{address.reverse_pointer.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone}"


def judge(answers: Sequence[str]) -> tuple[bool, str]:
    """Whether these A records mean that the address is listed, and why they cannot be used, "" if they can.

    Lists use 127.255.255.x to complain of the one who asks; that is no listing. Nor is anything outside of
    127.0.0.0/8: it comes from a list that is gone and whose name somebody else has, or from a resolver that lies.
    """
    found = [IPv4Address(each) for each in answers]
    for each in found:
        if each in _COMPLAINTS:
            return False, _WORDS.get(str(each), f"complains of the question ({each})")
    if any(each not in _ANSWERS for each in found):
        return False, f"gives an answer that no list gives ({found[0]}): it is gone, or the resolver makes it up"
    return bool(found), ""


def shown_list(zone: str) -> str:
    """The list's name for logs and metrics: in Spamhaus' own zones for customers the first label is a password."""
    if zone.lower().endswith(_KEYED) and zone.count(".") > _KEYED.count("."):
        return zone.partition(".")[2]
    return zone
