# SPDX-License-Identifier: GPL-3.0-or-later
"""A relay's state from what the modules registered."""

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import read_state
from status_example import AT, knocked, reading


def test_days_left_are_by_the_relay_s_clock() -> None:
    state = read_state("a", "relays", {"reading": reading(days=10, read_at=AT + 86400)}, {})
    assert state.days_left == pytest.approx(9)


def test_a_host_without_a_reading_says_why_in_one_line() -> None:
    state = read_state("a", "relays", {"unreachable": True, "msg": "no route to host\nmore"}, {})
    assert state.unreachable == "no route to host"
    assert state.agent is None
    assert state.days_left is None


def test_nothing_registered_at_all() -> None:
    assert read_state("a", "relays", {}, {}).unreachable == "it gave no answer"


def test_a_vantage_that_could_not_look_is_no_closed_port() -> None:
    state = read_state("a", "relays", {"reading": reading()}, {"results": [{"item": "laptop", "msg": "unreachable"}]})
    assert state.ports == ()
    assert state.blind == {"laptop": "unreachable"}


def test_ports_of_each_vantage() -> None:
    seen = {"results": knocked()["results"] + knocked(closed=[443], vantage="phone")["results"]}
    state = read_state("a", "relays", {"reading": reading()}, seen)
    assert {(port.vantage, port.port) for port in state.ports if port.state == "closed"} == {("phone", 443)}


def test_a_certificate_that_is_none() -> None:
    state = read_state("a", "relays", {"reading": reading(certificate="rubbish")}, {})
    assert state.certificate is None
    assert "certificate" in state.reading["problems"][0]


@pytest.mark.parametrize(("counts", "share"), [((90, 5, 10), 0.1), ((0, 7, 0), None)])
def test_share_of_failed_recipients(counts: tuple[int, int, int], share: float | None) -> None:
    assert read_state("a", "relays", {"reading": reading(counts=counts)}, {}).failed_share == share


@pytest.mark.parametrize(
    ("knocked_at", "why"),
    [({}, "relay_status_vantages names no host"), ({"failed": True, "msg": "no list"}, "no list")],
)
def test_nothing_seen_is_not_nothing_wrong(knocked_at: dict[str, object], why: str) -> None:
    assert read_state("a", "relays", {"reading": reading()}, knocked_at).blind == {"any vantage": why}


def before(**changes: object) -> dict[str, object]:
    """The relay in the record of ten minutes ago."""
    counts = reading(counts=(80, 5, 10))["counts"]
    return {"since_start": counts, "read_at": AT - 600, "started": AT - 262800.5, **changes}


def test_failures_are_counted_from_the_last_run_on() -> None:
    state = read_state("a", "relays", {"reading": reading(counts=(90, 5, 40))}, {}, before())
    assert state.failed_share == 0.75
    assert state.recent is not None
    assert state.recent[1] == "the last report 10 min before"


@pytest.mark.parametrize(
    "last",
    [
        {},
        before(started=AT - 100),
        before(since_start=None),
        before(since_start=reading(counts=(999, 0, 0))["counts"]),
        before(read_at=None),
    ],
)
def test_another_agent_s_numbers_are_no_beginning(last: dict[str, object]) -> None:
    state = read_state("a", "relays", {"reading": reading(counts=(90, 5, 10))}, {}, last)
    assert state.failed_share == 0.1
    assert state.recent is not None
    assert state.recent[1] == "the agent's start"
