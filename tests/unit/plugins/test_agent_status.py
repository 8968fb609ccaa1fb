# SPDX-License-Identifier: GPL-3.0-or-later
"""The module agent_status as Ansible runs it, on hosts in every state; test_agent_reading.py has what is read."""

import json
from typing import Any

import pytest

from tests.unit.plugins.machine import Machine

CONFIG = (
    'hostname = "relay1.example.org"\n[[listener]]\nport = 587\n[tls]\ncertificate = "/etc/postroad/tls/full.pem"\n'
)


def status(machine: Machine, *, check: bool = False, key: str = "drawn for this run") -> dict[str, Any]:
    return machine.module("agent_status", {"key": key}, check=check)


def configure(machine: Machine, text: str) -> None:
    directory = machine.path("/etc/postroad/secrets")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "upstream").write_text("a password")
    machine.path("/etc/postroad/agent.toml").write_text(text)


def test_a_host_without_an_agent_is_no_failure(shared_machine: Machine) -> None:
    told = status(shared_machine)
    assert (told["changed"], told.get("failed", False)) == (False, False)
    assert told["reading"]["installed"] is False
    assert told["reading"]["problems"] == ["no agent is installed here"]


def test_an_agent_that_does_not_run_is_no_failure_and_no_secret_is_told(machine: Machine) -> None:
    configure(machine, CONFIG)
    told = status(machine)
    assert not told.get("failed")
    reading = told["reading"]
    assert (reading["installed"], reading["agent"], reading["queue"]) == (True, None, None)
    assert reading["settings"] is not None
    assert any(
        problem.startswith("the certificate /etc/postroad/tls/full.pem cannot be read")
        for problem in reading["problems"]
    )
    assert "a password" not in json.dumps(told)
    assert "drawn for this run" not in json.dumps(told)
    # Within a run the same secret has the same digest, in the next one another.
    assert status(machine, check=True)["reading"]["secrets"] == reading["secrets"]
    assert status(machine, key="another")["reading"]["secrets"] != reading["secrets"]
    assert machine.asked() == []


@pytest.mark.parametrize(
    "text",
    [
        "hostname = ",
        'tls = "none"\n',
        "[tls]\ncertificate = 5\n",
        "listener = [587]\n",
        'route = ["smtp.example.net"]\n',
        "hostname = 5\n[tls]\ncertificate = [1]\n",
    ],
)
def test_a_file_that_somebody_broke_by_hand_is_told(machine: Machine, text: str) -> None:
    configure(machine, text)
    told = status(machine)
    assert not told.get("failed"), told
    assert told["reading"]["settings"] is None
    assert told["reading"]["installed"], "a file that cannot be read is no host without an agent"
    assert any(problem.startswith("/etc/postroad/agent.toml: ") for problem in told["reading"]["problems"])


def test_a_mark_that_an_editor_put_in_front_is_no_fault(machine: Machine) -> None:
    configure(machine, "\ufeff" + CONFIG)
    assert status(machine)["reading"]["settings"] is not None


@pytest.mark.parametrize("text", ["[]", "5", "{", '{"version": 5}'])
def test_a_release_that_somebody_broke_by_hand_is_told(machine: Machine, text: str) -> None:
    configure(machine, CONFIG)
    machine.sh("mkdir -p /opt/postroad/releases/aaaaaaaa; ln -s releases/aaaaaaaa /opt/postroad/current")
    machine.path("/opt/postroad/releases/aaaaaaaa/release.json").write_text(text)
    told = status(machine)
    assert not told.get("failed"), told
    if text == '{"version": 5}':
        assert told["reading"]["release"]["version"] == "5"
    else:
        assert any("the release in use cannot be read" in problem for problem in told["reading"]["problems"])


def test_without_the_right_to_read_it_says_so(machine: Machine) -> None:
    configure(machine, CONFIG)
    # Root reads everything; a directory in a secret's place cannot be read by anybody.
    machine.sh("rm /etc/postroad/secrets/upstream; mkdir /etc/postroad/secrets/upstream")
    told = status(machine)
    assert told["failed"]
    assert told["msg"].startswith("the relay's files cannot be read (is become missing?): ")
