# SPDX-License-Identifier: GPL-3.0-or-later
"""The action firewall_table in a playbook: rules that are applied, confirmed over a new connection, and kept."""

from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.nft_ruleset import without_ids

from tests.unit.plugins.machine import Machine, Play


def task(name: str, *, check: bool = False, **changes: Any) -> dict[str, Any]:
    arguments = {"ports": [587], "ssh": {"ports": [22]}, **changes}
    return {"name": name, "postroad.relay.firewall_table": arguments, "check_mode": check}


@pytest.fixture(scope="module")
def play(shared_machine: Machine) -> Play:
    """One playbook, since each start of Ansible takes its second."""
    return shared_machine.play(
        [
            task("planned", check=True),
            task("applied"),
            task("kept"),
            {"name": "spoil", "ansible.builtin.raw": "echo enable > /run/units/refused"},
            task("unconfirmed", ports=[465]),
        ]
    )


def test_check_mode_tells_what_a_run_does(play: Play) -> None:
    planned, applied = play.results["planned"], play.results["applied"]
    assert planned["changed"]
    assert applied["changed"]
    assert planned["diff"] == applied["diff"]


def test_rules_are_confirmed_and_kept(play: Play, shared_machine: Machine) -> None:
    applied = play.results["applied"]
    assert not applied["failed"]
    assert applied["pending"] is False
    assert applied["ssh_ports"] == [22]
    boots = shared_machine.path("/etc/postroad/firewall.nft").read_text()
    assert without_ids(boots) == applied["diff"][0]["after"].replace("{ 587 }", "{ 465 }")  # the last task's
    asked = shared_machine.asked()
    armed = next(number for number, line in enumerate(asked) if line.startswith("systemd-run"))
    assert "stop postroad-firewall-restore.timer" in asked[armed:]
    assert "--on-active=45" in asked[armed]


def test_nothing_is_to_do_in_the_second_run(play: Play) -> None:
    kept = play.results["kept"]
    assert (kept["changed"], kept["diff"], kept["pending"]) == (False, [], False)


def test_rules_that_could_not_be_kept_are_a_failure_of_the_host(play: Play) -> None:
    unconfirmed = play.results["unconfirmed"]
    assert unconfirmed["failed"]
    assert unconfirmed["msg"] == ("relay.example.org: postroad-firewall.service could not be enabled: it refuses")
