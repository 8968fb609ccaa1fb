# SPDX-License-Identifier: GPL-3.0-or-later
"""The module agent_drain as Ansible runs it, with an agent of a few lines."""

import json

import pytest

from tests.unit.plugins.machine import Machine
from tests.unit.plugins.small_agent import COUNT, SETUP


@pytest.fixture
def host(machine: Machine) -> Machine:
    """A host that takes mail."""
    machine.sh(SETUP)
    machine.asked()
    return machine


def test_drained_and_back_each_once(host: Machine) -> None:
    host.sh(f"echo '{COUNT % (4, 5)}' > /etc/count.json")
    planned = host.module("agent_drain", {"because": "new host"}, check=True)
    assert (planned["changed"], host.asked()) == (True, [])
    assert not host.path("/etc/postroad/drained.json").exists()

    done = host.module("agent_drain", {"because": "new host"})
    assert (done["changed"], done["messages"], done["diff"]) == (True, 4, {"before": "serving\n", "after": "drained\n"})
    assert planned["diff"] == done["diff"]
    assert json.loads(host.path("/etc/postroad/drained.json").read_text())["because"] == "new host"
    asked = host.asked()
    assert "stop --job-mode=ignore-dependencies relay-agent.socket" in asked
    assert "reload relay-agent.service" in asked

    for check in (True, False):
        again = host.module("agent_drain", {"because": "another reason"}, check=check)
        assert (again["changed"], again["diff"]) == (False, {})
    assert json.loads(host.path("/etc/postroad/drained.json").read_text())["because"] == "new host"

    planned = host.module("agent_drain", {"state": "serving"}, check=True)
    assert host.path("/etc/postroad/drained.json").exists()
    back = host.module("agent_drain", {"state": "serving"})
    assert planned["diff"] == back["diff"] == {"before": "drained\n", "after": "serving\n"}
    assert not host.path("/etc/postroad/drained.json").exists()
    again = host.module("agent_drain", {"state": "serving"})
    assert (again["changed"], again["diff"]) == (False, {})


def test_a_socket_that_somebody_opened_again_is_closed(host: Machine) -> None:
    host.module("agent_drain", {})
    host.sh("systemctl start relay-agent.socket")
    host.asked()
    assert host.module("agent_drain", {}, check=True)["changed"]
    assert host.module("agent_drain", {})["changed"]
    assert any(line.startswith("stop ") for line in host.asked())
    assert not host.module("agent_drain", {})["changed"]


@pytest.mark.parametrize("state", ["drained", "serving"])
def test_a_host_whose_mail_is_being_handed_over_is_not_opened(host: Machine, state: str) -> None:
    host.module("agent_drain", {})
    host.sh("""echo '{"messages": 0, "recipients": 0, "held": 0, "leaving": 3}' > /etc/count.json""")
    told = host.module("agent_drain", {"state": state})
    if state == "drained":
        assert not told["changed"]
    else:
        assert told["failed"]
        assert "3 messages are being handed over to another host" in told["msg"]
    assert host.path("/etc/postroad/drained.json").exists()


def test_a_host_without_an_agent_says_so(machine: Machine) -> None:
    told = machine.module("agent_drain", {})
    assert told["failed"]
    assert told["msg"] == "no agent is installed here (/opt/postroad/current/bin/relay-agent is not there)"
    assert machine.asked() == []


def test_a_release_that_cannot_be_drained_is_left_alone(host: Machine) -> None:
    host.sh("echo 'echo \"invalid choice: count\" >&2; exit 2' > /opt/postroad/current/bin/relay-agent")
    host.sh("sed -i '1i #!/bin/sh' /opt/postroad/current/bin/relay-agent")
    told = host.module("agent_drain", {})
    assert told["failed"]
    assert (
        "does not know `relay-agent queue count` yet: bring the host to this release with site.yml first" in told["msg"]
    )
    assert host.asked() == []
    assert not host.path("/etc/postroad/drained.json").exists()


def test_what_systemd_refuses_is_told(host: Machine) -> None:
    host.refuse("stop")
    told = host.module("agent_drain", {})
    assert told["failed"]
    assert told["msg"].startswith("systemctl stop --job-mode=ignore-dependencies relay-agent.socket: it refuses")
    # The next run ends what this one began.
    assert host.module("agent_drain", {})["changed"]
    assert not host.module("agent_drain", {})["changed"]
