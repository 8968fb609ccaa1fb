# SPDX-License-Identifier: GPL-3.0-or-later
"""dns_records: the files, and a name server that takes updates; what is changed, and what is left alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dns.rcode
import pytest
import yaml
from ansible_collections.postroad.relay.plugins.action import dns_records as action
from ansible_collections.postroad.relay.plugins.doc_fragments import fleet_dns
from ansible_collections.postroad.relay.plugins.modules import dns_records
from ansible_collections.postroad.relay.plugins.plugin_utils.zone import publish

from relay_agent.name_server import Answer, NameServer
from tests.unit.plugins.zone_example import facts
from tests.unit.zone_server import KEY, KEY_NAME, ZoneServer


@pytest.fixture
def zone() -> Iterator[ZoneServer]:
    server = ZoneServer()
    yield server
    server.close()


class Controller:
    """Runs the action with two relays, as dns.yml does."""

    def __init__(self, directory: Path, zone: ZoneServer) -> None:
        self.directory = directory
        self.relays = {f"relay{number}": {"_facts": facts(number)} for number in (1, 2)}
        self.options: dict[str, Any] = {
            "domains": ["example.org"],
            "service": "mail.example.org",
            "server": {"server": "127.0.0.1", "port": zone.port, "key_name": KEY_NAME, "key_secret": KEY},
        }

    def run(self, *, check_mode: bool = False, **options: Any) -> dict[str, Any]:
        hosts = list(self.relays)
        arguments = {
            "hosts": hosts,
            "relays": hosts,
            "facts": "_facts",
            "directory": str(self.directory),
            **self.options,
            **options,
        }
        arguments = {key: value for key, value in arguments.items() if value is not None}
        task = SimpleNamespace(args=arguments, check_mode=check_mode, async_val=0, diff=True)
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=""))
        plugin = action.ActionModule(task, connection, SimpleNamespace(), None, None, None)
        result: dict[str, Any] = plugin.run(task_vars={"hostvars": self.relays})
        assert KEY not in str(result)
        return result


@pytest.fixture
def controller(tmp_path: Path, zone: ZoneServer) -> Controller:
    return Controller(tmp_path / "dns-records", zone)


def test_files_alone(controller: Controller) -> None:
    result = controller.run(server=None)
    assert result["changed"] is True
    names = {path.name for path in controller.directory.iterdir()}
    assert names == {"example.org.zone", "example.org.nsupdate", "elsewhere.zone", "relays.tf.json"}
    assert controller.run(server=None)["changed"] is False


def test_records_are_put_in_once(controller: Controller, zone: ZoneServer) -> None:
    first = controller.run()
    assert first["changed"] is True
    assert zone.at("mail.example.org.", "A") == {"192.0.2.1", "192.0.2.2"}
    assert zone.at("_submission._tcp.example.org.", "SRV")
    updates = len(zone.updates)
    second = controller.run()
    assert second["changed"] is False
    assert second["diff"] == []
    assert len(zone.updates) == updates


def test_check_mode_shows_what_a_run_does_and_does_nothing(controller: Controller, zone: ZoneServer) -> None:
    checked = controller.run(check_mode=True)
    assert zone.updates == []
    assert not controller.directory.exists()
    assert checked["diff"] == controller.run()["diff"]


def test_what_is_not_ours_stays_and_is_told(controller: Controller, zone: ZoneServer) -> None:
    zone.put("_submission._tcp.example.org.", "SRV", "0 1 587 smtp.example.net.")
    zone.put("example.org.", "TXT", '"v=spf1 mx -all"', '"site-verification=1"')
    zone.put("_dmarc.example.org.", "TXT", '"v=DMARC1; p=reject"')
    result = controller.run()
    assert "0 1 587 smtp.example.net." in zone.at("_submission._tcp.example.org.", "SRV")
    assert any("there is 0 1 587 smtp.example.net. instead" in text for text in result["warnings"])
    ours = "ip4:192.0.2.1 ip6:2001:db8::1 ip4:192.0.2.2 ip6:2001:db8::2"
    assert zone.at("example.org.", "TXT") == {f'"v=spf1 mx {ours} -all"', '"site-verification=1"'}
    assert zone.at("_dmarc.example.org.", "TXT") == {'"v=DMARC1; p=reject"'}


def test_what_was_ours_goes_when_it_is_not_wanted_any_more(controller: Controller, zone: ZoneServer) -> None:
    controller.run()
    zone.records["relay2.example.org.", "A"]["203.0.113.9"] = 60
    del controller.relays["relay2"]
    controller.relays["relay1"]["_facts"]["dkim"] = []
    result = controller.run()
    assert zone.at("mail.example.org.", "A") == {"192.0.2.1"}
    assert zone.at("2026._domainkey.example.org.", "TXT") == set()
    assert zone.at("relay2.example.org.", "A") == {"203.0.113.9"}, "that was somebody else's"
    assert any("203.0.113.9" in text for text in result["warnings"])


def test_without_its_memory_nothing_is_removed(controller: Controller, zone: ZoneServer) -> None:
    controller.run()
    (controller.directory / "published.json").unlink()
    del controller.relays["relay2"]
    controller.run()
    assert zone.at("mail.example.org.", "A") == {"192.0.2.1", "192.0.2.2"}


def test_a_memory_that_is_damaged_is_told(controller: Controller) -> None:
    controller.run()
    (controller.directory / "published.json").write_text('[["a"]]')
    assert "published.json is damaged" in controller.run()["msg"]


def test_the_address_list_is_left_to_the_relays(controller: Controller, zone: ZoneServer) -> None:
    controller.options["failover"] = {"enabled": True, "ttl": 30}
    controller.run()
    assert zone.records["mail.example.org.", "A"] == {"192.0.2.1": 30, "192.0.2.2": 30}
    del zone.records["mail.example.org.", "A"]["192.0.2.2"]
    assert controller.run()["changed"] is False
    assert zone.at("mail.example.org.", "A") == {"192.0.2.1"}


def test_a_list_that_is_remembered_too_long_is_mended(controller: Controller, zone: ZoneServer) -> None:
    controller.run()
    controller.options["failover"] = {"enabled": True, "ttl": 30}
    result = controller.run()
    assert zone.records["mail.example.org.", "A"] == {"192.0.2.1": 30, "192.0.2.2": 30}
    shown = next(each for each in result["diff"] if each["before_header"].startswith("zone "))
    assert "mail.example.org. 3600 IN A 192.0.2.1\n" in shown["before"]
    assert "mail.example.org. 30 IN A 192.0.2.1\n" in shown["after"]


def test_values_of_templates_are_text(controller: Controller, zone: ZoneServer) -> None:
    texts: dict[str, Any] = {
        "failover": {"enabled": "False"},
        "spf": {"enabled": "False"},
        "dmarc": {"enabled": "no"},
        "ttl": "120",
    }
    controller.run(**texts)
    assert zone.records["mail.example.org.", "A"] == {"192.0.2.1": 120, "192.0.2.2": 120}
    assert zone.at("example.org.", "TXT") | zone.at("_dmarc.example.org.", "TXT") == set()


def test_somebody_changes_the_zone_at_the_same_moment(
    controller: Controller, zone: ZoneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone, "_update", lambda _: dns.rcode.NXRRSET)
    result = controller.run()
    assert result["failed"] is True
    assert "at the same moment" in result["msg"]


@pytest.mark.parametrize(("rcode", "said"), [(dns.rcode.REFUSED, "(REFUSED)"), (dns.rcode.SERVFAIL, "(SERVFAIL)")])
def test_a_server_that_refuses(controller: Controller, zone: ZoneServer, rcode: int, said: str) -> None:
    zone.rcode = rcode
    result = controller.run()
    assert result["failed"] is True
    assert said in result["msg"]


def test_a_relay_that_is_left_out(controller: Controller) -> None:
    result = controller.run(relays=["relay1", "relay2", "relay3"])
    assert result["failed"] is True
    assert "relay3 cannot be asked or is left out by --limit" in result["msg"]


def test_values_that_mean_more_than_they_say(controller: Controller, zone: ZoneServer) -> None:
    controller.relays["relay1"]["_facts"]["name"] = "relay1.example.org. 60 IN A 192.0.2.66\nx"
    result = controller.run()
    assert result["failed"] is True
    assert "is no name for the DNS" in result["msg"]
    assert zone.updates == []


def test_what_was_published_is_kept_in_a_form_for_people(controller: Controller) -> None:
    controller.run()
    entries = json.loads((controller.directory / "published.json").read_text())
    assert ["mail.example.org.", "A", ["192.0.2.1", "192.0.2.2"]] in entries


def test_documentation_names_every_option() -> None:
    own, shared = (dns_records.DOCUMENTATION, fleet_dns.ModuleDocFragment.DOCUMENTATION)
    named = [*yaml.safe_load(own)["options"], *yaml.safe_load(shared)["options"]]
    assert sorted(named) == sorted(action.ARGUMENTS)


def test_a_text_that_is_cut_where_others_cut_it(controller: Controller, zone: ZoneServer) -> None:
    """The server knows a record by its octets, whatever the text that its strings make (RFC 1035 3.3.14)."""
    zone.put("example.org.", "TXT", '"v=spf1 include:_spf.example.net " "~all"', '"site=" "1"')
    result = controller.run()
    assert not result.get("failed"), result["msg"]
    ours = "ip4:192.0.2.1 ip6:2001:db8::1 ip4:192.0.2.2 ip6:2001:db8::2"
    assert zone.at("example.org.", "TXT") == {f'"v=spf1 include:_spf.example.net {ours} ~all"', '"site=" "1"'}
    assert controller.run()["changed"] is False


def test_a_key_that_is_cut_otherwise_is_the_same_and_goes_when_it_is_not_wanted(
    controller: Controller, zone: ZoneServer
) -> None:
    owner = "2026._domainkey.example.org."
    text = "v=DKIM1; k=rsa; p=" + "A" * 300
    zone.put(owner, "TXT", f'"{text[:100]}" "{text[100:200]}" "{text[200:]}"')
    controller.run()
    assert len(zone.at(owner, "TXT")) == 1
    for relay in controller.relays.values():
        relay["_facts"]["dkim"] = []
    controller.run()
    assert zone.at(owner, "TXT") == set()


@pytest.mark.parametrize("kind", ["A", "AAAA", "MX", "TXT"])
def test_an_alias_where_something_else_is(controller: Controller, zone: ZoneServer, kind: str) -> None:
    value = {"A": "203.0.113.9", "AAAA": "2001:db8::9", "MX": "10 mx.example.net.", "TXT": '"hello"'}[kind]
    zone.put("autoconfig.example.org.", kind, value)
    result = controller.run(settings_host="mail.example.org")
    assert not result.get("failed")
    (told,) = [text for text in result["warnings"] if "autoconfig" in text]
    assert told == (
        "autoconfig.example.org. CNAME mail.example.org. is not put in: an alias cannot be beside anything else "
        f"(RFC 1034 3.6.2), and there is {kind} {value}: take that out first, then run it again"
    )
    again = controller.run(settings_host="mail.example.org")
    assert (again["changed"], again["diff"]) == (False, [])
    del zone.records["autoconfig.example.org.", kind]
    assert controller.run(settings_host="mail.example.org")["changed"] is True
    assert zone.at("autoconfig.example.org.", "CNAME") == {"mail.example.org."}


def test_an_alias_where_something_else_is_wanted(controller: Controller, zone: ZoneServer) -> None:
    zone.put("relay1.example.org.", "CNAME", "host.example.net.")
    result = controller.run()
    told = [text for text in result["warnings"] if text.startswith("relay1.example.org. ")]
    assert {text.split()[1] for text in told} == {"A", "AAAA", "TXT"}
    assert all("the name is an alias, CNAME host.example.net." in text for text in told)
    assert zone.at("relay2.example.org.", "A") == {"192.0.2.2"}
    assert controller.run()["changed"] is False


def test_what_is_ours_and_goes_is_in_nobody_s_way(controller: Controller, zone: ZoneServer) -> None:
    """A relay named autoconfig is replaced by the alias of that name, in one run."""
    controller.options["spf"] = {"enabled": False}
    controller.relays["relay2"]["_facts"]["name"] = "autoconfig.example.org"
    controller.run()
    assert zone.at("autoconfig.example.org.", "A")
    controller.relays["relay2"]["_facts"]["name"] = "relay2.example.org"
    result = controller.run(settings_host="mail.example.org")
    assert not result.get("failed")
    assert zone.at("autoconfig.example.org.", "CNAME") == {"mail.example.org."}
    assert zone.at("autoconfig.example.org.", "A") == set()


def test_what_the_server_ignores_is_not_published(
    controller: Controller, zone: ZoneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "_SHOWN_WITHIN", 0.0)
    zone.put("autoconfig.example.org.", "HINFO", '"a" "b"')
    result = controller.run(settings_host="mail.example.org")
    assert result["failed"] is True
    assert result["msg"] == (
        "autoconfig.example.org. CNAME: 127.0.0.1 took the update and did not put in mail.example.org. (see its log; "
        "often something of another type is at that name)"
    )
    entries = json.loads((controller.directory / "published.json").read_text())
    assert ["mail.example.org.", "A", ["192.0.2.1", "192.0.2.2"]] in entries, "that was put in"
    assert not any(owner == "autoconfig.example.org." for owner, _, _ in entries)


def test_a_server_that_shows_what_it_did_a_moment_later(
    controller: Controller, zone: ZoneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, left = NameServer.ask, [3]

    def slowly(self: NameServer, owner: str, kind: str, *, recursive: bool = False) -> Answer:
        if zone.updates and left[0]:
            left[0] -= 1
            return Answer()
        return ask(self, owner, kind, recursive=recursive)

    monkeypatch.setattr(NameServer, "ask", slowly)
    monkeypatch.setattr(publish, "_PAUSE", 0.01)
    assert not controller.run().get("failed")
    assert left == [0]


def test_a_wildcard_is_not_at_the_name(controller: Controller, zone: ZoneServer) -> None:
    zone.put("*.example.org.", "A", "203.0.113.9")
    zone.put("*.example.org.", "TXT", '"nothing here"')
    result = controller.run(settings_host="mail.example.org")
    assert not result.get("failed"), result["msg"]
    assert not any("203.0.113.9" in text for text in result["warnings"])
    assert zone.at("relay1.example.org.", "A") == {"192.0.2.1"}
    assert zone.at("autoconfig.example.org.", "CNAME") == {"mail.example.org."}
    assert controller.run(settings_host="mail.example.org")["changed"] is False


def test_what_is_at_the_name_though_a_wildcard_has_the_same(controller: Controller, zone: ZoneServer) -> None:
    zone.put("*.example.org.", "A", "203.0.113.9")
    zone.put("relay1.example.org.", "A", "203.0.113.9")
    result = controller.run()
    assert not result.get("failed"), result["msg"]
    assert any("relay1.example.org. A there is 203.0.113.9 instead" in text for text in result["warnings"])
    assert zone.at("relay1.example.org.", "A") == {"203.0.113.9", "192.0.2.1"}


def test_who_is_held_out_though_it_takes_mail_is_told(controller: Controller, zone: ZoneServer) -> None:
    controller.options["failover"] = {"enabled": True}
    zone.put("_drained.mail.example.org.", "TXT", '"relay1.example.org"', '"relay2.example.org"')
    controller.relays["relay2"]["_facts"]["drained"] = True
    result = controller.run()
    assert [text for text in result["warnings"] if "_drained" in text] == [
        "_drained.mail.example.org. TXT holds relay1.example.org out of the address list, though not drained: "
        "`relay-agent failover join` there ends it"
    ]
    assert zone.at("_drained.mail.example.org.", "TXT") == {'"relay1.example.org"', '"relay2.example.org"'}


def test_the_mark_of_a_relay_that_is_gone_goes(controller: Controller, zone: ZoneServer) -> None:
    """Or the next host of that name would be held out by it."""
    controller.options["failover"] = {"enabled": True}
    zone.put("_drained.mail.example.org.", "TXT", '"Relay2.example.org."', '"relay3.example.org"')
    controller.relays["relay2"]["_facts"]["drained"] = True
    result = controller.run()
    assert zone.at("_drained.mail.example.org.", "TXT") == {'"Relay2.example.org."'}
    assert not any("_drained" in text for text in result["warnings"])
    assert controller.run()["changed"] is False
    assert "_drained" not in (controller.directory / "published.json").read_text()
