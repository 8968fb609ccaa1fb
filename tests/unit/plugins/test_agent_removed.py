# SPDX-License-Identifier: GPL-3.0-or-later
"""The module agent_removed as Ansible runs it, with an agent of a few lines; test_agent_removal.py has the rest."""

import pytest

from tests.unit.plugins.machine import Machine
from tests.unit.plugins.small_agent import COUNT, SETUP

_STATE = """
mkdir -p /etc/systemd/system /opt/postroad/releases/aaaa
touch /etc/systemd/system/relay-agent.service /etc/systemd/system/relay-agent.socket /etc/postroad/agent.toml
touch /etc/foreign.conf
"""


@pytest.fixture
def host(machine: Machine) -> Machine:
    """A host with an agent that takes mail and has none."""
    # Not below /etc, nor /opt: what is there is a file of this machine.
    machine.sh("mount -t tmpfs memory /var/lib; mount -t tmpfs memory /usr/local")
    machine.sh(SETUP + _STATE + "useradd --system postroad; mkdir -p /var/lib/postroad/queue/0 /usr/local/bin")
    machine.sh("touch /var/lib/postroad/queue/0/queue.db")
    machine.asked()
    return machine


def drain(host: Machine) -> None:
    host.sh("echo '{}' > /etc/postroad/drained.json; systemctl stop relay-agent.socket")
    host.asked()


def test_the_agent_goes_and_a_second_run_has_nothing_to_do(host: Machine) -> None:
    drain(host)
    planned = host.module("agent_removed", {}, check=True)
    assert (planned["changed"], host.asked()) == (True, [])
    assert host.path("/etc/postroad/agent.toml").exists()

    done = host.module("agent_removed", {})
    assert (done["removed"], done["diff"]) == (planned["removed"], planned["diff"])
    assert done["diff"]["after"] == ""
    assert {"/etc/postroad", "/opt/postroad", "/var/lib/postroad"} < set(done["removed"])
    assert host.sh("ls /etc /opt /var/lib; getent passwd postroad || echo no user").splitlines().count("postroad") == 0
    assert "no user" in host.sh("getent passwd postroad || echo no user")
    assert host.path("/etc/foreign.conf").exists()
    assert "disable --now --quiet relay-agent.socket relay-agent.service" in host.asked()

    for check in (True, False):
        again = host.module("agent_removed", {}, check=check)
        assert (again["changed"], again["removed"], again["diff"]) == (False, [], {})
    assert host.asked() == []


@pytest.mark.parametrize("check", [True, False])
def test_a_host_that_takes_mail_is_refused(host: Machine, check: bool) -> None:
    told = host.module("agent_removed", {}, check=check)
    assert told["failed"]
    assert told["msg"] == "the host takes mail: run drain.yml for it first, and change the DNS"
    assert host.asked() == []


@pytest.mark.parametrize("check", [True, False])
def test_mail_keeps_it_unless_it_is_thrown_away(host: Machine, check: bool) -> None:
    drain(host)
    host.sh(f"echo '{COUNT % (4, 5)}' > /etc/count.json")
    told = host.module("agent_removed", {}, check=check)
    assert told["failed"]
    assert "the host still has 4 messages for 5 recipients" in told["msg"]
    assert host.asked() == []
    assert host.module("agent_removed", {"discard_mail": True}, check=check)["changed"]
    assert host.path("/opt/postroad").exists() is check


def test_damaged_mail_is_kept_and_check_mode_says_so(host: Machine) -> None:
    drain(host)
    host.sh(
        "mkdir /var/lib/postroad/queue/0/journal.damaged-1; echo mail > /var/lib/postroad/queue/0/journal.damaged-1/1"
    )
    planned, done = host.module("agent_removed", {}, check=True), host.module("agent_removed", {})
    assert host.sh("cat /var/lib/postroad.damaged-*/*/1") == "mail\n"
    assert any(line.startswith("(kept: ") for line in done["removed"])
    assert [line.partition(".damaged-")[0] for line in planned["removed"]] == [
        line.partition(".damaged-")[0] for line in done["removed"]
    ]
