# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a name server and updates of it, and what is said when it does not do as it was told."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import dns.exception
import dns.rcode
import pytest

from relay_agent.name_server import Answer, Change, NameServer, NameServerError, TsigKey, canonical
from tests.unit.zone_server import KEY, KEY_NAME, ZoneServer

NAME = "mail.example.org."
HOST = "127.0.0.1"


@pytest.fixture
def zone() -> Iterator[ZoneServer]:
    server = ZoneServer()
    yield server
    server.close()


def access(zone: ZoneServer, key: TsigKey | None = None, within: float = 5.0) -> NameServer:
    return NameServer(HOST, zone.port, key or TsigKey(KEY_NAME, KEY), within=within)


def test_what_there_is_with_its_ttl(zone: ZoneServer) -> None:
    zone.put(NAME, "A", "192.0.2.1", "192.0.2.2", ttl=30)
    assert access(zone).ask(NAME, "A") == Answer(30, frozenset({"192.0.2.1", "192.0.2.2"}))
    assert access(zone).ask(NAME, "AAAA") == Answer()


def test_a_change_under_a_condition(zone: ZoneServer) -> None:
    zone.put(NAME, "A", "192.0.2.1", "192.0.2.2")
    seen = Answer(60, frozenset({"192.0.2.1", "192.0.2.2"}))
    change = Change(NAME, "A", frozenset({"192.0.2.3"}), frozenset({"192.0.2.1"}), 30, seen)
    assert access(zone).update("example.org", [change])
    assert zone.records[NAME, "A"] == {"192.0.2.2": 60, "192.0.2.3": 30}
    assert not access(zone).update("example.org", [change]), "the list is another one now"


def test_nothing_is_done_when_one_of_several_conditions_does_not_hold(zone: ZoneServer) -> None:
    zone.put(NAME, "A", "192.0.2.1")
    good = Change(NAME, "AAAA", add=frozenset({"2001:db8::1"}), ttl=30, expected=Answer())
    bad = Change(NAME, "A", remove=frozenset({"192.0.2.1"}), expected=Answer())
    assert not access(zone).update("example.org", [good, bad])
    assert zone.at(NAME, "AAAA") == set()
    assert zone.at(NAME, "A") == {"192.0.2.1"}


@pytest.mark.parametrize(
    ("rcode", "said"),
    [
        (dns.rcode.REFUSED, "it refuses to answer (REFUSED)"),
        (dns.rcode.SERVFAIL, "it failed (SERVFAIL)"),
        (dns.rcode.NOTAUTH, "no authority for the zone (NOTAUTH)"),
        (dns.rcode.FORMERR, "it says FORMERR"),
    ],
)
def test_a_question_that_is_not_answered(zone: ZoneServer, rcode: int, said: str) -> None:
    zone.rcode = rcode
    with pytest.raises(NameServerError) as caught:
        access(zone).ask(NAME, "A")
    assert said in str(caught.value)
    assert not caught.value.silent
    assert f"{HOST}, asked for A of {NAME}" in str(caught.value)


@pytest.mark.parametrize(
    ("rcode", "said"),
    [
        (dns.rcode.REFUSED, "the key may not change this name"),
        (dns.rcode.NOTAUTH, "it is not the zone's primary"),
        (dns.rcode.NOTZONE, "outside the zone"),
        (dns.rcode.SERVFAIL, "it failed (SERVFAIL)"),
        (dns.rcode.NOTIMP, "takes no updates at all"),
        (dns.rcode.FORMERR, "it says FORMERR"),
    ],
)
def test_an_update_that_is_refused(zone: ZoneServer, rcode: int, said: str) -> None:
    zone.rcode = rcode
    with pytest.raises(NameServerError) as caught:
        access(zone).update("example.org", [Change(NAME, "A", add=frozenset({"192.0.2.1"}), ttl=30)])
    assert said in str(caught.value)
    assert KEY not in str(caught.value)


def test_nobody_listens() -> None:
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(NameServerError, match=f"nobody listens at its port {port}") as caught:
        NameServer(HOST, port).ask(NAME, "A")
    assert caught.value.silent


def test_nobody_answers() -> None:
    with (
        socket.create_server((HOST, 0)) as silent,
        pytest.raises(NameServerError, match=r"did not answer within 0\.2 s"),
    ):
        NameServer(HOST, silent.getsockname()[1], within=0.2).ask(NAME, "A")


def test_it_hangs_up(zone: ZoneServer) -> None:
    zone.silent = True
    with pytest.raises(NameServerError, match="it hung up without an answer"):
        access(zone).ask(NAME, "A")


def test_its_name_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    with pytest.raises(NameServerError, match=r"ns\.example\.org.*its own name has no address"):
        NameServer("ns.example.org.").ask(NAME, "A")


def test_a_secret_that_is_no_base64_is_not_shown(zone: ZoneServer) -> None:
    with pytest.raises(NameServerError) as caught:
        access(zone, TsigKey(KEY_NAME, "abc")).update("example.org", [])
    assert "the secret of the key is not base64" in str(caught.value)
    assert "abc" not in repr(TsigKey(KEY_NAME, "abc"))


