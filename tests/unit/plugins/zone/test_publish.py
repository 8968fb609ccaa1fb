# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to a name server, and what is remembered of it; test_dns_records.py has whole fleets."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.zone import publish
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.publish import Publisher, difference
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Record

from relay_agent.name_server import Change, NameServer, NameServerError, TsigKey
from tests.unit.zone_server import KEY, KEY_NAME, ZoneServer

ZONE = "example.org."
Places = Mapping[tuple[str, str], frozenset[str]]


@pytest.fixture
def zone() -> Iterator[ZoneServer]:
    server = ZoneServer()
    yield server
    server.close()


def record(name: str, *values: str, **more: Any) -> Record:
    chosen: dict[str, Any] = {"kind": "A", "why": "a test", "ttl": 60, **more}
    return Record(f"{name}.{ZONE}", values=values, **chosen)


def publisher(
    zone: ZoneServer, wanted: Sequence[Record], published: Places | None = None, *, check_mode: bool = False
) -> Publisher:
    server = NameServer("127.0.0.1", zone.port, TsigKey(KEY_NAME, KEY))
    return Publisher(server, published or {}, wanted, check_mode=check_mode, sleep=lambda seconds: None)


def ours(publisher: Publisher) -> dict[tuple[str, str], set[str]]:
    return {place: set(values) for place, values in publisher.ours.items() if values}


def many() -> list[Record]:
    """More than one message takes."""
    return [record(f"relay{number}", f"192.0.2.{number}") for number in range(1, 61)]


def test_a_second_run_sends_nothing(zone: ZoneServer) -> None:
    wanted = many()
    planned, first = publisher(zone, wanted, check_mode=True), publisher(zone, wanted)
    planned.publish(ZONE, wanted)
    assert zone.updates == []
    first.publish(ZONE, wanted)
    assert planned.diffs == first.diffs
    assert len(zone.updates) == 2
    assert len(ours(first)) == 60
    again = publisher(zone, wanted, first.ours)
    again.publish(ZONE, wanted)
    assert (again.diffs, again.told, again.refused, len(zone.updates)) == ([], [], [], 2)
    assert ours(again) == ours(first)


def test_what_was_put_in_before_a_failure_is_known_to_be_from_here(
    zone: ZoneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else, once it is not wanted any more, nobody would ever take it out again.
    update = NameServer.update

    def once(self: NameServer, name: str, changes: Sequence[Change]) -> bool:
        return not zone.updates and update(self, name, changes)

    monkeypatch.setattr(NameServer, "update", once)
    wanted = many()
    first = publisher(zone, wanted)
    with pytest.raises(NameServerError, match=r"somebody changed the zone example\.org\. at the same moment"):
        first.publish(ZONE, wanted)
    there = {place for place, values in zone.records.items() if values}
    assert len(there) == 40
    assert set(ours(first)) == there


def test_a_server_that_falls_silent_after_the_update(zone: ZoneServer, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [record("relay1", "192.0.2.1")]
    first = publisher(zone, wanted)
    update = NameServer.update

    def last(self: NameServer, name: str, changes: Sequence[Change]) -> bool:
        done = update(self, name, changes)
        zone.silent = True
        return done

    monkeypatch.setattr(NameServer, "update", last)
    with pytest.raises(NameServerError):
        first.publish(ZONE, wanted)
    assert ours(first) == {("relay1.example.org.", "A"): {"192.0.2.1"}}


def test_what_the_server_did_not_do_is_as_before(zone: ZoneServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "_SHOWN_WITHIN", 0.0)
    monkeypatch.setattr(NameServer, "update", lambda self, name, changes: True)  # it says so
    zone.put("relay1.example.org.", "A", "192.0.2.1")
    place = ("relay1.example.org.", "A")
    wanted = [record("relay1", "192.0.2.2"), record("relay2", "192.0.2.3")]
    run = publisher(zone, wanted, {place: frozenset({"192.0.2.1"})})
    run.publish(ZONE, wanted)
    assert [sentence.partition(" (")[0] for sentence in run.refused] == [
        "relay1.example.org. A: 127.0.0.1 took the update and did not put in 192.0.2.2 and take out 192.0.2.1",
        "relay2.example.org. A: 127.0.0.1 took the update and did not put in 192.0.2.3",
    ]
    assert ours(run) == {place: {"192.0.2.1"}}


def test_what_goes_goes_before_what_comes(zone: ZoneServer) -> None:
    zone.put("www.example.org.", "A", "192.0.2.1")
    place = ("www.example.org.", "A")
    alias = record("www", "relay1.example.org.", kind="CNAME")
    gone = record("www")
    run = publisher(zone, [alias], {place: frozenset({"192.0.2.1"})})
    run.publish(ZONE, [alias, gone])
    assert (run.refused, run.told) == ([], [])
    assert (zone.at(*place), zone.at("www.example.org.", "CNAME")) == (set(), {"relay1.example.org."})
    assert ours(run) == {("www.example.org.", "CNAME"): {"relay1.example.org."}}


def test_somebody_else_s_values_stay_and_are_told(zone: ZoneServer) -> None:
    zone.put("relay1.example.org.", "A", "203.0.113.9")
    wanted = [record("relay1", "192.0.2.1")]
    run = publisher(zone, wanted)
    run.publish(ZONE, wanted)
    assert zone.at("relay1.example.org.", "A") == {"192.0.2.1", "203.0.113.9"}
    (told,) = run.told
    assert told.endswith("they are not from here: remove them by hand if they are yours")
    assert ours(run) == {("relay1.example.org.", "A"): {"192.0.2.1"}}


def test_the_difference_names_the_zone_and_the_server(zone: ZoneServer) -> None:
    wanted = [record("relay1", "192.0.2.1", ttl=300)]
    run = publisher(zone, wanted, check_mode=True)
    run.publish(ZONE, wanted)
    assert run.diffs == [
        difference("zone example.org. at 127.0.0.1", "", "relay1.example.org. 300 IN A 192.0.2.1\n"),
    ]
