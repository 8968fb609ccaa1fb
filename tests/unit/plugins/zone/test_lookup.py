# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a record is asked of."""

from __future__ import annotations

from typing import Any

import dns.resolver
import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.lookup import Lookup, LookupFailed, own_resolvers

from relay_agent.name_server import Answer, NameServerError

WORLD = {
    "resolver": {
        ("example.org.", "SOA"): ["ns1.example.org. hostmaster. 1 2 3 4 5"],
        ("example.org.", "NS"): ["ns1.example.org.", "ns2.example.net."],
        ("ns1.example.org.", "A"): ["192.0.2.53"],
        ("ns2.example.net.", "AAAA"): ["2001:db8::53"],
        ("mail.example.org.", "A"): ["192.0.2.9"],
        ("broken.example.", "SOA"): ["x. x. 1 2 3 4 5"],
        ("broken.example.", "NS"): ["nowhere.example."],
    },
    "192.0.2.53": {("mail.example.org.", "A"): ["192.0.2.1"]},
    "2001:db8::53": {("mail.example.org.", "A"): ["192.0.2.2"]},
}

WANTED = frozenset({"192.0.2.1"})


class Server:
    asked: list[tuple[str, str]] = []  # noqa: RUF012

    def __init__(self, host: str) -> None:
        self.host = host

    def ask(self, owner: str, kind: str, *, recursive: bool = False) -> Answer:
        self.asked.append((self.host, owner))
        if self.host not in WORLD:
            error = NameServerError(f"{self.host}: it did not answer")
            error.silent = self.host == "silent"
            raise error
        assert recursive is (self.host == "resolver")
        return Answer(60, frozenset(WORLD[self.host].get((owner, kind), ())))

    def survey(self, owner: str, kind: str, wanted: frozenset[str], *, recursive: bool = False) -> Answer:
        assert wanted == WANTED
        return self.ask(owner, kind, recursive=recursive)


def lookup(*resolvers: str, **more: Any) -> Lookup:
    return Lookup(resolvers or ("resolver",), connect=Server, **more)  # type: ignore[arg-type]


def test_each_name_server_of_the_zone_is_asked_itself() -> None:
    found = list(lookup().ask("mail.example.org.", "A", WANTED))
    assert found == [
        ("ns1.example.org", Answer(60, frozenset({"192.0.2.1"}))),
        ("ns2.example.net", Answer(60, frozenset({"192.0.2.2"}))),
    ]


def test_what_is_known_of_a_zone_is_not_asked_again() -> None:
    asking = lookup()
    list(asking.ask("mail.example.org.", "A", WANTED))
    Server.asked.clear()
    list(asking.ask("mail.example.org.", "A", WANTED))
    assert [host for host, _ in Server.asked] == ["192.0.2.53", "2001:db8::53"]


def test_servers_that_are_named() -> None:
    assert [name for name, _ in lookup(servers=["192.0.2.53"]).ask("mail.example.org.", "A", WANTED)] == ["192.0.2.53"]


def test_a_resolver_alone() -> None:
    found = list(lookup(authoritative=False).ask("mail.example.org.", "A", WANTED))
    assert found == [("resolver", Answer(60, frozenset({"192.0.2.9"})))]


def test_the_next_resolver_when_one_does_not_answer() -> None:
    assert len(list(lookup("dead", "resolver").ask("mail.example.org.", "A", WANTED))) == 2


@pytest.mark.parametrize(
    ("asking", "owner", "said"),
    [
        (lookup(), "mail.nowhere.test.", "no zone is found"),
        (lookup(), "a.broken.example.", "has no address"),
        (lookup("dead"), "mail.example.org.", "dead: it did not answer"),
        (lookup("dead", authoritative=False), "mail.example.org.", "dead: it did not answer"),
    ],
)
def test_nobody_can_be_asked(asking: Lookup, owner: str, said: str) -> None:
    ((name, answer),) = asking.ask(owner, "A", WANTED)
    assert name == "-"
    assert isinstance(answer, str)
    assert said in answer


def test_a_server_that_does_not_answer_hides_no_other() -> None:
    (_, one), (_, other) = lookup(servers=["dead", "192.0.2.53"]).ask("mail.example.org.", "A", WANTED)
    assert one == "dead: it did not answer"
    assert isinstance(other, Answer)


def test_a_server_that_is_silent_is_waited_for_once() -> None:
    asking = lookup(servers=["silent", "192.0.2.53"])
    Server.asked.clear()
    for _ in range(3):
        (_, one), (_, other) = asking.ask("mail.example.org.", "A", WANTED)
        assert isinstance(other, Answer)
    assert one == "silent did not answer before, and is not asked again"
    assert [host for host, _ in Server.asked].count("silent") == 1


def test_a_machine_without_a_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver, "Resolver", none)
    with pytest.raises(LookupFailed, match="relay_check_dns_resolver"):
        own_resolvers()
