# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of what is published, and what mends it."""

from ansible_collections.postroad.relay.plugins.plugin_utils.zone.findings import as_json, compare, render, verdict
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Record

from relay_agent.name_server import Answer

RECORD = Record("mail.example.org.", "A", ("192.0.2.1",), "the relay\x1b[31m itself", 60)


def answer(*values: str, ttl: int = 60) -> Answer:
    return Answer(ttl, frozenset(values))


def test_good() -> None:
    rows = [compare(RECORD, "ns1", answer("192.0.2.1")), compare(RECORD, "ns2", answer("192.0.2.1"))]
    assert verdict(rows) == ""
    assert "ns1, ns2  as it should be" in render(rows)
    assert "to mend it" not in render(rows)


def test_missing_at_one_of_two_servers() -> None:
    rows = [compare(RECORD, "ns1", answer("192.0.2.1")), compare(RECORD, "ns2", answer())]
    text = render(rows)
    assert verdict(rows) == "records: 1 missing; see the table above"
    assert "ns2    MISSING: is not there" in text
    assert text.endswith("to mend it, put in:\n  ; the relay [31m itself\n  mail.example.org. 60 IN A 192.0.2.1")


def test_somebody_else_s_value_is_wrong_and_what_to_take_out_is_told() -> None:
    rows = [compare(RECORD, "ns1", answer("192.0.2.1", "203.0.113.9"))]
    assert verdict(rows) == "records: 1 wrong; see the table above"
    assert "take out:" in render(rows)
    assert rows[0].remove == ("mail.example.org. 60 IN A 203.0.113.9",)


def test_nobody_could_be_asked() -> None:
    rows = [compare(RECORD, "-", "the resolver did not answer")]
    assert verdict(rows) == "records: 1 that nobody could be asked for; see the table above"
    assert "UNKNOWN: the resolver did not answer" in render(rows)


def test_a_list_that_is_remembered_too_long() -> None:
    record = Record("mail.example.org.", "A", ("192.0.2.1", "192.0.2.2"), "the list", 30, "any")
    row = compare(record, "ns1", answer("192.0.2.1", ttl=3600))
    assert row.state == "wrong"
    assert "3600 s" in row.says
    assert row.add == ("mail.example.org. 30 IN A 192.0.2.1",)


def test_what_a_server_says_does_not_act_on_the_terminal() -> None:
    record = Record("mail.example.org.", "TXT", ('"x"',), "a test", 60)
    assert "\x1b" not in render([compare(record, "ns1", answer('"\x1b[2J"'))])


def test_for_programs() -> None:
    (row,) = as_json([compare(RECORD, "ns1", answer())])
    assert row["state"] == "missing"
    assert row["wanted"] == ["192.0.2.1"]
    assert row["add"] == ["mail.example.org. 60 IN A 192.0.2.1"]


def test_what_is_in_the_way_is_named_with_what_to_do() -> None:
    record = Record("autoconfig.example.org.", "CNAME", ("mail.example.org.",), "the settings", 60)
    row = compare(record, "ns1", Answer(beside=frozenset({("A", "203.0.113.9"), ("TXT", '"x"')})))
    assert row.state == "wrong"
    assert row.remove == ("autoconfig.example.org. 60 IN A 203.0.113.9", 'autoconfig.example.org. 60 IN TXT "x"')
    assert row.add == ("autoconfig.example.org. 60 IN CNAME mail.example.org.",)
    text = render([row])
    assert 'and there is A 203.0.113.9, TXT "x": take that out first' in text
    assert text.index("take out:") < text.index("put in:")


def test_an_alias_where_addresses_are_wanted() -> None:
    row = compare(RECORD, "ns1", Answer(beside=frozenset({("CNAME", "host.example.net.")})))
    assert row.remove == ("mail.example.org. 60 IN CNAME host.example.net.",)
    assert row.add == ("mail.example.org. 60 IN A 192.0.2.1",)
    assert "the name is an alias, CNAME host.example.net." in row.says
