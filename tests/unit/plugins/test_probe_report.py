# SPDX-License-Identifier: GPL-3.0-or-later
"""probe_report: its documentation, and what it does with what the relays have registered."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.postroad.relay.plugins.action import probe_report as action
from ansible_collections.postroad.relay.plugins.modules import probe_report


def run(tmp_path: Path, hostvars: dict[str, Any], *, check_mode: bool = False, file: bool = True) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "hosts": ["relay1"],
        "submitted": "_sent",
        "arrived": "_there",
    }
    if "_drained" in hostvars:
        arguments["drained"] = "_drained"
    if file:
        arguments["file"] = str(tmp_path / "made" / "rows.json")
    task = SimpleNamespace(args=arguments, check_mode=check_mode, async_val=0, diff=False)
    plugin = action.ActionModule(
        task, SimpleNamespace(_shell=SimpleNamespace(tmpdir="")), SimpleNamespace(), None, None, None
    )
    return plugin.run(task_vars={"hostvars": {"relay1": hostvars}})


SENT = {
    "host": "relay.example.org",
    "port": 587,
    "tls": "starttls",
    "program": "curl",
    "message_id": "<1@a>",
    "ok": True,
    "reply": "250 2.0.0 Queued",
    "submitted": 100.0,
}


ARRIVED = {"_sent": {"probes": [SENT]}, "_there": {"arrivals": {"<1@a>": 101.5}, "lost": {}}}


def test_all_arrived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(tmp_path, ARRIVED, file=False)
    assert not result.get("failed")
    assert result["rows"][0]["seconds"] == 1.5
    assert "relay.example.org" in capsys.readouterr().out


def test_with_a_file_the_table_is_in_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(tmp_path, ARRIVED)
    assert json.loads((tmp_path / "made" / "rows.json").read_text()) == result["rows"]
    assert capsys.readouterr().out == ""


def test_one_that_did_not_arrive_fails_the_play(tmp_path: Path) -> None:
    result = run(tmp_path, {"_sent": {"probes": [SENT]}, "_there": {"arrivals": {}, "lost": {"<1@a>": "bounced"}}})
    assert result["failed"] is True
    assert "relay.example.org port 587 (curl)" in result["msg"]


def test_host_that_has_nothing_registered_fails_under_its_name(tmp_path: Path) -> None:
    assert "relay1: nothing could be submitted" in run(tmp_path, {})["msg"]


def test_a_drained_relay_is_told_as_such_and_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drained = {"_drained": {"stat": {"exists": True}}, "_sent": {"skipped": True}, "_there": {"skipped": True}}
    # With nobody else to prove anything.
    result = run(tmp_path, drained)
    assert result["failed"]
    assert result["msg"] == "no relay could be probed:\nrelay1: drained: not probed"
    for looked in ({"stat": {"exists": False}}, {"unreachable": True, "msg": "gone"}, {"failed": False, "msg": "no"}):
        result = run(tmp_path, {**ARRIVED, "_drained": looked})
        assert (result.get("failed", False), result["not_probed"]) == (False, [])
    arguments = {"hosts": ["relay1", "relay2"], "submitted": "_sent", "arrived": "_there", "drained": "_drained"}
    task = SimpleNamespace(args=arguments, check_mode=False, async_val=0, diff=False)
    shell = SimpleNamespace(_shell=SimpleNamespace(tmpdir=""))
    plugin = action.ActionModule(task, shell, SimpleNamespace(), None, None, None)
    both = plugin.run(task_vars={"hostvars": {"relay1": drained, "relay2": ARRIVED}})
    assert not both.get("failed")
    assert both["not_probed"] == ["relay1: drained: not probed"]
    assert "relay1: drained: not probed" in capsys.readouterr().out


def test_what_was_left_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left_out = [{"port": 465, "why": "only a balancer may use it"}]
    run(tmp_path, {**ARRIVED, "_sent": {"probes": [SENT], "left_out": left_out}}, file=True)
    assert "port 465 not probed" in capsys.readouterr().out, "the file has rows alone"
    result = run(tmp_path, {**ARRIVED, "_sent": {"probes": [SENT], "left_out": left_out}})
    assert result["not_probed"] == ["relay1: port 465 not probed: only a balancer may use it"]


def test_check_mode_submits_and_judges_nothing(tmp_path: Path) -> None:
    assert "failed" not in run(tmp_path, {}, check_mode=True)


def test_documentation_names_every_option() -> None:
    assert yaml.safe_load(probe_report.DOCUMENTATION)["options"].keys() == action.ARGUMENTS.keys()
