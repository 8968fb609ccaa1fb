# SPDX-License-Identifier: GPL-3.0-or-later
"""The port of incoming mail that nobody has named, in settings and in the DNS alike."""

from __future__ import annotations

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.incoming_ports import incoming_port
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.service import mail_service

from tests.unit.plugins.zone_example import LISTENERS, fleet, record


@pytest.mark.parametrize(
    ("server", "label", "port"),
    [
        ({}, "_imaps", 993),
        ({"kind": "imap", "security": "starttls"}, "_imap", 143),
        ({"kind": "pop3"}, "_pop3s", 995),
        ({"kind": "pop3", "security": "starttls"}, "_pop3", 110),
        ({"kind": "pop3", "security": "implicit", "port": 4995}, "_pop3s", 4995),
        ({"kind": "pop3", "security": None, "port": None}, "_pop3s", 995),
    ],
)
def test_by_protocol_and_tls(server: dict[str, object], label: str, port: int) -> None:
    server = {"host": "in.example.net", **server}
    (told,) = mail_service({"domains": ["example.org"], "incoming": [server]}, LISTENERS, "r.example").incoming
    published = record(fleet(incoming=(server,)), f"{label}._tcp.example.org.", "SRV")
    assert told.port == port
    assert published.values == (f"0 1 {port} in.example.net.",)


@pytest.mark.parametrize("server", [{"kind": "jmap"}, {"security": "none"}])
def test_what_is_not_known(server: dict[str, object]) -> None:
    with pytest.raises(KeyError):
        incoming_port(server)
