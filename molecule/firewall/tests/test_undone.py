# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that must not stay: one that cuts off the operator, one that cuts off the mail programs, one that is none."""

import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from lab.topology import Lab
from traffic.filters import OURS, Played

RELAYS = ("relay1", "relay2")
NONE: dict[str, list[str]] = {"outgoing": [], "declarations": []}


def own(by_relay: dict[str, list[str]]) -> str:
    """Rules that differ from relay to relay, as a template."""
    return "{{ {'outgoing': [], 'declarations': [], 'incoming': " + str(by_relay) + "[inventory_hostname]} }}"


def state(host: Any) -> dict[str, str]:
    """Our live rules with the handles that a load would have changed, and the boot file."""
    rules = re.sub(r"packets \d+ bytes \d+|elements = \{[^}]*\}|expires \S+", "", host.check_output(OURS))
    return {"live": re.sub(r"\n\s*\n", "\n", rules), "boot": host.check_output("cat /etc/postroad/firewall.nft")}


def without_handles(rules: str) -> str:
    return re.sub(r" # handle \d+", "", rules)


def watch(address: str, end: Event) -> list[tuple[float, bool]]:
    """Whether a new connection to SSH could be made, all the time."""
    seen = []
    while not end.is_set():
        begun = time.monotonic()
        try:
            socket.create_connection((address, 22), timeout=1).close()
        except OSError:
            seen.append((begun, False))
        else:
            seen.append((begun, True))
        end.wait(0.25)
    return seen


@pytest.fixture(scope="module")
def before(on: Callable[[str], Any], change: Callable[..., Played]) -> dict[str, dict[str, str]]:
    """The state that has to come back."""
    played = change()
    assert played.status == 0, played.output
    return {relay: state(on(relay)) for relay in RELAYS}


@pytest.fixture(scope="module")
def cut_off(before: Any, lab: Lab, change: Callable[..., Played]) -> tuple[Played, dict[str, list[tuple[float, bool]]]]:
    """relay1 gets a rule that drops SSH, relay2 one that drops submission; what was seen of SSH meanwhile."""
    end = Event()
    with ThreadPoolExecutor() as pool:
        watching = {relay: pool.submit(watch, lab.host(relay).address.ipv4, end) for relay in RELAYS}
        try:
            rules = {"relay1": ["tcp dport 22 drop"], "relay2": ["tcp dport != 22 drop"]}
            played = change(relay_firewall_extra_rules=own(rules))
        finally:
            end.set()
    return played, {relay: found.result() for relay, found in watching.items()}


def test_rules_that_drop_ssh_are_undone_within_a_minute(
    cut_off: tuple[Played, dict[str, list[tuple[float, bool]]]],
) -> None:
    seen = cut_off[1]["relay1"]
    shut = [moment for moment, opened in seen if not opened]
    assert shut, "SSH was never cut off"
    back = next(moment for moment, opened in seen if opened and moment > shut[-1])
    print(f"SSH was cut off for {back - shut[0]:.1f} s")
    assert back - shut[0] <= 60
    assert back - shut[0] >= 10


def test_the_play_says_what_was_unreachable_and_what_was_put_back(
    cut_off: tuple[Played, dict[str, list[tuple[float, bool]]]],
) -> None:
    played = cut_off[0]
    assert played.status != 0
    assert played.failed["relay1"]["msg"].startswith(
        "relay1: under the new firewall rules this could not be reached: SSH: "
    )
    assert "The host put the old rules back by itself" in played.failed["relay1"]["msg"]


def test_rules_that_drop_submission_are_put_back_at_once(
    cut_off: tuple[Played, dict[str, list[tuple[float, bool]]]],
) -> None:
    text = cut_off[0].failed["relay2"]["msg"]
    assert re.search(r"could not be reached: the submission ports at \S+: .*587 \(no answer\)", text)
    assert "The old rules were put back at once; nothing was kept" in text
    assert all(opened for _, opened in cut_off[1]["relay2"])


@pytest.mark.parametrize("relay", RELAYS)
def test_the_old_rules_are_there_and_boot(
    relay: str, cut_off: Any, before: dict[str, dict[str, str]], on: Callable[[str], Any]
) -> None:
    now = state(on(relay))
    assert without_handles(now["live"]) == without_handles(before[relay]["live"])
    assert now["boot"] == before[relay]["boot"]
    assert on(relay).run("systemctl list-timers --all | grep postroad-firewall-restore").rc != 0


def test_a_syntax_error_leaves_the_live_rules_untouched(
    cut_off: Any, change: Callable[..., Played], on: Callable[[str], Any]
) -> None:
    untouched = {relay: state(on(relay)) for relay in RELAYS}
    played = change(relay_firewall_extra_rules={**NONE, "incoming": ["tcp dport 22 dropp"]})
    assert played.failed.keys() == set(RELAYS)
    for relay in RELAYS:
        assert "tcp dport 22 dropp" in played.failed[relay]["msg"]
        assert "the live rules are untouched" in played.failed[relay]["msg"]
        assert state(on(relay)) == untouched[relay]


def test_a_run_without_them_changes_nothing(cut_off: Any, change: Callable[..., Played]) -> None:
    again = change()
    assert [again.recap[relay].get("changed") for relay in RELAYS] == [0, 0], again.output
