# SPDX-License-Identifier: GPL-3.0-or-later
"""What is served, and for which service."""

from __future__ import annotations

import json

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.port_order import Offer
from ansible_collections.postroad.relay.plugins.plugin_utils import settings_documents
from ansible_collections.postroad.relay.plugins.plugin_utils.mail_service import Incoming
from ansible_collections.postroad.relay.plugins.plugin_utils.settings_documents import mail_service, site_files

from tests.unit.plugins.settings import AUTHORITY, LISTENERS, service


def test_every_file_by_its_path() -> None:
    files = site_files(service(), LISTENERS)
    assert {"mail/config-v1.1.xml", "ca.pem", "reach.json"} <= set(files)
    assert files["ca.pem"] == AUTHORITY
    assert json.loads(files["reach.json"]) == {"service": "relay.example.org"}
    assert "ca.pem" not in site_files(service(authority=""), LISTENERS)


@pytest.mark.parametrize("path", ["reach.json", "/etc/passwd", "../nginx.conf", "a/../../b"])
def test_a_path_that_leads_elsewhere_or_comes_twice_is_refused(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    more = (*settings_documents.GENERATORS, lambda *_: {path: b""})
    monkeypatch.setattr(settings_documents, "GENERATORS", more)
    with pytest.raises(ValueError, match="given twice, or is no path below"):
        site_files(service(), LISTENERS)


def test_generators_are_told_where_browsers_get_their_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_documents, "GENERATORS", (lambda _, ports: {"ports": str(ports).encode()},))
    assert site_files(service(), LISTENERS) == {"ports": "[443]"}


def test_a_service_has_the_relay_s_name_and_its_public_ports() -> None:
    listeners = [
        *LISTENERS,
        {"port": 2587, "tls": "starttls", "address": "127.0.0.1"},
        {"port": 2588, "tls": "starttls", "address": "::1"},
        {"port": 2589, "tls": "starttls", "proxy_from": ["192.0.2.1"]},
    ]
    made = mail_service(
        {"domains": ["example.org"], "incoming": [{"host": "imap.example.org"}]}, listeners, "r.example"
    )
    assert (made.name, made.title) == ("r.example", "r.example")
    assert [offer.port for offer in made.offers] == [443, 587, 80]
    assert made.incoming == (Incoming("imap", "imap.example.org", 993, "implicit"),)
    assert made.offers[0] == Offer(443, "implicit")
