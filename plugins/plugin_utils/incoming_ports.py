# SPDX-License-Identifier: GPL-3.0-or-later
"""The port of a server of incoming mail, where the inventory names none: by its protocol and how its TLS begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["DEFAULT_KIND", "DEFAULT_SECURITY", "incoming_port"]

DEFAULT_KIND = "imap"
DEFAULT_SECURITY = "implicit"
# As registered with IANA; RFC 8314 3.2 and 3.3 for TLS from the first byte, RFC 2595 for STARTTLS.
_PORTS = {
    ("imap", "implicit"): 993,
    ("imap", "starttls"): 143,
    ("pop3", "implicit"): 995,
    ("pop3", "starttls"): 110,
}


def incoming_port(server: Mapping[str, Any]) -> int:
    """The port of an entry of `relay_settings_service.incoming` or `relay_dns_incoming`.

    Raises KeyError for a kind or a security that is not known, ValueError for a port that is no number.
    """
    if server.get("port") is not None:
        return int(server["port"])
    return _PORTS[server.get("kind") or DEFAULT_KIND, server.get("security") or DEFAULT_SECURITY]
