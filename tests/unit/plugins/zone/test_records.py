# SPDX-License-Identifier: GPL-3.0-or-later
"""Which records a fleet needs."""

from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import fleet_records, zones_of
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import DnsValueError

from tests.unit.plugins.zone_example import facts, fleet, record


def test_addresses_of_each_relay_and_of_all_together() -> None:
    assert record(fleet(), "relay1.example.org.", "A").values == ("192.0.2.1",)
    assert record(fleet(), "relay2.example.org.", "AAAA").values == ("2001:db8::2",)
    together = record(fleet(), "mail.example.org.", "A")
    assert together.values == ("192.0.2.1", "192.0.2.2")
    assert (together.rule, together.ttl) == ("all", 3600)


def test_with_failover_the_list_is_the_relays_own() -> None:
    together = record(fleet(failover=True, address_ttl=30), "mail.example.org.", "A")
    assert (together.rule, together.ttl) == ("any", 30)
    assert record(fleet(failover=True, address_ttl=30), "relay1.example.org.", "A").ttl == 3600


def test_ports_by_srv_in_the_order_of_the_offers() -> None:
    """Not 25, which networks intercept, and not what only the host itself reaches."""
    assert record(fleet(), "_submissions._tcp.example.org.", "SRV").values == (
        "0 1 443 mail.example.org.",
        "1 1 465 mail.example.org.",
        "100 1 443 relay1.example.org.",
        "100 1 443 relay2.example.org.",
    )
    assert record(fleet(), "_submission._tcp.example.org.", "SRV").values == (
        "0 1 587 mail.example.org.",
        "100 1 587 relay1.example.org.",
        "100 1 587 relay2.example.org.",
    )


def test_without_a_shared_name_the_relays_share_the_load() -> None:
    assert record(fleet(service=""), "_submission._tcp.example.org.", "SRV").values == (
        "0 1 587 relay1.example.org.",
        "0 1 587 relay2.example.org.",
    )


def test_only_ports_that_every_relay_has() -> None:
    other = facts(2, listeners=[{"port": 465, "tls": "implicit"}])
    wanted = fleet(facts(1), other)
    assert record(wanted, "_submissions._tcp.example.org.", "SRV").values[0] == "0 1 465 mail.example.org."
    assert not [each for each in fleet_records(wanted) if each.owner.startswith("_submission.")]


@pytest.mark.parametrize(
    ("kind", "security", "label"),
    [("imap", "implicit", "_imaps"), ("imap", "starttls", "_imap"), ("pop3", "implicit", "_pop3s")],
)
def test_incoming_mail_where_it_is_known(kind: str, security: str, label: str) -> None:
    incoming = ({"kind": kind, "host": "in.example.net", "port": 993, "security": security},)
    found = record(fleet(incoming=incoming), f"{label}._tcp.example.org.", "SRV")
    assert found.values == ("0 1 993 in.example.net.",)


def test_incoming_mail_with_the_defaults_of_relay_settings() -> None:
    found = record(fleet(incoming=({"host": "in.example.net"},)), "_imaps._tcp.example.org.", "SRV")
    assert found.values == ("0 1 993 in.example.net.",)


def test_where_the_settings_are() -> None:
    names = ("relay1.example.org", "192.0.2.1", "*.example.net", "AutoDiscover.example.org")
    wanted = fleet(settings_host="mail.example.org", certificate_names=names)
    assert record(wanted, "_autodiscover._tcp.example.org.", "SRV").values == ("0 1 443 mail.example.org.",)
    assert record(wanted, "autoconfig.example.org.", "CNAME").values == ("mail.example.org.",)
    assert record(wanted, "autodiscover.example.org.", "CNAME").values == ("mail.example.org.",)
    assert not [each for each in fleet_records(fleet()) if "auto" in each.owner]


def test_no_name_for_outlook_that_the_certificate_does_not_have() -> None:
    owners = [each.owner for each in fleet_records(fleet(settings_host="mail.example.org"))]
    assert "autodiscover.example.org." not in owners
    assert "_autodiscover._tcp.example.org." in owners


def test_spf_by_address_since_a_relay_that_is_out_goes_on_delivering() -> None:
    found = record(fleet(spf={"mechanisms": ["include:up.example"], "all": "-all"}), "example.org.", "TXT")
    ours = "ip4:192.0.2.1 ip6:2001:db8::1 ip4:192.0.2.2 ip6:2001:db8::2"
    assert found.values == (f'"v=spf1 {ours} include:up.example -all"',)
    assert found.rule == "spf"
    own = record(fleet(), "relay1.example.org.", "TXT")
    assert own.values == ('"v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all"',)


