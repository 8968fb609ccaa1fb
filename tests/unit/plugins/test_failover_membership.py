# SPDX-License-Identifier: GPL-3.0-or-later
"""failover_membership, as Ansible runs it on a host: out of the address list, and back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.postroad.relay.plugins.modules import failover_membership

Run = Callable[..., tuple[dict[str, Any], list[list[str]]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs it on a host with failover; told: status, output and errors of the agent's command."""
    settings = tmp_path / "failover.toml"
    monkeypatch.setattr(failover_membership, "SETTINGS", settings)

    def module(*told: Any, here: bool = True, **arguments: Any) -> tuple[dict[str, Any], list[list[str]]]:
        asked: list[list[str]] = []
        ended: list[dict[str, Any]] = []

        def run_command(_: Any, command: list[str]) -> Any:
            asked.append(command[1:])
            return told

        warned: list[str] = []

        def end(_: Any, **result: Any) -> None:
            ended.append({"warnings": warned, **result})
            raise SystemExit

        def fail(_: Any, **result: Any) -> None:
            end(_, failed=True, **result)

        monkeypatch.setattr(AnsibleModule, "run_command", run_command)
        # What the module says, before Ansible gives it another form.
        monkeypatch.setattr(AnsibleModule, "warn", lambda _, text: warned.append(text))
        monkeypatch.setattr(AnsibleModule, "exit_json", end)
        monkeypatch.setattr(AnsibleModule, "fail_json", fail)
        if here:
            settings.touch()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            failover_membership.main()
        return ended[0], asked

    return module


def test_a_host_without_failover_is_left_alone(run: Run) -> None:
    result, asked = run(here=False, state="left")
    assert (result["changed"], asked) == (False, [])


@pytest.mark.parametrize(("state", "action"), [("left", "leave"), ("joined", "join")])
def test_the_agent_does_it_and_check_mode_only_asks(run: Run, state: str, action: str) -> None:
    result, asked = run(0, '{"changed": true, "waited": 30}', "", state=state)
    assert (result["changed"], result["waited"]) == (True, 30)
    assert asked == [["failover", action, "--json"]]
    _, asked = run(0, '{"changed": true}', "", state=state, _ansible_check_mode=True)
    assert asked == [["failover", action, "--json", "--check"]]


def test_the_last_of_the_list_is_told_of(run: Run) -> None:
    result, _ = run(0, '{"changed": false, "last": ["192.0.2.1"]}', "", state="left")
    assert result["warnings"] == ["192.0.2.1: the last of the address list, and stays in it"]


def test_a_name_server_that_refuses_keeps_no_host_in_service(run: Run) -> None:
    result, _ = run(1, "", "ns1.example.org: REFUSED", state="left")
    assert not result.get("failed")
    assert result["warnings"] == ["ns1.example.org: REFUSED. The others take the host out of the list."]


def test_a_host_that_cannot_come_back_fails_with_what_to_do(run: Run) -> None:
    result, _ = run(1, "", "ns1.example.org: REFUSED", state="joined")
    assert result["failed"]
    assert "until `relay-agent failover join`" in result["msg"]
