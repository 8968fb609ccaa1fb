# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands out in the matrix of relays, ports and vantages."""

from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.judgement import everywhere, judge
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.matrix import Matrix, read_matrix
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.relays import relays_of

from tests.unit.plugins.reach_example import LISTENERS, authority, relays, seen, tried

SILENT = {"end": "silent"}
PORTAL = {"end": "not_smtp", "said": "HTTP/1.1 302 Found", "location": "http://login.test/"}


def matrix(*results: dict[str, Any], names: tuple[str, ...] = ("a", "b"), ports: tuple[int, ...] = ()) -> Matrix:
    asked = relays_of(names, relays(*names), LISTENERS, ports)
    return read_matrix(asked, results, authority(*names))


def told(*results: dict[str, Any], names: tuple[str, ...] = ("a", "b")) -> list[tuple[str, str, str, str]]:
    return [(each.level, each.host, each.about, each.text) for each in judge(matrix(*results, names=names))]


def test_all_is_well() -> None:
    made = matrix(tried("home", a=seen("a"), b=seen("b")), tried("hotel", a=seen("a"), b=seen("b")))
    assert judge(made) == []
    assert everywhere(made) == [(587, "STARTTLS"), (465, "TLS"), (443, "STARTTLS"), (443, "TLS")]
    assert {name: [port for port, _ in said.ports] for name, said in made.said.items()} == {
        "a": [587, 465, 443],
        "b": [587, 465, 443],
    }


def test_a_port_that_a_network_drops_for_every_relay() -> None:
    hotel = tried("hotel", a=seen("a", p587=SILENT), b=seen("b", p587=SILENT))
    home = tried("home", a=seen("a"), b=seen("b"))
    assert told(home, hotel) == [
        ("notice", name, "ports", "from hotel: port 587: silently dropped: no answer at all") for name in ("a", "b")
    ]
    assert everywhere(matrix(home, hotel)) == [(465, "TLS"), (443, "STARTTLS"), (443, "TLS")]


def test_ports_with_the_same_trouble_are_told_once_and_a_family_is_named() -> None:
    found = told(tried("hotel", a=seen("a", p587_ipv6=SILENT, p465_ipv6=SILENT)), names=("a",))
    assert [text for _, _, _, text in found] == [
        "from hotel: ports 587, 465 over IPv6: silently dropped: no answer at all"
    ]


def test_a_sibling_that_is_open_makes_it_a_difference() -> None:
    found = told(tried("home", a=seen("a", p443={"end": "refused"}), b=seen("b")))
    assert found == [
        (
            "difference",
            "a",
            "ports",
            "from home: port 443: refused: nothing listens there, or a firewall says no; from there it works at b",
        )
    ]


def test_one_of_both_ways_of_tls() -> None:
    found = told(tried("home", a=seen("a", p443={"end": "reset", "mode": "greeting"}), b=seen("b")))
    assert found == [
        ("difference", "a", "ports", "from home: port 443: STARTTLS does not work there; from there it works at b")
    ]


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (SILENT, "not reachable on any port: silently dropped: no answer at all"),
        (
            PORTAL,
            "somebody else answers on all ports: a login page of this network answers: open http://login.test/ in",
        ),
        ({"end": "spoke", "banner": "mail.isp.test"}, "somebody else answers on all ports: answered by somebody else"),
        (
            {"end": "spoke", "banner": "a.test ESMTP"},
            "somebody else answers on all ports: the relay answers, but STARTTLS",
        ),
    ],
)
def test_a_relay_that_a_vantage_cannot_use_at_all(ends: dict[str, Any], words: str) -> None:
    found = told(tried("home", a=seen("a"), b=seen("b")), tried("hotel", a=seen("a", all=ends), b=seen("b")))
    ((level, host, about, text),) = found
    assert (level, host, about) == ("trouble", "a", "reach")
    assert text.startswith(f"from hotel: {words}")


