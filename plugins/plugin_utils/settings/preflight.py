# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of relay_settings_service on the controller, before the host is touched."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from ansible_collections.postroad.relay.plugins.module_utils.port_order import MODES

from .server import web_addresses
from .service import mail_service

__all__ = ["are_listeners", "settings_problems"]

VARIABLE = "relay_settings_service"
_HOSTNAME = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}", re.IGNORECASE)
_LISTENERS = '{port: 443, tls: implicit, web: "127.0.0.1:880"}'
_SUPPORT = re.compile(r"(https://|mailto:)[^\s\"'<>]+")


def settings_problems(
    wanted: Mapping[str, Any],
    listeners: Sequence[Mapping[str, Any]],
    hostname: str,
    names: Collection[str],
    *,
    hsts: int = 0,
) -> Iterator[str]:
    """A problem for each fault, beginning with the variable.

    wanted: relay_settings_service, of which nothing is given when no settings are served. names: of the certificate.
    hsts: seconds.
    """
    if all(value is None for value in wanted.values()):
        return
    if not are_listeners(listeners):
        yield f"relay_agent_listeners: one has no port, or a tls that is none (expected {', '.join(MODES)})"
        return
    service = mail_service({**wanted, "domains": wanted.get("domains") or ["?"]}, listeners, hostname)
    if not wanted.get("domains"):
        yield f"{VARIABLE}.domains: is empty (expected the domains of your people's addresses)"
    for key, values in (
        ("name", [service.name]),
        ("domains", wanted.get("domains") or []),
        ("incoming", [incoming.host for incoming in service.incoming]),
    ):
        for value in values:
            if not _HOSTNAME.fullmatch(value):
                yield f"{VARIABLE}.{key}: {value!r} is not a name of the DNS (write others than ASCII's as xn--)"
    if any(not letter.isprintable() for letter in service.title):
        yield f"{VARIABLE}.title: has a letter that cannot be printed"
    if service.support and not _SUPPORT.fullmatch(service.support):
        yield f"{VARIABLE}.support: {service.support!r} is no address that begins with https:// or mailto:"
    for incoming in service.incoming:
        if not 0 < incoming.port < 65536:
            yield f"{VARIABLE}.incoming: {incoming.port} is no port"
    if names and not any(_covers(name, service.name) for name in names):
        yield (
            f"{VARIABLE}.name: {service.name} is not among relay_tls_certificate.names, "
            "so that mail programs and browsers would refuse the certificate"
        )
    if hsts < 0:
        yield f"relay_settings_hsts: {hsts} is no time in seconds (expected 0 or more)"
    yield from _listener_problems(listeners)


def are_listeners(given: Any) -> bool:
    """Whether each has a port and a mode of TLS, so that the rest of them can be looked at."""
    return isinstance(given, list) and all(
        isinstance(each, dict) and str(each.get("port")).isdecimal() and each.get("tls") in MODES for each in given
    )


def _covers(name: str, wanted: str) -> bool:
    return name.lower() == wanted.lower() or (name.startswith("*.") and name[2:] == wanted.partition(".")[2])


def _is_here(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        # A scope (RFC 4007 11) is any text, which would get into the web server's configuration.
        return (
            "%" not in host and ip_address(host.strip("[]")).is_loopback and port.isdecimal() and 0 < int(port) < 65536
        )
    except ValueError:
        return False


def _listener_problems(listeners: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    shared = [each for each in listeners if each.get("web")]
    if not any(int(each["port"]) == 443 and each["tls"] == "implicit" for each in shared):
        yield (
            f"{VARIABLE}: browsers cannot come to it; relay_agent_listeners needs {_LISTENERS}, "
            "and nothing else at port 443"
        )
    for each in shared:
        if each["tls"] == "auto":
            yield (
                f"relay_agent_listeners: port {each['port']} has web and tls: auto, so that nobody knows whether a "
                "page was asked for in the clear; take implicit or starttls"
            )
    addresses = web_addresses(listeners)
    places = [address for address in addresses if not _is_here(address)]
    if places:
        yield f"relay_agent_listeners: web is {places[0]!r}, and not a place on this host such as 127.0.0.1:880"
        return
    if len(addresses) > 1:
        yield f"relay_agent_listeners: web is {' and '.join(addresses)}; {VARIABLE} has one web server, so take one"
    for address in addresses[:1]:
        if int(address.rpartition(":")[2]) >= 1024:
            yield (
                f"relay_agent_listeners: web is {address}, a port that any user of the host could take while the web "
                "server is down, to show pages under the relay's name; take one below 1024, such as 127.0.0.1:880"
            )
