# SPDX-License-Identifier: GPL-3.0-or-later
"""relay1 is taken out of service with mail that nobody takes: relay2 gets it, and delivers it once."""

import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

from lab.topology import Lab
from traffic.relays import Relay

_COUNT = 200


def _takes_connections(lab: Lab, relay: str) -> bool:
    try:
        with socket.create_connection((str(lab.hosts[relay].address.ipv4), 587), timeout=5):
            return True
    except OSError:
        return False


def test_a_relay_in_service_is_not_decommissioned(
    play: Callable[..., Any], lab: Lab, mail_host: Callable[[str], None], submit_many: Callable[..., list[str]]
) -> None:
    run = play("decommission", "relay1")
    assert run.status != 0
    assert "the host takes mail: run drain.yml for it first" in run.output
    assert _takes_connections(lab, "relay1")
    mail_host("stop")
    submit_many("relay1", "drain", _COUNT)


def test_drain_without_another_relay_says_what_is_left(
    play: Callable[..., Any], lab: Lab, count: Callable[[str], int]
) -> None:
    run = play("drain", "relay1", relay_drain_patience=2)
    assert run.status != 0
    assert f"relay1 still has {_COUNT} messages" in run.output
    assert "relay_drain_to=RELAY" in run.output
    assert not _takes_connections(lab, "relay1")
    assert count("relay1") == _COUNT


def test_drained_survives_a_power_cut_and_site_yml(
    play: Callable[..., Any],
    lab: Lab,
    power: Callable[..., None],
    relays: dict[str, Relay],
    count: Callable[[str], int],
) -> None:
    power("restart", "relay1", "--hard")
    assert relays["relay1"].wait_until_running()
    assert not _takes_connections(lab, "relay1")
    run = play("site", "relay1")
    assert run.status == 0, run.output
    assert "this host is drained and stays so" in run.output
    assert not _takes_connections(lab, "relay1")
    assert count("relay1") == _COUNT


def test_a_drained_relay_with_mail_is_not_decommissioned(play: Callable[..., Any]) -> None:
    run = play("decommission", "relay1")
    assert run.status != 0
    assert f"the host still has {_COUNT} messages" in run.output


def test_the_other_relay_takes_over(play: Callable[..., Any], count: Callable[[str], int]) -> None:
    run = play("drain", "relay1", relay_drain_to="relay2", relay_drain_patience=1)
    assert run.status == 0, run.output
    assert "relay1 is drained and empty: it is safe to remove" in run.output
    assert count("relay1") == 0
    assert count("relay2") == _COUNT


def test_options_and_history_of_attempts_came_along(relays: dict[str, Relay]) -> None:
    found = [each for each in relays["relay2"].queue() if "+drain-7@" in each["recipients"][0]["address"]]
    assert len(found) == 1
    assert found[0]["account"] == "alice"
    assert found[0]["recipients"][0]["options"]["NOTIFY"] == "FAILURE"
    assert found[0]["recipients"][0]["attempts"] > 0


def test_undrained_it_takes_mail_again(play: Callable[..., Any], lab: Lab) -> None:
    run = play("undrain", "relay1")
    assert run.status == 0, run.output
    assert _takes_connections(lab, "relay1")


def test_each_message_arrived_once(
    mail_host: Callable[[str], None],
    relays: dict[str, Relay],
    wait_for_count: Callable[..., int],
    arrived: Callable[[str, int], Counter[str]],
) -> None:
    mail_host("start")
    relays["relay2"].retry()
    assert wait_for_count("relay2", 0) == 0
    found = arrived("drain", _COUNT)
    assert len(found) == _COUNT
    assert set(found.values()) == {1}
