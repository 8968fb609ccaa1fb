# SPDX-License-Identifier: GPL-3.0-or-later
"""dns_check: the table, the file for programs, and when it fails."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.postroad.relay.plugins.action import dns_check as action
from ansible_collections.postroad.relay.plugins.doc_fragments import fleet_dns
from ansible_collections.postroad.relay.plugins.modules import dns_check
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.lookup import Lookup
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import fleet_records

from relay_agent.name_server import Answer
from tests.unit.plugins.zone_example import facts, fleet

RELAYS = {f"relay{number}": {"_facts": facts(number)} for number in (1, 2)}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Answer]:
    """Everything is published as it should be; what a test changes is not."""
    found = {(each.owner, each.kind): Answer(60, frozenset(each.values)) for each in fleet_records(fleet())}
    monkeypatch.setattr(
        Lookup, "ask", lambda _, owner, kind, _wanted: iter([("ns1", found.get((owner, kind), Answer()))])
    )
    return found


def run(*, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    arguments = {
        "hosts": list(RELAYS),
        "relays": list(RELAYS),
        "facts": "_facts",
        "domains": ["example.org"],
        "service": "mail.example.org",
        "resolver": "192.0.2.53",
        **options,
    }
    task = SimpleNamespace(args=arguments, check_mode=check_mode, async_val=0, diff=False)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=""))
    plugin = action.ActionModule(task, connection, SimpleNamespace(), None, None, None)
    result: dict[str, Any] = plugin.run(task_vars={"hostvars": RELAYS})
    return result


def test_all_is_published(world: dict[tuple[str, str], Answer], capsys: pytest.CaptureFixture[str]) -> None:
    result = run()
    assert result == {"changed": False, "asked": len(world)}
    assert "MISSING" not in capsys.readouterr().out


def test_what_is_missing_fails_with_its_line(
    world: dict[tuple[str, str], Answer], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    del world["relay1.example.org.", "A"]
    report = tmp_path / "made" / "check.json"
    result = run(json=str(report))
    assert result["failed"] is True
    assert result["msg"] == "records: 1 missing; see the table above"
    assert "relay1.example.org. 3600 IN A 192.0.2.1" in capsys.readouterr().out
    (bad,) = [row for row in json.loads(report.read_text()) if row["state"] != "good"]
    assert bad["add"] == ["relay1.example.org. 3600 IN A 192.0.2.1"]


def test_check_mode_writes_no_file(
    world: dict[tuple[str, str], Answer], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert not run(check_mode=True, json=str(tmp_path / "check.json")).get("failed")
    assert "was not written" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_bad_inventory_is_told() -> None:
    result = run(service="*.example.org")
    assert result["failed"] is True
    assert "is no name for the DNS" in result["msg"]


def test_documentation_names_every_option() -> None:
    own, shared = (dns_check.DOCUMENTATION, fleet_dns.ModuleDocFragment.DOCUMENTATION)
    named = [*yaml.safe_load(own)["options"], *yaml.safe_load(shared)["options"]]
    assert sorted(named) == sorted(action.ARGUMENTS)