def test_a_resolver_is_no_authority(zone: ZoneServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer from memory may be older than what was done."""
    answer = ZoneServer._answer

    def from_memory(self: ZoneServer, wire: bytes) -> object:
        found = answer(self, wire)
        found.flags &= ~0x0400
        return found

    monkeypatch.setattr(ZoneServer, "_answer", from_memory)
    zone.put(NAME, "A", "192.0.2.1")
    with pytest.raises(NameServerError, match="does not serve this zone"):
        access(zone).ask(NAME, "A")
    assert access(zone).ask(NAME, "A", recursive=True).values == {"192.0.2.1"}


def test_values_are_compared_in_one_form() -> None:
    assert canonical("SRV", "0 1 443 Mail.Example.ORG.") == "0 1 443 mail.example.org."
    assert canonical("AAAA", "2001:DB8:0:0::1") == "2001:db8::1"
    assert canonical("TLSA", "3 1 1 AB " + "00" * 31) == "3 1 1 ab" + "00" * 31
    assert canonical("TXT", '"v=spf1 " "-all"') == '"v=spf1 -all"'
    assert canonical("TXT", f'"{"a" * 200}" "{"a" * 200}"') == f'"{"a" * 255}" "{"a" * 145}"'
    assert canonical("TXT", '"Case Counts"') == '"Case Counts"'


@pytest.mark.parametrize("value", ["0 1 443 a.\nb. 60 IN A 192.0.2.66", "0 1 443", "0 1 99999 a.", "0 1 443 a. ) x"])
def test_more_than_one_record_s_data_is_refused(value: str) -> None:
    with pytest.raises((dns.exception.DNSException, ValueError)):
        canonical("SRV", value)


def test_a_record_is_known_to_the_server_as_it_serves_it(zone: ZoneServer) -> None:
    cut, whole = '"v=spf1 include:a.example " "~all"', '"v=spf1 include:a.example ~all"'
    zone.put(NAME, "TXT", cut, '"other"')
    there = access(zone).ask(NAME, "TXT")
    assert there.values == {whole, '"other"'}
    assert there.served == {cut, '"other"'}
    change = Change(NAME, "TXT", frozenset({'"v=spf1 ~all"'}), frozenset({whole}), 30, there)
    assert access(zone).update("example.org", [change])
    assert zone.at(NAME, "TXT") == {'"v=spf1 ~all"', '"other"'}


def test_a_text_that_is_there_twice_goes_twice(zone: ZoneServer) -> None:
    zone.put(NAME, "TXT", '"ab"', '"a" "b"')
    there = access(zone).ask(NAME, "TXT")
    assert access(zone).update("example.org", [Change(NAME, "TXT", remove=there.values, expected=there)])
    assert zone.at(NAME, "TXT") == set()


def test_an_alias_leaves_no_room(zone: ZoneServer) -> None:
    zone.put(NAME, "CNAME", "Host.Example.NET.")
    there = access(zone).survey(NAME, "A", frozenset({"192.0.2.1"}))
    assert there == Answer(beside=frozenset({("CNAME", "host.example.net.")}))
    assert access(zone).survey(NAME, "CNAME").beside == frozenset()


def test_what_leaves_an_alias_no_room(zone: ZoneServer) -> None:
    zone.put(NAME, "A", "192.0.2.1")
    zone.put(NAME, "TXT", '"a" "b"')
    assert access(zone).survey(NAME, "CNAME").beside == {("A", "192.0.2.1"), ("TXT", '"ab"')}
    assert access(zone).survey("other.example.org.", "CNAME") == Answer()


def test_what_a_wildcard_stands_for_is_not_there(zone: ZoneServer) -> None:
    zone.put("*.example.org.", "A", "192.0.2.9")
    zone.put("*.example.org.", "TXT", '"x"')
    for owner in (NAME, "a.b.example.org."):
        assert access(zone).ask(owner, "A").values == {"192.0.2.9"}
        assert access(zone).survey(owner, "A", frozenset({"192.0.2.1"})) == Answer()
        assert access(zone).survey(owner, "CNAME") == Answer()
    zone.put(NAME, "A", "192.0.2.8")
    assert access(zone).survey(NAME, "A").values == {"192.0.2.8"}
    assert access(zone).survey(NAME, "CNAME").beside == {("A", "192.0.2.8")}
    del zone.records["*.example.org.", "A"], zone.records["*.example.org.", "TXT"]
    zone.put("*.example.org.", "CNAME", "host.example.net.")
    assert access(zone).survey("new.example.org.", "A").beside == frozenset()


def test_what_is_as_wanted_is_asked_once(zone: ZoneServer, monkeypatch: pytest.MonkeyPatch) -> None:
    zone.put(NAME, "A", "192.0.2.1")
    asked: list[str] = []
    ask = NameServer.ask

    def counted(self: NameServer, owner: str, kind: str, *, recursive: bool = False) -> Answer:
        asked.append(owner)
        return ask(self, owner, kind, recursive=recursive)

    monkeypatch.setattr(NameServer, "ask", counted)
    access(zone).survey(NAME, "A", frozenset({"192.0.2.1"}))
    assert asked == [NAME]
