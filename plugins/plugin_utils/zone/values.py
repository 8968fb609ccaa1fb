# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, addresses and texts on their way into the DNS: what an inventory has, in the one form that is compared.

Nothing gets into a zone file or an update but by here, so that no line end, quote or parenthesis of an inventory means
anything to a name server.
"""

from __future__ import annotations

import ipaddress
import re

import dns.exception
from ansible_collections.postroad.relay.plugins.plugin_utils import agent_package  # noqa: F401  finds relay_agent

from relay_agent.delivery.domain import ascii_domain
from relay_agent.name_server import canonical as _canonical

__all__ = [
    "DnsValueError",
    "absolute",
    "canonical",
    "host_text",
    "ip_address",
    "plain_text",
    "reverse_name",
    "text_value",
]

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)


class DnsValueError(ValueError):
    """Something of the inventory that cannot be in the DNS; the text shows it, with escapes."""


def absolute(name: str) -> str:
    """The name in lower case A-labels (IDNA 2008) with a dot at the end. A wildcard is no name of a host.

    Raises DnsValueError.
    """
    try:
        found = ascii_domain(str(name))
    except ValueError:
        raise DnsValueError(f"{name!r} is no name for the DNS (expected one such as relay.example.org)") from None
    if not all(_LABEL.fullmatch(label) for label in found.split(".")):
        raise DnsValueError(f"{name!r} is no name for the DNS (expected one such as relay.example.org)")
    return f"{found}."


def ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Raises DnsValueError for what is no address, or none that others could reach."""
    try:
        found = ipaddress.ip_address(str(text).strip())
    except ValueError:
        raise DnsValueError(f"{text!r} is no IP address") from None
    if found.is_loopback or found.is_unspecified or found.is_multicast or found.is_link_local:
        raise DnsValueError(f"{found} is no address that others can reach this host by")
    return found


def host_text(text: str) -> str:
    """A server's name or address as a command has it. Raises DnsValueError."""
    try:
        return str(ipaddress.ip_address(str(text)))
    except ValueError:
        return absolute(text).rstrip(".")


def reverse_name(address: str) -> str:
    """Where the name of an address is looked up (RFC 1035 3.5, RFC 3596 2.5)."""
    return f"{ip_address(address).reverse_pointer}."


def canonical(kind: str, value: str) -> str:
    """A record's data in the form of a zone file. Raises DnsValueError."""
    try:
        return _canonical(kind, value)
    except (dns.exception.DNSException, ValueError) as error:
        raise DnsValueError(f"{value!r} cannot be the data of a {kind} record: {error}") from None


def text_value(text: str) -> str:
    """A text as the data of a TXT record, in strings of at most 255 octets. Raises DnsValueError."""
    if not text.isascii() or not text.isprintable():
        raise DnsValueError(f"{text!r} cannot be in a TXT record (expected printable ASCII)")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    pieces = _pieces(escaped)
    return canonical("TXT", " ".join(f'"{piece}"' for piece in pieces))


def plain_text(value: str) -> str:
    """The text that a TXT record's data stands for, its strings put together."""
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', value)
    return "".join(re.sub(r"\\(\d{3})|\\(.)", _unescaped, each) for each in strings)


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1])) if match[1] else match[2]


def _pieces(escaped: str) -> list[str]:
    """Cut where no escape is cut; shorter than needed, since canonical() cuts again."""
    units = re.findall(r"\\.|[^\\]", escaped)
    return ["".join(units[start : start + 200]) for start in range(0, len(units), 200)] or [""]