def test_every_key_s_record_in_strings_that_fit() -> None:
    """Both selectors while keys are changed."""
    keys = [{"name": f"{name}._domainkey.example.org", "value": "v=DKIM1; p=" + "A" * 400} for name in ("old", "new")]
    wanted = fleet(facts(1, dkim=keys), facts(2, dkim=keys))
    for name in ("old", "new"):
        (value,) = record(wanted, f"{name}._domainkey.example.org.", "TXT").values
        assert value.count('"') == 4


def test_two_keys_under_one_selector_are_told() -> None:
    other = [{"name": "2026._domainkey.example.org", "value": "v=DKIM1; k=rsa; p=BBBB"}]
    with pytest.raises(DnsValueError, match=r"different keys under 2026\._domainkey"):
        fleet_records(fleet(facts(1), facts(2, dkim=other)))


def test_policies() -> None:
    wanted = fleet(
        dmarc={"policy": "reject", "reports": "dmarc@example.org"},
        tls_reports="https://reports.example.org/tls",
        mta_sts=({"domain": "example.org", "id": 20260101, "host": "www.example.org"},),
    )
    assert record(wanted, "_dmarc.example.org.", "TXT").values == (
        '"v=DMARC1; p=reject; rua=mailto:dmarc@example.org"',
    )
    assert record(wanted, "_smtp._tls.example.org.", "TXT").values == (
        '"v=TLSRPTv1; rua=https://reports.example.org/tls"',
    )
    assert record(wanted, "_mta-sts.example.org.", "TXT").values == ('"v=STSv1; id=20260101;"',)
    assert record(wanted, "mta-sts.example.org.", "CNAME").values == ("www.example.org.",)


def test_a_domain_below_another_keeps_that_one_s_policy() -> None:
    wanted = fleet(domains=("news.example.org", "example.org", "notexample.org"))
    owners = [each.owner for each in fleet_records(wanted) if each.owner.startswith("_dmarc")]
    assert owners == ["_dmarc.example.org.", "_dmarc.notexample.org."]


def test_what_was_not_asked_for() -> None:
    owners = " ".join(each.owner for each in fleet_records(fleet(spf={"enabled": False}, dmarc={"enabled": False})))
    assert "_dmarc" not in owners
    assert "mta-sts" not in owners
    assert "_tls" not in owners
    assert not [each for each in fleet_records(fleet()) if each.kind == "TLSA"]


def test_tlsa_at_each_port_of_each_name() -> None:
    wanted = fleet(tlsa=True)
    assert record(wanted, "_443._tcp.relay1.example.org.", "TLSA").values == (f"3 1 1 {'1' * 64}",)
    assert record(wanted, "_443._tcp.mail.example.org.", "TLSA").values == (
        f"3 1 1 {'1' * 64}",
        f"3 1 1 {'2' * 64}",
    )


def test_names_of_the_addresses() -> None:
    assert record(fleet(), "1.2.0.192.in-addr.arpa.", "PTR").values == ("relay1.example.org.",)
    assert not [each for each in fleet_records(fleet(reverse=False)) if each.kind == "PTR"]


def test_one_relay_that_has_the_service_s_own_name() -> None:
    wanted = fleet(facts(1, name="mail.example.org"))
    assert record(wanted, "mail.example.org.", "A").values == ("192.0.2.1",)
    assert record(wanted, "_submission._tcp.example.org.", "SRV").values == ("0 1 587 mail.example.org.",)


def test_domains_in_other_scripts() -> None:
    wanted = fleet(domains=("bücher.example",))
    assert record(wanted, "_submission._tcp.xn--bcher-kva.example.", "SRV").values


def test_zones() -> None:
    wanted = fleet(facts(1), facts(2, name="relay2.other.net"))
    records = fleet_records(wanted)
    found = zones_of(records, [], wanted)
    assert found["_dmarc.example.org."] == "example.org."
    assert found["relay2.other.net."] == "other.net."
    assert found["1.2.0.192.in-addr.arpa."] == ""
    named = zones_of(records, ["org", "mail.example.org", "2.0.192.in-addr.arpa"], wanted)
    assert named["mail.example.org."] == "mail.example.org."
    assert named["example.org."] == "org."
    assert named["relay2.other.net."] == ""
    assert named["1.2.0.192.in-addr.arpa."] == "2.0.192.in-addr.arpa."


@pytest.mark.parametrize(
    "settings",
    [
        {"domains": ("example.org\n@ A 192.0.2.66",)},
        {"service": "*.example.org"},
        {"settings_host": 'a"b'},
        {"tls_reports": "a@b.example; rua=mailto:evil@example.net"},
        {"tls_reports": 'a"b@example.org'},
        {"dmarc": {"reports": "a@b.example,mailto:evil@example.net"}},
        {"mta_sts": ({"domain": "example.org", "id": "1; x"},)},
        {"incoming": ({"kind": "imap", "host": "a b", "port": 1, "security": "implicit"},)},
    ],
)
def test_what_means_more_than_it_says_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is no|cannot be"):
        fleet_records(fleet(**settings))
