# SPDX-License-Identifier: GPL-3.0-or-later
"""Two relays under one name: one loses its power, or is drained, while a program sends that tries again once."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from lab.topology import Lab
from traffic.fixtures import AUTHORITY, CHECKOUT, LAB, STATE
from traffic.load import Load, Submissions
from traffic.mailboxes import Mailboxes
from traffic.relays import Relay

NAME = "mail.roam.test"
RELAYS = {"relay1", "relay2"}
# What molecule/networks/inventory says, in seconds; docs/dns.md has how the longest times come of it.
INTERVAL, TIMEOUT, FAILURES, SUCCESSES, TTL = 1.0, 2.0, 3, 2, 3
# A look takes as long as a relay that does not answer has, when that is longer.
PACE = 1.1 * max(INTERVAL, TIMEOUT)
LONGEST_OUT = (FAILURES + 1) * PACE + 2 * TIMEOUT
LONGEST_BACK = (SUCCESSES + 1) * PACE + 2 * TIMEOUT
# The lab's machine may be busy with other things.
SLACK = 5.0


@dataclass
class Story:
    """What was submitted, and how many seconds it took until something was to be seen."""

    relay: str
    submissions: Submissions
    out: float = 0.0
    forgotten: float = 0.0
    back: float = 0.0


@pytest.fixture(scope="module")
def listed(laptop: Any, lab: Lab) -> Callable[..., set[str]]:
    """The relays in the address list, with both families or one: as the zone has it, or as the laptop gets it."""
    ((_, server),) = lab.hosts["ns"].networks
    by_address = {
        text: name for name in RELAYS for _, each in lab.hosts[name].networks for text in (each.ipv4, each.ipv6)
    }

    def look(where: str = f"@{server.ipv4}") -> set[str]:
        lines = laptop.check_output(f"dig +short {where} {NAME} A; dig +short {where} {NAME} AAAA").split()
        return {by_address[line] for line in lines}

    return look


@pytest.fixture(scope="module")
def load(laptop: Any, passwords: dict[str, str]) -> Load:
    return Load(laptop, passwords["alice"], AUTHORITY, ["mail"], zone="roam.test", retries=1)


@pytest.fixture(scope="module")
def playbook() -> Callable[..., None]:
    """Runs ``playbooks/<name>.yml`` for one relay."""

    def run(name: str, relay: str) -> None:
        inventories = [f"--inventory={STATE / 'inventory'}", f"--inventory={CHECKOUT / 'molecule/networks/inventory'}"]
        environment = os.environ | {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "POSTROAD_LAB": LAB}
        command = ["ansible-playbook", *inventories, f"playbooks/{name}.yml", "--limit", relay]
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def _wait(condition: Callable[[], bool], *, seconds: float, what: str) -> float:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, what
        time.sleep(0.2)
    return time.monotonic() - begun


@contextmanager
def _sending(load: Load, relays: dict[str, Relay]) -> Iterator[Story]:
    """The load runs; the story is about the relay that has the client's session."""
    with load.running() as submissions:
        busy: list[str] = []

        def connected() -> bool:
            ports = (
                "( sport = :587 or sport = :465 or sport = :443 or sport = :2525 or sport = :8025 or sport = :2465 )"
            )
            busy[:] = [
                name
                for name in sorted(RELAYS)
                if relays[name].host.check_output(f"ss -Hnt state established '{ports}'")
            ]
            return bool(busy)

        time.sleep(3)
        _wait(connected, seconds=20, what="no client has a session")
        yield Story(busy[0], submissions)
        time.sleep(3)


