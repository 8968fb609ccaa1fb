# SPDX-License-Identifier: GPL-3.0-or-later
"""The module agent_accounts as Ansible runs it on a host, with a command that stands for the agent's."""

import json
from typing import Any

import pytest

from tests.unit.plugins.machine import Machine

RELEASE = "aaaaaaaa"
ALICE = {"name": "alice", "password": "correct horse"}
COMMAND = """#!/bin/sh
cat > /run/given
echo "$*" > /run/asked
cat /run/answer
"""


def prepared(machine: Machine, agent: str = '"reloaded"', *, changed: str = "true") -> Machine:
    answer = f'{{"changed": {changed}, "added": ["alice"], "updated": [], "removed": ["bob"], "agent": {agent}}}'
    machine.sh(
        f"mkdir -p /opt/postroad/releases/{RELEASE}/bin /etc/postroad; cd /opt/postroad; "
        f"echo '{{}}' > releases/{RELEASE}/release.json; ln -sfn releases/{RELEASE} current; "
        f"printf %s '{answer}' > /run/answer; printf %s '{COMMAND}' > releases/{RELEASE}/bin/relay-agent; "
        f"chmod 755 releases/{RELEASE}/bin/relay-agent"
    )
    return machine


def accounts(machine: Machine, *, check: bool = False, listed: Any = (ALICE,)) -> dict[str, Any]:
    return machine.module("agent_accounts", {"accounts": list(listed)}, check=check)


@pytest.mark.parametrize("check", [True, False])
def test_what_changed_is_told_by_name(shared_machine: Machine, check: bool) -> None:
    told = accounts(prepared(shared_machine), check=check)
    assert told["changed"]
    assert (told["added"], told["removed"], told["total"]) == (["alice"], ["bob"], 1)
    assert [entry["after"] for entry in told["diff"]] == ["alice added\nbob removed\n"]
    assert ("--check" in shared_machine.sh("cat /run/asked")) is check
    assert "correct horse" in shared_machine.sh("cat /run/given")
    assert "correct horse" not in str({key: value for key, value in told.items() if key != "invocation"})


def test_nothing_to_change(shared_machine: Machine) -> None:
    told = accounts(prepared(shared_machine, changed="false"))
    assert (told["changed"], told["diff"]) == (False, [])


def test_an_agent_that_did_not_take_them_up_is_a_failure(shared_machine: Machine) -> None:
    told = accounts(prepared(shared_machine, agent='"no answer in time"'))
    assert told["failed"]
    assert told["changed"]
    assert "goes on with the old ones: no answer in time" in told["msg"]


def test_an_empty_list_is_refused(shared_machine: Machine) -> None:
    told = accounts(prepared(shared_machine), listed=[])
    assert told["failed"]
    assert "relay_agent_accounts is empty" in told["msg"]


def test_a_host_without_an_agent(machine: Machine) -> None:
    told = accounts(machine)
    assert told["failed"]
    assert "run site.yml first" in told["msg"]


@pytest.mark.parametrize("changed", ["true", "false"])
@pytest.mark.parametrize("check", [True, False])
def test_a_change_on_trial_does_not_bring_the_accounts_of_before_back(
    machine: Machine, changed: str, check: bool
) -> None:
    prepared(machine, changed=changed)
    record = machine.path("/opt/postroad/trial/record.json")
    record.parent.mkdir()
    record.write_text(json.dumps({"parts": ["release", "accounts"], "began": 1.0, "seconds": 300}))
    assert not accounts(machine, check=check).get("failed")
    assert json.loads(record.read_text())["parts"] == (["release", "accounts"] if check else ["release"])
