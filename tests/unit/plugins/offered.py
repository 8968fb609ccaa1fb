# SPDX-License-Identifier: GPL-3.0-or-later
"""A service as tests of its settings have it."""

from __future__ import annotations

from typing import Any

from ansible_collections.postroad.relay.plugins.module_utils.port_order import Offer
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.mail_service import Incoming, MailService
from settings_example import authority

__all__ = ["AUTHORITY", "LISTENERS", "service"]

AUTHORITY = authority()
LISTENERS: list[dict[str, Any]] = [
    {"port": 443, "tls": "implicit", "web": "127.0.0.1:880"},
    {"port": 80, "tls": "starttls", "web": "127.0.0.1:880"},
    {"port": 587, "tls": "starttls"},
]


def service(**changes: Any) -> MailService:
    """One with an incoming side; what is given is as given."""
    values: dict[str, Any] = {
        "name": "relay.example.org",
        "title": "Anna & Bob <mail>",
        "domains": ("example.org", "example.net"),
        "offers": (Offer(443, "implicit"), Offer(587, "starttls")),
        "incoming": (
            Incoming("imap", "imap.example.net", 993, "implicit", "localpart"),
            Incoming("imap", "other.example.net", 143, "starttls"),
            Incoming("pop3", "pop.example.net", 995, "implicit"),
        ),
        "authority": AUTHORITY,
    }
    return MailService(**values | changes)
