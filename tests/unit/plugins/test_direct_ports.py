# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ports others are told of, in whatever way they are told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.postroad.relay.plugins.module_utils.direct_ports import direct_listeners, is_loopback
from ansible_collections.postroad.relay.plugins.modules import port_knock
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.relays import relays_of
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.service import mail_service
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.failover import watcher_settings
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import fleet_records

from tests.unit.plugins.zone_example import facts, fleet

LISTENERS: list[dict[str, Any]] = [
    {"port": 443, "tls": "implicit", "proxy_from": ["192.0.2.0/24"]},
    {"port": 587, "tls": "starttls"},
    {"port": 2525, "tls": "starttls", "address": "localhost"},
    {"port": 2465, "tls": "implicit", "proxy_from": []},
]
DIRECT = [587, 2465]


@pytest.mark.parametrize(
    ("address", "expected"),
    [(None, False), ("", False), ("0.0.0.0", False), ("127.0.0.1", True), ("::1", True), ("localhost", True)],
)
def test_listeners_that_nobody_else_can_reach(address: str | None, expected: bool) -> None:
    assert is_loopback({"port": 587, "address": address}) is expected


def test_what_a_balancer_stands_in_front_of_is_not_direct() -> None:
    assert [each["port"] for each in direct_listeners(LISTENERS)] == DIRECT


def test_settings_records_watchers_and_tries_are_about_the_same_ports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = mail_service({"domains": ["example.org"]}, LISTENERS, "relay1.example.org")
    assert sorted(offer.port for offer in told.offers) == DIRECT

    relays = fleet(*(facts(number, listeners=LISTENERS) for number in (1, 2)), tlsa=True)
    records = fleet_records(relays)
    services = [value for record in records if record.kind == "SRV" for value in record.values]
    assert sorted({int(value.split()[2]) for value in services}) == DIRECT
    owners = {record.owner.partition(".")[0] for record in records if record.kind == "TLSA"}
    assert owners == {f"_{port}" for port in DIRECT}

    server = {"server": "ns1.example.org", "key_name": "relays", "key_secret": "c2VjcmV0"}
    watched, _ = watcher_settings(relays, "relay1", [], server, {})
    assert (watched["port"], watched["security"]) == (587, "starttls")

    (tried,) = relays_of(["relay1"], {"relay1": {"relay_agent_listeners": LISTENERS}}, [], [])
    assert sorted(tried.ports) == DIRECT

    monkeypatch.setattr(port_knock, "knock_all", lambda _host, listeners, *_: [each["port"] for each in listeners])
    with patch_module_args({"host": "relay1.example.org", "listeners": LISTENERS}), pytest.raises(SystemExit):
        port_knock.main()
    assert json.loads(capsys.readouterr().out)["ports"] == DIRECT
