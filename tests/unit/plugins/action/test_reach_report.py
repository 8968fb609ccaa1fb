# SPDX-License-Identifier: GPL-3.0-or-later
"""What reach_report shows and writes, when it fails, what it documents."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.postroad.relay.plugins.action import reach_report
from ansible_collections.postroad.relay.plugins.modules import reach_report as reach_report_documentation

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


def test_the_documentation_has_every_option() -> None:
    options = yaml.safe_load(reach_report_documentation.DOCUMENTATION)["options"]
    assert options.keys() == reach_report.ARGUMENTS.keys()
    for name, spec in reach_report.ARGUMENTS.items():
        assert options[name].get("default") == spec.get("default"), name
        assert options[name]["type"] == spec["type"], name
    assert yaml.safe_load(reach_report_documentation.RETURN)
