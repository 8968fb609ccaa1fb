# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix on a terminal and as JSON."""

import json
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.reach.judgement import judge
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.matrix import Matrix, read_matrix
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.relays import relays_of
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.table import as_record, render, verdict

from tests.unit.plugins.reach_example import LISTENERS, authority, relays, seen, tried

SILENT = {"end": "silent"}
REFUSED = {"end": "refused"}


def matrix(*results: dict[str, Any], names: tuple[str, ...] = ("a", "b", "c")) -> Matrix:
    return read_matrix(relays_of(names, relays(*names), LISTENERS, []), results, authority(*names))


def fleet() -> Matrix:
    everybody = {name: seen(name) for name in ("a", "b", "c")}
    hotel = {name: seen(name, p587=SILENT) for name in ("a", "b")}
    return matrix(tried("home", **everybody), tried("hotel", **hotel, c=seen("c", p587=SILENT, p465_ipv4=REFUSED)))


def test_relays_that_are_alike_share_their_lines() -> None:
    made = fleet()
    lines = render(made, judge(made)).splitlines()
    assert lines[:9] == [
        "  port  from home         from hotel",
        "! a, b",
        "   587  STARTTLS          dropped",
        "   465  TLS               TLS",
        "   443  TLS and STARTTLS  TLS and STARTTLS",
        "≠ c",
        "   587  STARTTLS          dropped",
        "   465  TLS               IPv4 refused, IPv6 TLS",
        "   443  TLS and STARTTLS  TLS and STARTTLS",
    ]
    assert "From every vantage, at every relay: 443 STARTTLS, 443 TLS" in lines
    assert "Unlike its siblings:" in lines
    assert "  ! every relay: ports: from hotel: port 587: silently dropped: no answer at all" in lines
    assert lines[-1] == "3 relays from 2 vantages: every relay can be used from everywhere, with something to note"


def test_colours_say_what_the_words_say() -> None:
    made = fleet()
    text = render(made, judge(made), lambda words, colour: f"<{colour} {words.strip()}>")
    assert "<green STARTTLS>  <red dropped>" in text
    assert "<yellow IPv4 refused, IPv6 TLS>" in text


def test_when_nothing_works_everywhere_it_is_said() -> None:
    closed: dict[str, Any] = {f"p{each['port']}": SILENT for each in LISTENERS}
    made = matrix(tried("home", a=seen("a"), b=seen("b", **closed)), names=("a", "b"))
    lines = render(made, judge(made)).splitlines()
    assert "From every vantage, at every relay: no setting works" in lines
    assert "  ✗ b: reach: from home: not reachable on any port: silently dropped: no answer at all" in lines


def test_one_address_family_is_named() -> None:
    made = matrix(tried("home", a=seen("a", families=("ipv4",))), names=("a",))
    assert "   465  TLS (IPv4)" in render(made, judge(made)).splitlines()
    assert verdict(made, judge(made)) == "1 relay from 1 vantage: every port can be used from everywhere"


def test_a_vantage_that_could_not_look_has_no_column() -> None:
    made = matrix(tried("home", a=seen("a")), {"item": "hotel", "msg": "away"}, names=("a",))
    text = render(made, judge(made))
    assert text.splitlines()[0] == "  port  from home"
    assert "✗ hotel: vantage: away" in text
    assert text.endswith("1 relay from 2 vantages: trouble with 1")
    nobody = matrix({"item": "hotel", "msg": "away"}, names=("a",))
    assert render(nobody, judge(nobody)).startswith("Trouble:")


def test_what_strangers_say_cannot_act_on_the_terminal() -> None:
    wicked = {"end": "spoke", "banner": "\x1b[2Jmail.isp.test ESMTP"}
    made = matrix(tried("home", a=seen("a", p587=wicked)), names=("a",))
    assert "\x1b" not in render(made, judge(made))


def test_a_name_that_was_not_found_and_a_family_that_is_not_there() -> None:
    away = {"end": "unreachable"}
    one = seen("a", p587_ipv6=away, p465_ipv6=away, p443_ipv6=away)
    made = matrix(tried("home", a=one, b="b.test: no address"), names=("a", "b"))
    text = render(made, judge(made))
    assert "home has no way to any relay over IPv6" in text
    assert "   587  not tried" in text.splitlines()


def test_the_record_is_json_with_every_try() -> None:
    made = fleet()
    record = json.loads(json.dumps(as_record(made, judge(made), 1_800_000_000.0)))
    assert (record["format"], record["at"]) == (1, 1_800_000_000.0)
    assert record["everywhere"] == [{"port": 443, "security": "STARTTLS"}, {"port": 443, "security": "TLS"}]
    assert [each["vantage"] for each in record["vantages"]] == ["home", "hotel"]
    assert [each["level"] for each in record["relays"]] == ["notice", "notice", "difference"]
    first = record["relays"][0]
    assert len(first["ports"]) == 2 * 2 * len(LISTENERS)
    assert first["statement"]["ports"][0] == {"port": 587, "tls": "starttls"}
    assert {port["key"] for port in first["ports"]} == {first["statement"]["key"], None}
    assert {each["host"] for each in record["findings"]} == {"a", "b", "c"}
