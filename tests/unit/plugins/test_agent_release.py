# SPDX-License-Identifier: GPL-3.0-or-later
"""The module agent_release as Ansible runs it on a host."""

import pytest

from tests.unit.plugins.machine import Machine
from tests.unit.plugins.releases import BROKEN, archive

RELEASE = "aaaaaaaa"


def test_a_bare_host_is_told_of_and_not_touched_in_check_mode(machine: Machine) -> None:
    told = machine.module("agent_release", {}, check=True)
    assert told["changed"]
    assert (told["current"], told["installed"]) == (None, [])
    assert told["system"]["name"] == "Debian 12 for a test"
    assert set(told["system"]) == {"name", "python", "machine", "glibc"}
    assert "postroad" not in machine.sh("cat /etc/passwd; ls /opt")


def test_release_is_installed_once_beside_the_others(machine: Machine) -> None:
    sent = {"release": RELEASE, "archive": str(archive(machine.scratch / "a.tar.gz", RELEASE))}
    assert machine.module("agent_release", sent, check=True)["changed"]
    assert not machine.path("/opt/postroad").exists()
    done = machine.module("agent_release", sent)
    assert done["changed"]
    assert (done["release"], done["current"], done["installed"]) == (RELEASE, None, [RELEASE])
    assert machine.sh("getent passwd postroad").endswith(":/nonexistent:/usr/sbin/nologin\n")
    assert machine.sh(f"/opt/postroad/releases/{RELEASE}/bin/relay-agent status") == "['status']\n"
    for check in (True, False):
        again = machine.module("agent_release", sent, check=check)
        assert (again["changed"], again["installed"]) == (False, [RELEASE])


@pytest.mark.parametrize(
    ("release", "main", "message"),
    [
        ("bbbbbbbb", BROKEN, "release bbbbbbbb was not installed: "),
        ("../../etc", BROKEN, "'../../etc' is not the name of a release"),
    ],
)
def test_release_that_does_not_work_is_refused(shared_machine: Machine, release: str, main: str, message: str) -> None:
    sent = {"release": release, "archive": str(archive(shared_machine.scratch / "b.tar.gz", release, main))}
    done = shared_machine.module("agent_release", sent)
    assert done["failed"]
    assert message in done["msg"]
    assert shared_machine.sh("find /opt/postroad -type f") == ""


def test_archive_alone_is_no_order(shared_machine: Machine) -> None:
    done = shared_machine.module("agent_release", {"archive": "/tmp/x"})
    assert done["failed"]
    assert "missing parameter(s) required by 'archive': release" in done["msg"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("sed -i s/12/11/ /etc/os-release", "is not supported; supported are Debian 12 (bookworm) and Debian 13"),
        ("rm -r /run/systemd/system", "runs without systemd as its init"),
    ],
)
def test_system_that_no_relay_runs_on_is_left_alone(machine: Machine, spoil: str, message: str) -> None:
    machine.sh(spoil)
    done = machine.module("agent_release", {})
    assert done["failed"]
    assert message in done["msg"]
    assert "postroad" not in machine.sh("cat /etc/passwd")
