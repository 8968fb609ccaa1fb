# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a fleet, how bad it is, and when a run fails for it."""

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.status.judgement import (
    Thresholds,
    failing,
    judge,
    level_of,
    verdict,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import read_state
from status_example import fleet, reading, relay, waiting

AGENT = reading()["agent"]


def told(limits: Thresholds | None = None, seen: dict[str, Any] | None = None, **changes: Any) -> list[tuple[str, str]]:
    state = relay("a", reading(**changes), **(seen or {}))
    return [(finding.level, f"{finding.about}: {finding.text}") for finding in judge([state], limits or Thresholds())]


def test_all_is_well() -> None:
    assert told() == []
    assert verdict([relay("a", reading())], []) == "1 relay, and all is well"


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"problems": ["relay-agent status: no answer"]}, "trouble", "agent: relay-agent status: no answer"),
        ({"units": {"relay-agent.service": "failed, enabled"}}, "trouble", "agent: relay-agent.service is failed"),
        ({"units": {"relay-agent.socket": "active, disabled"}}, "notice", "does not start at boot"),
        ({"by_hand": True}, "notice", "settings: agent.toml is not as the last deployment left it"),
        ({"agent": AGENT | {"port25": "closed"}}, "notice", "delivery: port 25 to the outside is closed"),
        ({"agent": AGENT | {"quarantined": 2}}, "trouble", "queue: 2 held after faults"),
        ({"agent": AGENT | {"listed": ["192.0.2.1 on bl.example"]}}, "trouble", "on a block list: 192.0.2.1"),
        ({"agent": AGENT | {"upstreams_in_trouble": ["up.example:587"]}}, "notice", "up.example:587 takes no mail"),
        ({"queue": waiting(10.0, ("x", 1000))}, "notice", "queue: 1,000 messages wait"),
        ({"queue": waiting(90000.0, ("x", 1))}, "notice", "queue: the oldest message has waited 1 d 1 h"),
        ({"counts": (60, 0, 20)}, "notice", "25 % of the recipients since the agent's start failed"),
        ({"days": 20}, "notice", "certificate: runs out on 2026-12-18, in 20 days"),
        ({"days": 5}, "trouble", "certificate: runs out on 2026-12-03, in 5 days"),
        ({"days": -2}, "trouble", "certificate: has run out on 2026-11-26"),
        ({"certificate": ""}, "trouble", "certificate: there is none"),
        ({"agent": AGENT | {"listeners": []}}, "trouble", "does not listen on 443, 465, 587"),
        ({"installed": False}, "trouble", "host: no agent is installed: run playbooks/site.yml"),
    ],
)
def test_what_is_told(changes: dict[str, Any], level: str, words: str) -> None:
    found = told(**changes)
    assert [each for each in found if words in each[1]], found
    assert {each[0] for each in found if words in each[1]} == {level}


def test_a_drained_relay_is_a_notice_and_its_closed_ports_no_trouble() -> None:
    now = reading()["read_at"]
    drained = AGENT | {"listeners": [], "drained": {"since": now - 7200, "because": "new disk"}}
    units = {"relay-agent.service": "active, enabled", "relay-agent.socket": "inactive, enabled"}
    assert told(seen={"closed": [443, 465, 587]}, agent=drained, units=units) == [
        ("notice", "ports: is drained for 2 h (new disk): takes no mail until playbooks/undrain.yml")
    ]
    bare = AGENT | {"listeners": [], "drained": {"since": 0.0, "because": ""}}
    assert told(seen={"closed": [443, 465, 587]}, agent=bare) == [
        ("notice", "ports: is drained: takes no mail until playbooks/undrain.yml")
    ]
    # Its agent is still to run.
    units["relay-agent.service"] = "failed, enabled"
    assert (
        "trouble",
        "agent: relay-agent.service is failed, enabled: systemctl status relay-agent.service tells why",
    ) in told(seen={"closed": [443, 465, 587]}, agent=drained, units=units)


def test_closed_ports_in_one_sentence() -> None:
    assert told(seen={"closed": [443, 465]}) == [
        (
            "trouble",
            "ports: seen from laptop, ports 465, 443 closed: no answer in time (a packet filter drops it, or the host "
            "is away)",
        )
    ]


def test_another_certificate_at_a_port_than_on_the_disk() -> None:
    state = relay("a", reading())
    mixed = replace(relay("a", reading()), ports=state.ports)
    assert [finding.text for finding in judge([mixed], Thresholds())] == [
        "ports show another one than is on the disk: systemctl reload relay-agent"
    ]


def test_a_few_failures_prove_nothing() -> None:
    assert told(counts=(5, 0, 5)) == []


def test_thresholds_are_settable() -> None:
    limits = Thresholds.given({"queue_messages": 3, "certificate_days": None})
    assert limits.certificate_days == Thresholds().certificate_days
    assert told(limits, queue=waiting(1.0, ("x", 3))) == [("notice", "queue: 3 messages wait: relay-agent queue list")]


@pytest.mark.parametrize(("fail_on", "number"), [("never", 0), ("trouble", 3), ("difference", 6), ("notice", 8)])
def test_what_fails_a_run(fail_on: str, number: int) -> None:
    assert len(failing(judge(fleet(), Thresholds()), fail_on)) == number


def test_the_verdict_counts_each_relay_once() -> None:
    relays = fleet()
    findings = judge(relays, Thresholds())
    assert verdict(relays, findings) == "4 relays: 2 in trouble, 1 with something to note, 1 well"
    assert [level_of(each.host, findings) for each in relays] == ["", "notice", "trouble", "trouble"]
    assert verdict([], []) == "the inventory has no relay"


def test_a_relay_that_nobody_looked_at_is_not_well() -> None:
    state = read_state("a", "relays", {"reading": reading()}, {"failed": True, "msg": "no list"})
    (finding,) = judge([state], Thresholds())
    assert (finding.level, finding.text) == ("trouble", "could not be looked at from any vantage: no list")
