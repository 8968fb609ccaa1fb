# SPDX-License-Identifier: GPL-3.0-or-later
"""status_report: what it shows and writes, and when it fails."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.postroad.relay.plugins.action import status_report as action
from ansible_collections.postroad.relay.plugins.modules import agent_status, status_report
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import read_state
from status_example import knocked, reading

READ = reading()
SEEN = knocked(read_state("a", "relays", {"reading": READ}, {}).fingerprint)
WELL = {"_read": {"reading": READ}, "_knocked": SEEN}


def run(hosts: dict[str, dict[str, Any]], *, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    arguments = {"hosts": list(hosts), "read": "_read", "knocked": "_knocked", **options}
    task = SimpleNamespace(args=arguments, check_mode=check_mode, async_val=0, diff=False)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=""))
    plugin = action.ActionModule(task, connection, SimpleNamespace(), None, None, None)
    result: dict[str, Any] = plugin.run(task_vars={"hostvars": hosts})
    return result


def test_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    html, record = str(tmp_path / "made" / "fleet.html"), str(tmp_path / "fleet.json")
    result = run({"relay1": WELL, "relay2": WELL}, html=html, json=record)
    assert result == {"changed": False, "verdict": "2 relays, and all is well"}
    assert "2 relays, and all is well" in capsys.readouterr().out
    assert json.loads((tmp_path / "fleet.json").read_text())["verdict"] == "2 relays, and all is well"
    assert (tmp_path / "made" / "fleet.html").read_text().startswith("<!DOCTYPE html>")


def test_check_mode_shows_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run({"relay1": WELL}, check_mode=True, json=str(tmp_path / "fleet.json"))
    assert not result.get("failed")
    assert "fleet.json was not written" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("fail_on", "failed"), [("never", False), ("trouble", True), ("notice", True)])
def test_a_host_of_which_nothing_is_known_fails_the_run_under_its_name(
    fail_on: str, failed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run({"relay1": WELL, "relay2": {}}, fail_on=fail_on)
    assert result.get("failed", False) is failed
    assert "could not be read: it gave no answer" in capsys.readouterr().out
    if failed:
        assert result["msg"].startswith("relay2: see the table above")


def test_thresholds_and_siblings_are_the_inventory_s(capsys: pytest.CaptureFixture[str]) -> None:
    unlike = {"_read": {"reading": READ | {"settings": {}}}, "_knocked": SEEN, "relay_status_siblings": "tests"}
    assert not run({"relay1": WELL, "relay2": unlike}).get("failed")
    assert run({"relay1": WELL}, thresholds={"certificate_days": 81}, fail_on="notice")["failed"] is True


def test_documentation_names_every_option() -> None:
    assert yaml.safe_load(status_report.DOCUMENTATION)["options"].keys() == action.ARGUMENTS.keys()
    assert yaml.safe_load(agent_status.DOCUMENTATION)["options"].keys() == {"key"}
