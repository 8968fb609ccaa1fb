# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of probes and the sentence about those that did not arrive."""

from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.probe_table import HEADINGS, judge, render, verdict


def probe(port: int, message_id: str, *, ok: bool = True, reply: str = "250 2.0.0 Queued") -> dict[str, Any]:
    base = {"host": "relay.example.org", "tls": "starttls", "program": "curl", "submitted": 100.0}
    return {**base, "port": port, "message_id": message_id, "ok": ok, "reply": reply}


ARRIVED = {"arrivals": {"<1@a>": 100.25}, "lost": {"<2@a>": "not there 60 s after the relay took it"}}


def test_all_arrived() -> None:
    rows = judge("relay1", {"probes": [probe(587, "<1@a>")]}, ARRIVED)
    assert rows[0].cells == ("relay.example.org", "587", "starttls", "curl", "<1@a>", "0.25")
    assert verdict(rows) == ""


def test_refused_and_lost_are_named_with_host_and_port() -> None:
    submitted = {"probes": [probe(587, "<1@a>"), probe(465, "<2@a>"), probe(443, "<3@a>", ok=False, reply="535 No")]}
    rows = judge("relay1", submitted, ARRIVED)
    assert verdict(rows) == (
        "2 of 3 probe messages did not arrive:\n"
        "  relay.example.org port 465 (curl): taken, but did not arrive: not there 60 s after the relay took it\n"
        "  relay.example.org port 443 (curl): not taken: 535 No"
    )
    assert [row.cells[-1] for row in rows] == ["0.25", "did not arrive", "did not arrive"]


def test_ports_with_the_same_trouble_share_a_line() -> None:
    submitted = {"probes": [probe(port, f"<{port}@a>", ok=False, reply="535 No") for port in (587, 465, 443)]}
    assert verdict(judge("relay1", submitted, ARRIVED)).splitlines()[1:] == [
        "  relay.example.org ports 587, 465, 443 (curl): not taken: 535 No"
    ]


def test_vantage_and_mailbox_that_cannot_be_reached() -> None:
    rows = judge("relay1", {"unreachable": True, "msg": "timed out"}, {})
    assert verdict(rows) == ("1 of 1 probe messages did not arrive:\n  relay1: nothing could be submitted: timed out")
    rows = judge("relay1", {"probes": [probe(587, "<9@a>")]}, {"msg": "no route to mx"})
    assert "port 587 (curl): taken, but the mailbox could not be looked at: no route to mx" in verdict(rows)


def test_nothing_to_probe_is_not_a_success() -> None:
    assert verdict([]) == "no relay has a port that could be probed"


def test_clocks_that_differ_give_no_negative_time() -> None:
    [row] = judge("relay1", {"probes": [probe(587, "<1@a>")]}, {"arrivals": {"<1@a>": 99.9}})
    assert row.seconds == 0.0


def test_columns_line_up() -> None:
    lines = render(judge("relay1", {"probes": [probe(587, "<1@a>"), probe(2525, "<2@a>")]}, ARRIVED)).splitlines()
    assert len(lines) == 4
    assert all(heading in lines[0] for heading in HEADINGS)
    assert lines[2].index("starttls") == lines[3].index("starttls")
