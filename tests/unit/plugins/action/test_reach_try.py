# SPDX-License-Identifier: GPL-3.0-or-later
"""What reach_try sends to a vantage and makes of its answer, when it fails, what it documents."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.postroad.relay.plugins.action import reach_try
from ansible_collections.postroad.relay.plugins.modules import reach_try as reach_try_documentation


class Vantage:
    """A connection to a host that is this one."""

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self._shell = SimpleNamespace(tmpdir="")
        self.options = {"ssh_executable": "/bin/sh"}

    def get_option(self, name: str) -> str:
        return self.options[name]

    def set_option(self, name: str, value: str) -> None:
        self.options[name] = value


def look(
    monkeypatch: pytest.MonkeyPatch, transport: str, *, ports: Sequence[int] = (), **delegated: str
) -> tuple[dict[str, Any], list[str]]:
    """The plugin's result, and the commands that it ran."""
    commands: list[str] = []

    def execute(self: Any, command: str, sudoable: bool, in_data: bytes) -> dict[str, Any]:
        assert sudoable is False
        commands.append(command)
        executable = self._connection.options["ssh_executable"]
        done = subprocess.run([executable, "-c", command], input=in_data, capture_output=True)
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}

    monkeypatch.setattr(reach_try.ActionModule, "_low_level_execute_command", execute)
    listeners = [{"port": 1, "tls": "starttls"}]
    arguments = {"hosts": ["a"], "vantage": "home", "listeners": listeners, "within": 3.0, "ports": list(ports)}
    task = SimpleNamespace(args=arguments, check_mode=True, async_val=0, diff=False)
    plugin = reach_try.ActionModule(task, Vantage(transport), SimpleNamespace(), None, None, None)
    known = {"hostvars": {"a": {"relay_agent_hostname": "localhost"}}, "ansible_delegated_vars": {"home": delegated}}
    return plugin.run(task_vars=known), commands


def test_the_controller_looks_with_its_own_python(monkeypatch: pytest.MonkeyPatch) -> None:
    result, (command,) = look(monkeypatch, "local", ansible_python_interpreter="/usr/bin/old")
    assert command.startswith(f"for python in {sys.executable} ")
    assert {each["end"] for each in result["relays"]["a"]["attempts"]} == {"refused"}
    assert result["changed"] is False


def test_a_vantage_looks_with_the_inventory_s(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (command,) = look(monkeypatch, "ssh", ansible_python_interpreter="/opt/python/bin/python3")
    assert command.startswith("for python in /opt/python/bin/python3 python3.14 ")
    _, (command,) = look(monkeypatch, "ssh", ansible_python_interpreter="auto_silent")
    assert command.startswith("for python in python3.14 ")


def test_who_says_more_than_any_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach_try, "command", lambda interpreter: "cat /dev/zero")
    monkeypatch.setattr(reach_try, "most_said", lambda relays: 100_000)
    result, _ = look(monkeypatch, "ssh")
    assert result["failed"] is True
    assert result["msg"].startswith("home could not try the ports: it said more than 100000 bytes, which is more")


def test_who_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach_try, "command", lambda interpreter: "exec sleep 600")
    monkeypatch.setattr(reach_try, "time_for", lambda relays, within: 0.5)
    result, _ = look(monkeypatch, "ssh")
    assert result["msg"].startswith("home could not try the ports: it was not done within 0 seconds")


def test_the_limit_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ansible.constants.DEFAULT_LOCAL_TMP", str(tmp_path))
    assert "relays" in look(monkeypatch, "ssh")[0]
    assert not list(tmp_path.iterdir())


def test_what_cannot_look_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach_try, "command", lambda interpreter: "cat >/dev/null; echo gone away >&2; exit 3")
    result, _ = look(monkeypatch, "ssh")
    assert result["failed"] is True
    assert result["msg"] == "home could not try the ports (exit status 3): gone away"


@pytest.mark.parametrize("port", [0, 65536])
def test_what_is_no_port_is_told_before_anybody_looks(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    result, commands = look(monkeypatch, "ssh", ports=[443, port])
    assert (result["failed"], commands) == (True, [])
    assert result["msg"] == f"relay_reach_ports: {port} is no port (expected 1 to 65535)"


def test_the_documentation_has_every_option() -> None:
    options = yaml.safe_load(reach_try_documentation.DOCUMENTATION)["options"]
    assert options.keys() == reach_try.ARGUMENTS.keys()
    for name, spec in reach_try.ARGUMENTS.items():
        assert options[name].get("default") == spec.get("default"), name
        assert options[name]["type"] == spec["type"], name
    assert yaml.safe_load(reach_try_documentation.RETURN)
