# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of two relays and the name server that has its zone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_agent.failover.settings import FailoverSettings, read_settings
from tests.unit.zone_server import KEY, KEY_NAME, ZoneServer

SETTINGS = """
service = "mail.example.org"
own = "relay1.example.org"
interval = 1

[[member]]
name = "relay1.example.org"
addresses = ["192.0.2.1", "2001:db8::1"]

[[member]]
name = "relay2.example.org"
addresses = ["192.0.2.2", "2001:db8::2"]

[dns]
server = "127.0.0.1"
port = {port}
zone = "example.org"
key_name = "{key_name}"
key_secret = "{key}"
ttl = 30
"""


@pytest.fixture
def zone() -> Iterator[ZoneServer]:
    """Both relays are in the list."""
    server = ZoneServer()
    server.put("mail.example.org.", "A", "192.0.2.1", "192.0.2.2", ttl=30)
    server.put("mail.example.org.", "AAAA", "2001:db8::1", "2001:db8::2", ttl=30)
    yield server
    server.close()


@pytest.fixture
def settings_file(zone: ZoneServer, tmp_path: Path) -> Path:
    path = tmp_path / "failover.toml"
    path.write_text(SETTINGS.format(port=zone.port, key_name=KEY_NAME, key=KEY))
    return path


@pytest.fixture
def settings(settings_file: Path) -> FailoverSettings:
    return read_settings(settings_file)
