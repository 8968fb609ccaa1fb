# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host is drained and undrained, and what is asked of systemd for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.agent_queue import AgentQueue
from ansible_collections.postroad.relay.plugins.module_utils.host_drain import DrainError, HostDrain, is_drained
from ansible_collections.postroad.relay.plugins.module_utils.systemd_units import SERVICE, SOCKET

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="writes files that belong to root")


class Host:
    """systemd and the agent, as far as they are asked."""

    def __init__(self, root: Path) -> None:
        self.drained = root / "etc/drained.json"
        self.condition = root / "units" / f"{SOCKET}.d/drained.conf"
        self.active = {SOCKET, SERVICE}
        self.asked: list[str] = []
        self.leaving = 0
        self.failing = ""
        self.known = True
        self.drained.parent.mkdir()
        program = root / "relay-agent"
        program.touch()
        self.drain = HostDrain(
            self, AgentQueue(self, program), path=self.drained, units=root / "units", sleep=lambda _: None
        )

    def __call__(self, command: list[str], /) -> tuple[int, str, str]:
        if command[0] != "systemctl":
            return self._agent(command)
        verb, unit = command[1], command[-1]
        if verb == "is-active":
            return (0 if unit in self.active else 3), "", ""
        if verb == "show":
            return 0, "\n".join(f"Id={each}\nActiveState=active\n" for each in sorted(self.active)), ""
        self.asked.append(" ".join(command[1:]))
        if verb == self.failing:
            return 1, "", "it refuses"
        if verb == "stop":
            self.active -= set(command)
        if verb in ("start", "restart") and not (unit == SOCKET and self.drained.exists()):
            self.active.add(unit)
        return 0, "", ""

    def _agent(self, command: list[str]) -> tuple[int, str, str]:
        if "count" in command:
            if not self.known:
                return 2, "", "invalid choice: 'count'"
            return 0, json.dumps({"messages": 7, "recipients": 7, "held": 0, "leaving": self.leaving}), ""
        status: dict[str, Any] = {"reloading": False}
        return 0, json.dumps(status | ({"drained": {}} if self.drained.exists() else {})), ""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host that takes mail."""
    return Host(tmp_path)


def test_drained_the_ports_are_closed_and_the_agent_goes_on(host: Host) -> None:
    assert host.drain.drain("new host", check_mode=False)
    assert host.asked == [
        "daemon-reload",
        f"stop --job-mode=ignore-dependencies {SOCKET}",
        f"reload {SERVICE}",
    ]
    assert host.active == {SERVICE}
    said = host.drain.since()
    assert said is not None
    assert said["because"] == "new host"
    assert f"ConditionPathExists=!{host.drained}" in host.condition.read_text()
    host.asked.clear()
    assert not host.drain.drain("another reason", check_mode=False), "a second time nothing changes"
    assert host.asked == []


def test_a_drain_that_broke_off_is_ended(host: Host) -> None:
    host.failing = "reload"
    with pytest.raises(DrainError, match="it refuses"):
        host.drain.drain("", check_mode=False)
    host.failing = ""
    host.active.add(SOCKET)
    assert host.drain.drain("", check_mode=False)
    assert host.active == {SERVICE}


def test_an_agent_that_does_not_run_is_started(host: Host) -> None:
    host.active.clear()
    assert host.drain.drain("", check_mode=False)
    assert host.asked[-1] == f"start {SERVICE}"


def test_undrained_both_units_start_anew(host: Host) -> None:
    host.drain.drain("", check_mode=False)
    host.asked.clear()
    assert host.drain.undrain(check_mode=False)
    assert host.active == {SOCKET, SERVICE}
    assert not is_drained(host.drained)
    assert not host.condition.parent.exists()
    assert not host.drain.undrain(check_mode=False), "a second time nothing changes"


def test_nothing_is_undrained_while_its_mail_is_on_its_way(host: Host) -> None:
    host.drain.drain("", check_mode=False)
    host.leaving = 3
    with pytest.raises(DrainError, match="3 messages are being handed over"):
        host.drain.undrain(check_mode=False)
    assert is_drained(host.drained)


@pytest.mark.parametrize("step", [lambda d: d.drain("", check_mode=True), lambda d: d.undrain(check_mode=True)])
def test_check_mode_touches_nothing(host: Host, step: Callable[[HostDrain], bool]) -> None:
    if step(host.drain) is False:
        host.drain.drain("", check_mode=False)
        host.asked.clear()
        assert step(host.drain)
        assert is_drained(host.drained)
    assert host.asked == []


def test_a_release_that_cannot_be_drained_is_left_alone(host: Host) -> None:
    host.known = False
    with pytest.raises(DrainError, match=r"site\.yml"):
        host.drain.drain("", check_mode=False)
    assert host.asked == []
    assert not is_drained(host.drained)
