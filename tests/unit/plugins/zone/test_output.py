# SPDX-License-Identifier: GPL-3.0-or-later
"""The records as others read them."""

import json
import shutil
import subprocess
from pathlib import Path

import dns.rdatatype
import dns.zone
import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.fleet import by_zone
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.output import (
    nsupdate_script,
    terraform,
    zone_file,
    zone_lines,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Record, fleet_records

from tests.unit.plugins.zone_example import facts, fleet

FLEET = fleet(
    facts(1),
    facts(2),
    failover=True,
    address_ttl=30,
    tlsa=True,
    settings_host="mail.example.org",
    tls_reports="postmaster@example.org",
)
ZONES = by_zone(fleet_records(FLEET), [], FLEET)


def test_a_zone_file_is_read_as_it_was_meant() -> None:
    head = "@ 60 IN SOA ns.example.org. hostmaster.example.org. 1 1 1 1 1\n@ 60 IN NS ns.example.org.\n"
    zone = dns.zone.from_text(head + zone_file("example.org.", ZONES["example.org."]), "example.org.", relativize=False)
    for record in ZONES["example.org."]:
        found = zone.get_rdataset(record.owner, dns.rdatatype.from_text(record.kind))
        assert found is not None
        assert len(found) == len(record.values)
        assert found.ttl == record.ttl


def test_what_is_in_no_zone_of_ours_has_a_file_of_its_own() -> None:
    text = zone_file("", ZONES[""])
    assert "zones of others" in text
    assert "1.2.0.192.in-addr.arpa. 3600 IN PTR relay1.example.org." in text


def test_a_name_in_the_inventory_ends_no_comment() -> None:
    text = zone_file("example.org.", [Record("a.example.org.", "A", ("192.0.2.1",), "host\nevil A 192.0.2.66", 60)])
    assert text.splitlines()[-2:] == ["; host evil A 192.0.2.66", "a.example.org. 60 IN A 192.0.2.1"]


def test_nsupdate_adds_a_policy_only_where_there_is_no_text() -> None:
    lines = nsupdate_script("example.org.", ZONES["example.org."], "ns1.example.org", 5353).splitlines()
    assert lines[:2] == ["server ns1.example.org 5353", "zone example.org."]
    at = lines.index("prereq nxrrset _dmarc.example.org. TXT")
    assert lines[at + 1].startswith("update add _dmarc.example.org. 3600 TXT ")
    assert lines[at + 2] == "send"
    assert lines[-1] == "send"
    assert not [line for line in lines if "delete" in line]


@pytest.mark.skipif(shutil.which("nsupdate") is None, reason="nsupdate (bind9-dnsutils) is not installed")
def test_nsupdate_understands_it(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(nsupdate_script("example.org.", ZONES["example.org."]).replace("send", "show"))
    done = subprocess.run(["nsupdate", str(script)], capture_output=True, text=True, timeout=20)
    assert "syntax error" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_terraform() -> None:
    document = json.loads(terraform(ZONES))
    assert document["terraform"]["required_providers"] == {"dns": {"source": "hashicorp/dns"}}
    resources = document["resource"]
    srv = resources["dns_srv_record_set"]["r__5f_submissions___5f_tcp__example__org_srv"]
    assert srv["zone"] == "example.org."
    assert srv["name"] == "_submissions._tcp"
    assert srv["srv"][0] == {"priority": 0, "weight": 1, "port": 443, "target": "mail.example.org."}
    addresses = resources["dns_a_record_set"]["r_mail__example__org_a"]
    assert addresses["addresses"] == ["192.0.2.1", "192.0.2.2"]
    assert addresses["lifecycle"] == {"ignore_changes": ["addresses"]}
    (alias,) = [each for name, each in resources["dns_cname_record"].items() if "autoconfig" in name]
    assert alias == {"zone": "example.org.", "ttl": 3600, "name": "autoconfig", "cname": "mail.example.org."}
    (key,) = [each for name, each in resources["dns_txt_record_set"].items() if "domainkey" in name]
    assert key["txt"] == ["v=DKIM1; k=rsa; p=" + "A" * 300]


def test_terraform_does_not_take_what_others_may_have_texts_at() -> None:
    document = json.loads(terraform(ZONES))
    left_out = document["//"]["left out"]
    assert any(line.startswith("example.org. 3600 IN TXT") for line in left_out)
    assert any(" TLSA " in line for line in left_out)
    assert any(" PTR " in line for line in left_out)
    assert not [each for each in document["resource"]["dns_txt_record_set"].values() if "name" not in each]


def test_terraform_reads_no_template_in_a_text() -> None:
    record = Record("a.example.org.", "TXT", ('"${file(1)} %{if}"',), "a test", 60)
    (found,) = json.loads(terraform({"example.org.": [record]}))["resource"]["dns_txt_record_set"].values()
    assert found["txt"] == ["$${file(1)} %%{if}"]


def test_other_values_than_the_record_s() -> None:
    record = Record("a.example.org.", "A", ("192.0.2.1",), "a test", 60)
    assert zone_lines(record, {"192.0.2.9"}) == ["a.example.org. 60 IN A 192.0.2.9"]
