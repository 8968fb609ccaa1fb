# SPDX-License-Identifier: GPL-3.0-or-later
"""failover_watcher: what is run on a host."""

from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.postroad.relay.plugins.action import failover_watcher as action
from ansible_collections.postroad.relay.plugins.modules import (
    dns_facts,
    failover_membership,
    failover_service,
    failover_watcher,
)

from tests.unit.plugins.zone_example import facts

RELAYS = {f"relay{number}": {"_facts": facts(number)} for number in (1, 2)}
SERVER = {"server": "ns1.example.org", "key_name": "relays", "key_secret": "c2VjcmV0"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    def action_run(**options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        asked: dict[str, Any] = {}

        def module(_: Any, *, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
            assert module_name == "postroad.relay.failover_service"
            asked.update(module_args)
            return {"changed": True}

        monkeypatch.setattr(action.ActionModule, "_execute_module", module)
        arguments = {
            "hosts": list(RELAYS),
            "facts": "_facts",
            "service": "mail.example.org",
            "domains": ["example.org"],
            "server": SERVER,
            **options,
        }
        task = SimpleNamespace(args=arguments, check_mode=False, async_val=0, diff=False)
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=""))
        plugin = action.ActionModule(task, connection, SimpleNamespace(), None, None, None)
        result = plugin.run(task_vars={"hostvars": RELAYS, "inventory_hostname": "relay2"})
        return result, asked

    return action_run


def test_a_watcher_is_told_who_it_is(run: Any) -> None:
    result, asked = run(failover={"enabled": True})
    assert result["changed"] is True
    assert asked["state"] == "present"
    assert asked["settings"]["own"] == "relay2.example.org"
    assert asked["key_secret"] == "c2VjcmV0"


def test_none_where_it_is_not_enabled(run: Any) -> None:
    assert run(failover={})[1] == {"state": "absent"}
    assert run(failover={"enabled": False})[1] == {"state": "absent"}
    assert run(failover={"enabled": "no"})[1] == {"state": "absent"}, "text of an inventory, as a template gives it"


def test_what_cannot_work_is_told_by_its_variable(run: Any) -> None:
    result, asked = run(failover={"enabled": True}, server={})
    assert result["failed"] is True
    assert result["msg"].startswith("relay_dns_failover: needs relay_dns_server")
    assert asked == {}


def test_documentation_names_every_option() -> None:
    assert yaml.safe_load(failover_watcher.DOCUMENTATION)["options"].keys() == action.ARGUMENTS.keys()
    for module in (dns_facts, failover_membership, failover_service):
        assert yaml.safe_load(module.DOCUMENTATION)["options"].keys() == module.ARGUMENTS.keys()
