# SPDX-License-Identifier: GPL-3.0-or-later
"""From a play's variables to the fleet."""

from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.fleet import by_zone, certificate_warnings, read_fleet
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import DnsValueError

from tests.unit.plugins.zone_example import facts, fleet

HOSTVARS = {f"relay{number}": {"_facts": facts(number)} for number in (1, 2)}
OPTIONS: dict[str, Any] = {
    "hosts": ["relay1", "relay2"],
    "relays": ["relay1", "relay2"],
    "facts": "_facts",
    "domains": ["example.org"],
    "service": "mail.example.org",
    "incoming": [],
    "settings_host": "",
    "certificate_names": [],
    "ttl": 600,
    "failover": {},
    "tlsa": False,
    "spf": {},
    "dmarc": {},
    "mta_sts": [],
    "tls_reports": "",
    "reverse": True,
}


def test_a_fleet() -> None:
    found, records = read_fleet(OPTIONS, HOSTVARS)
    assert [relay.name for relay in found.relays] == ["relay1.example.org", "relay2.example.org"]
    assert (found.failover, found.address_ttl) == (False, 600)
    assert list(by_zone(records, [], found)) == ["example.org.", ""]


def test_failover_has_a_short_memory() -> None:
    found, _ = read_fleet(OPTIONS | {"failover": {"enabled": True}}, HOSTVARS)
    assert (found.failover, found.address_ttl, found.ttl) == (True, 30, 600)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hosts": ["relay1"]}, "relay2 cannot be asked or is left out by --limit"),
        ({"failover": {"enabled": True}, "service": ""}, "relay_dns_failover: needs relay_dns_service"),
        ({"incoming": [{"kind": "imap"}]}, "host is missing"),
        ({"incoming": [{"kind": "nntp", "host": "a.example"}]}, "a value that is not known"),
    ],
)
def test_what_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DnsValueError, match=said):
        read_fleet(OPTIONS | changes, HOSTVARS)


def test_a_name_that_the_certificate_lacks_is_told() -> None:
    (told,) = certificate_warnings(fleet(certificate_names=("relay1.example.org",)))
    assert "mail.example.org is not among them" in told
    assert not list(certificate_warnings(fleet(certificate_names=("Mail.example.org",))))
    assert not list(certificate_warnings(fleet(certificate_names=("*.example.org",))))
    assert not list(certificate_warnings(fleet(facts(1, name="mail.example.org"))))
    assert not list(certificate_warnings(fleet(service="")))
