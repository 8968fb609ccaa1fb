# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is held out of the address list, and may not be."""

from ansible_collections.postroad.relay.plugins.plugin_utils.zone.findings import compare
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.held import held_records
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.plan import Judged, judge

from relay_agent.name_server import Answer
from tests.unit.plugins.zone_example import facts, fleet

ONE, TWO, THREE = (f'"relay{number}.example.org"' for number in (1, 2, 3))


def judged(*marks: str) -> Judged:
    """With the second relay drained."""
    (record,) = held_records(fleet(facts(1), facts(2, drained=True), failover=True))
    return judge(record, frozenset(marks))


def test_where_nobody_keeps_a_list_there_are_no_marks() -> None:
    assert held_records(fleet()) == []
    assert held_records(fleet(service="", failover=True)) == []


def test_nobody_or_a_relay_that_is_drained() -> None:
    assert judged().state == judged(TWO).state == judged('"Relay2.Example.org."').state == "good"


def test_a_relay_that_takes_mail_is_told_and_stays_held() -> None:
    found = judged(ONE, TWO)
    assert (found.state, found.remove, found.unwanted) == ("wrong", frozenset(), frozenset({ONE}))
    assert "holds relay1.example.org out of the address list, though not drained" in found.says


def test_what_is_no_relay_any_more_goes() -> None:
    found = judged(THREE)
    assert (found.state, found.remove, found.unwanted) == ("wrong", frozenset({THREE}), frozenset())
    assert found.says == "names what is no relay any more: relay3.example.org"


def test_as_dns_check_has_it() -> None:
    (record,) = held_records(fleet(failover=True))
    row = compare(record, "ns1", Answer(30, frozenset({ONE})))
    assert row.state == "wrong"
    assert row.remove == ('_drained.mail.example.org. 3600 IN TXT "relay1.example.org"',)
