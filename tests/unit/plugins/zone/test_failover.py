# SPDX-License-Identifier: GPL-3.0-or-later
"""What a relay's watcher is told."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.failover_units import settings_text
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.failover import watcher_settings
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import DnsValueError

from relay_agent.failover.settings import read_settings
from tests.unit.plugins.zone_example import facts, fleet

SERVER = {"server": "ns1.example.org", "key_name": "relays", "key_secret": "c2VjcmV0"}


def made(*relays: dict[str, Any], server: dict[str, Any] | None = None, **failover: Any) -> tuple[dict[str, Any], str]:
    wanted = fleet(*relays) if relays else fleet()
    return watcher_settings(wanted, "relay1", [], SERVER if server is None else server, failover)


def test_the_agent_takes_them(tmp_path: Path) -> None:
    settings, secret = made(witnesses=[{"host": "198.51.100.1", "port": 443}], failures=4, ttl=20)
    path = tmp_path / "failover.toml"
    path.write_text(settings_text(settings, secret))
    found = read_settings(path)
    assert (found.service, found.own, found.port, found.security) == (
        "mail.example.org",
        "relay1.example.org",
        443,
        "implicit",
    )
    assert [each.name for each in found.member] == ["relay1.example.org", "relay2.example.org"]
    assert (found.failures, found.dns.ttl, found.dns.zone) == (4, 20, "example.org")
    assert found.witness[0].port == 443


def test_the_secret_is_apart() -> None:
    settings, secret = made()
    assert secret == "c2VjcmV0"
    assert secret not in str(settings)
    assert tomllib.loads(settings_text(settings, secret))["dns"]["key_secret"] == secret


def test_a_key_of_the_relays_own() -> None:
    settings, secret = made(key_name="list", key_secret="bGlzdA==", port=587)
    assert (settings["dns"]["key_name"], secret) == ("list", "bGlzdA==")
    assert (settings["port"], settings["security"]) == (587, "starttls")


@pytest.mark.parametrize(
    ("relays", "more", "said"),
    [
        ([facts(1)], {}, "at least two relays"),
        ([facts(1), facts(2, name="relay1.example.org")], {}, "the same relay_dns_name"),
        ([], {"server": {}}, "relay_dns_server with server, key_name, key_secret"),
        ([], {"port": 26}, "port 26 is none"),
    ],
)
def test_what_cannot_work(relays: list[dict[str, Any]], more: dict[str, Any], said: str) -> None:
    with pytest.raises(DnsValueError, match=said):
        made(*relays, **more)


def test_a_name_outside_the_zones() -> None:
    with pytest.raises(DnsValueError, match="in none of the zones"):
        watcher_settings(fleet(), "relay1", ["example.net"], SERVER, {})
