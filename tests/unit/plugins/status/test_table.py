# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet on a terminal."""

from ansible_collections.postroad.relay.plugins.plugin_utils.status.judgement import Thresholds, judge
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import read_state
from ansible_collections.postroad.relay.plugins.plugin_utils.status.table import (
    cells,
    ports_in_short,
    reasons_of,
    render,
)
from status_example import fleet, knocked, reading, relay, waiting


def rendered() -> list[str]:
    relays = fleet()
    return render(relays, judge(relays, Thresholds())).splitlines()


def test_every_relay_is_a_row_with_its_mark() -> None:
    lines = rendered()
    assert [line.split()[:2] for line in lines[2:6]] == [
        ["✓", "relay1.example.org"],
        ["!", "relay2.example.org"],
        ["✗", "relay3.example.org"],
        ["✗", "relay4.example.org"],
    ]
    assert "unreachable" in lines[5]
    assert lines[-1] == "4 relays: 2 in trouble, 1 with something to note, 1 well"


def test_columns_in_which_a_relay_differs_are_marked() -> None:
    relays = fleet()
    row = cells(relays[2], judge(relays, Thresholds()))
    assert row[3] == "77aa12bd ≠"
    assert row[8] == "587 2525 8025 465 2465 (443 closed) ≠"
    assert [cell for cell in cells(relays[0], judge(relays, Thresholds())) if "≠" in cell] == []


def test_why_mail_waits_over_the_fleet() -> None:
    assert reasons_of(fleet())[1] == ("connection timed out", 20, ["relay1.example.org", "relay2.example.org"])
    assert "      20 recipients at relay1.example.org, relay2.example.org: connection timed out" in rendered()


def test_an_agent_that_does_not_run() -> None:
    assert cells(relay("a", reading(agent=None, queue=None, counts=None)), [])[5:8] == ("not running", "-", "-")


def test_what_another_server_said_cannot_act_on_the_terminal() -> None:
    state = relay("a", reading(queue=waiting(1.0, ("450 \x1b[31mred", 1))))
    assert "\x1b" not in render([state], judge([state], Thresholds()))


def test_ports_from_several_places() -> None:
    seen = {"results": [*knocked(closed=[443])["results"], {"item": "phone", "msg": "unreachable"}]}
    seen["results"] += knocked(closed=[587, 2525, 8025, 465, 2465, 443], vantage="desk")["results"]
    assert ports_in_short(read_state("a", "relays", {"reading": reading()}, seen)) == (
        "laptop: 587 2525 8025 465 2465 (443 closed); desk: all closed; phone: could not look"
    )


def test_ports_that_are_bad_in_different_ways() -> None:
    seen = knocked(closed=[587, 2525, 8025, 465, 2465])
    seen["results"][0]["ports"][-1]["state"] = "troubled"
    assert ports_in_short(read_state("a", "relays", {"reading": reading()}, seen)) == (
        "none (587 closed, 2525 closed, 8025 closed, 465 closed, 2465 closed, 443 troubled)"
    )
