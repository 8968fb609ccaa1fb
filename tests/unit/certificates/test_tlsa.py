# SPDX-License-Identifier: GPL-3.0-or-later
"""TLSA records as a zone file has them."""

from __future__ import annotations

from relay_agent.certificates.tlsa import owners, zone_lines
from relay_agent.config.schema import Listener


def test_a_name_for_each_port_with_tls() -> None:
    listeners = [
        Listener(port=587, tls="starttls"),
        Listener(port=465, tls="implicit"),
        Listener(address="192.0.2.1", port=465, tls="auto"),
        Listener(port=8025, tls="none", auth="none"),
    ]
    assert owners("relay.example.org", listeners) == ["_465._tcp.relay.example.org.", "_587._tcp.relay.example.org."]


def test_lines() -> None:
    assert zone_lines(["_465._tcp.a.example."], ["00ff", "11ee"], 300) == [
        "_465._tcp.a.example. 300 IN TLSA 3 1 1 00ff",
        "_465._tcp.a.example. 300 IN TLSA 3 1 1 11ee",
    ]
