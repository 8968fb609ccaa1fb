# SPDX-License-Identifier: GPL-3.0-or-later
"""reach_report and reach_try: what they show and write, when they fail, what they document."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.postroad.relay.plugins.action import reach_report, reach_try
from ansible_collections.postroad.relay.plugins.modules import reach_report as report_documentation
from ansible_collections.postroad.relay.plugins.modules import reach_try as try_documentation

from tests.unit.plugins.reach_example import LISTENERS, authority, relays, seen, tried

WELL = [tried("home", a=seen("a"), b=seen("b"))]


def report(results: list[dict[str, Any]], *, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    arguments = {
        "hosts": ["a", "b"],
        "listeners": list(LISTENERS),
        "tried": results,
        "authorities": authority("a", "b"),
    }
    task = SimpleNamespace(args=arguments | options, check_mode=check_mode, async_val=0, diff=False)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=""))
    plugin = reach_report.ActionModule(task, connection, SimpleNamespace(), None, None, None)
    result: dict[str, Any] = plugin.run(task_vars={"hostvars": relays("a", "b")})
    return result


def test_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "2 relays from 1 vantage: every port can be used from everywhere"
    assert report(WELL, json=str(tmp_path / "made/reach.json")) == {"changed": False, "verdict": words}
    output = capsys.readouterr().out
    assert words in output
    assert "\x1b" not in output
    assert json.loads((tmp_path / "made/reach.json").read_text())["verdict"] == words


def test_check_mode_shows_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not report(WELL, check_mode=True, json=str(tmp_path / "reach.json")).get("failed")
    assert "reach.json was not written" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("ends", "fail_on", "failed"),
    [
        ({"all": {"end": "silent"}}, "trouble", True),
        ({"all": {"end": "silent"}}, "never", False),
        ({"p587": {"end": "silent"}}, "trouble", False),
        ({"p587": {"end": "silent"}}, "difference", True),
    ],
)
def test_what_fails_the_run(ends: dict[str, Any], fail_on: str, failed: bool) -> None:
    result = report([tried("home", a=seen("a", **ends), b=seen("b"))], fail_on=fail_on)
    assert result.get("failed", False) is failed
    if failed:
        assert result["msg"].startswith("a: see the table above")


class Vantage:
    """A connection to a host that is this one."""

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self._shell = SimpleNamespace(tmpdir="")


def look(
    monkeypatch: pytest.MonkeyPatch, transport: str, *, ports: Sequence[int] = (), **delegated: str
) -> tuple[dict[str, Any], list[str]]:
    """The plugin's result, and the commands that it ran."""
    commands: list[str] = []

    def execute(self: Any, command: str, sudoable: bool, in_data: bytes) -> dict[str, Any]:
        assert sudoable is False
        commands.append(command)
        done = subprocess.run(["/bin/sh", "-c", command], input=in_data, capture_output=True)
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


@pytest.mark.parametrize(
    ("documentation", "arguments"),
    [(report_documentation, reach_report.ARGUMENTS), (try_documentation, reach_try.ARGUMENTS)],
)
def test_the_documentation_has_every_option(documentation: Any, arguments: dict[str, Any]) -> None:
    options = yaml.safe_load(documentation.DOCUMENTATION)["options"]
    assert options.keys() == arguments.keys()
    for name, spec in arguments.items():
        assert options[name].get("default") == spec.get("default"), name
        assert options[name]["type"] == spec["type"], name
    assert yaml.safe_load(documentation.RETURN)