def test_several_reasons_have_their_ports() -> None:
    found = told(tried("hotel", a=seen("a", p587=SILENT, p465=PORTAL, p443=SILENT)), names=("a",))
    ((level, _, _, text),) = found
    assert level == "trouble"
    assert text.startswith(
        "from hotel: not reachable on any port: ports 587, 443 silently dropped: no answer at all; port"
    )


def test_a_port_that_nobody_can_use_is_the_relay_s_fault() -> None:
    results = [tried(name, a=seen("a", p443=SILENT)) for name in ("home", "hotel")]
    ((level, host, about, text),) = told(*results, names=("a",))
    assert (level, host, about) == ("trouble", "a", "ports")
    assert text.startswith("port 443 cannot be used from any vantage")


def test_a_trusted_certificate_with_another_key() -> None:
    """Recognised by the statement, which came through another vantage."""
    proxy = seen("a", shows="proxy.test", says=False)
    ((level, host, about, text),) = told(tried("home", a=seen("a")), tried("company", a=proxy), names=("a",))
    assert (level, host, about) == ("trouble", "a", "key")
    assert text.startswith("from company: ports 587, 465, 443: the certificate is trusted there, but its key")


def test_no_statement_at_all() -> None:
    found = told(tried("home", a=seen("a", says=False)), names=("a",))
    assert [(level, about) for level, _, about, _ in found] == [("notice", "statement")]


def test_a_statement_with_other_ports_than_the_inventory() -> None:
    found = told(tried("home", a=seen("a", said_ports=({"port": 587, "tls": "auto"},))), names=("a",))
    ((level, _, about, text),) = found
    assert (level, about) == ("difference", "statement")
    assert text.startswith(
        "it says, signed, that it has 587 auto; the inventory has 587 starttls, 465 implicit, 443 auto"
    )


def test_a_family_that_the_vantage_does_not_have_is_nobody_s_fault() -> None:
    away = {"end": "unreachable"}
    one = seen("a", p587_ipv6=away, p465_ipv6=away, p443_ipv6=away)
    made = matrix(tried("home", a=one), names=("a",))
    assert judge(made) == []
    assert (443, "TLS") in everywhere(made)


def test_a_name_that_is_not_found_and_a_vantage_that_is_away() -> None:
    away = {"item": "hotel", "unreachable": True, "msg": "Failed to connect\nConnection timed out"}
    old = {"item": "museum", "failed": True, "msg": "museum has Python 3.9.2, and Python 3.11 or later is needed there"}
    found = told(tried("home", a="a.test: no address is known for this name", b=seen("b")), away, old)
    assert found == [
        ("trouble", "hotel", "vantage", "it cannot be reached: Connection timed out"),
        ("trouble", "museum", "vantage", old["msg"]),
        ("trouble", "a", "reach", "from home: a.test: no address is known for this name"),
    ]


def test_that_nobody_looked_is_not_that_all_is_well() -> None:
    assert told() == [("trouble", "relay_reach_from", "vantage", "it names no host, so nobody looked")]


def test_ports_that_are_none_of_the_relay_s_are_no_findings() -> None:
    more = (*LISTENERS, {"port": 25, "tls": "starttls"})
    made = matrix(
        tried("home", a=seen("a", listeners=more, said_ports=LISTENERS, p25=SILENT)), names=("a",), ports=(25,)
    )
    assert judge(made) == []
    assert [one.port for one in made.at("a", "home") if one.verdict.family == "ipv4"] == [587, 465, 443, 25]


def test_two_who_are_trusted_and_speak_for_a_relay_are_told_of() -> None:
    home, hotel = tried("home", a=seen("a")), tried("hotel", a=seen("a", shows="proxy.test", signs=True))
    asked = relays_of(("a",), relays("a"), LISTENERS, ())
    (found,) = judge(read_matrix(asked, (home, hotel), ""))
    assert (found.level, found.about) == ("trouble", "key")
    assert "one from home and another from hotel" in found.text
