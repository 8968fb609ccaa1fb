# SPDX-License-Identifier: GPL-3.0-or-later
"""What is served, and for which service."""

from __future__ import annotations

import json

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.settings import documents as settings_documents
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.documents import site_files

from tests.unit.plugins.offered import AUTHORITY, LISTENERS, service


def test_every_file_by_its_path() -> None:
    files = site_files(service(), LISTENERS)
    assert {"index.html", "mail/config-v1.1.xml", "ca.pem", "reach.json"} <= set(files)
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