@pytest.fixture(scope="module")
def power_cut(
    load: Load, relays: dict[str, Relay], listed: Callable[..., set[str]], power: Callable[..., None]
) -> Story:
    _wait(lambda: listed() == RELAYS, seconds=60, what="the list is not whole to begin with")
    with _sending(load, relays) as story:
        others = RELAYS - {story.relay}
        power("stop", story.relay, "--hard")
        story.out = _wait(lambda: listed() == others, seconds=60, what="the dead relay stays in the list")
        story.forgotten = _wait(lambda: listed("") == others, seconds=60, what="the resolver remembers it")
        time.sleep(5)
        power("start", story.relay)
        assert relays[story.relay].wait_until_running()
        story.back = _wait(lambda: listed() == RELAYS, seconds=60, what="the relay does not come back")
    return story


@pytest.fixture(scope="module")
def drained(
    power_cut: Story,
    load: Load,
    relays: dict[str, Relay],
    listed: Callable[..., set[str]],
    playbook: Callable[..., None],
) -> Story:
    with _sending(load, relays) as story:
        playbook("drain", story.relay)
        assert listed() == listed("") == RELAYS - {story.relay}
        # Longer than it takes the others to put back who answers.
        time.sleep(2 * LONGEST_BACK)
        assert listed() == RELAYS - {story.relay}
        playbook("undrain", story.relay)
        story.back = _wait(lambda: listed() == RELAYS, seconds=60, what="the relay does not come back")
    return story


def test_a_dead_relay_leaves_the_list_in_the_time_that_is_documented(power_cut: Story) -> None:
    assert power_cut.out < LONGEST_OUT + SLACK


def test_the_resolver_forgets_it_within_the_ttl(power_cut: Story) -> None:
    assert power_cut.forgotten < TTL + SLACK


def test_it_comes_back_by_itself(power_cut: Story) -> None:
    assert power_cut.back < LONGEST_BACK + SLACK


@pytest.mark.parametrize("what", ["power_cut", "drained"])
def test_no_message_failed_twice(what: str, request: pytest.FixtureRequest) -> None:
    story: Story = request.getfixturevalue(what)
    # The client whose relay died waits half a minute for its answer; the other one goes on.
    assert len(story.submissions.accepted()) >= 10
    assert story.submissions.failed() == []


@pytest.mark.parametrize("what", ["power_cut", "drained"])
def test_no_message_that_was_accepted_is_lost(what: str, mailboxes: Mailboxes, request: pytest.FixtureRequest) -> None:
    story: Story = request.getfixturevalue(what)
    # More than one is what a power cut may do (RFC 5321 6.1).
    arrived = mailboxes.wait_for(story.submissions.accepted(), seconds=40)
    assert [token for token, count in arrived.items() if count == 0] == []


def test_the_power_cut_was_felt(power_cut: Story) -> None:
    """Else the test shows nothing: the kept session broke, and another one took its message."""
    assert [each for each in power_cut.submissions.attempts if each.first_error is not None]


def test_a_drained_relay_stays_out_until_it_is_put_back(drained: Story) -> None:
    assert drained.back < LONGEST_BACK + SLACK


def test_the_last_one_stays_in_the_list(
    relays: dict[str, Relay], listed: Callable[..., set[str]], drained: Story
) -> None:
    """Both agents stop: who is left in the list last stays there."""
    try:
        for name in RELAYS:
            relays[name].host.check_output("systemctl stop relay-agent.socket relay-agent.service")
        time.sleep(2 * LONGEST_OUT)
        assert listed()
    finally:
        for name in RELAYS:
            relays[name].host.check_output("systemctl start relay-agent.socket relay-agent.service")
    _wait(lambda: listed() == RELAYS, seconds=60 + LONGEST_BACK, what="the list does not get whole again")


def test_the_key_is_root_s_alone(relays: dict[str, Relay]) -> None:
    for name in RELAYS:
        host = relays[name].host
        assert host.check_output("stat -c '%U %a' /etc/postroad-failover.toml") == "root 600"
        secret = (STATE / "failover.key").read_text().strip()
        assert secret not in host.check_output("journalctl --output=cat")
        assert host.run(f"grep -rlF '{secret}' /proc/$(systemctl show -P MainPID postroad-failover)/cmdline").rc == 1
