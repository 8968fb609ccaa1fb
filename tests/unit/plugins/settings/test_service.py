# SPDX-License-Identifier: GPL-3.0-or-later
"""The service that an inventory's variables make."""

from __future__ import annotations

from ansible_collections.postroad.relay.plugins.module_utils.port_order import Offer
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.mail_service import Incoming
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.service import mail_service

from tests.unit.plugins.offered import LISTENERS


def test_a_service_has_the_relay_s_name_and_its_public_ports() -> None:
    listeners = [
        *LISTENERS,
        {"port": 2587, "tls": "starttls", "address": "127.0.0.1"},
        {"port": 2588, "tls": "starttls", "address": "::1"},
        {"port": 2590, "tls": "starttls", "address": "0:0:0:0:0:0:0:1"},
        {"port": 2591, "tls": "starttls", "address": "localhost"},
        {"port": 2589, "tls": "starttls", "proxy_from": ["192.0.2.1"]},
    ]
    made = mail_service(
        {"domains": ["example.org"], "incoming": [{"host": "imap.example.org"}]}, listeners, "r.example"
    )
    assert (made.name, made.title) == ("r.example", "r.example")
    assert [offer.port for offer in made.offers] == [443, 587, 80]
    assert made.incoming == (Incoming("imap", "imap.example.org", 993, "implicit"),)
    assert made.offers[0] == Offer(443, "implicit")
