# SPDX-License-Identifier: GPL-3.0-or-later
"""The module firewall_table as Ansible runs it, with the real nft in a network of its own."""

import json
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.nft_ruleset import without_ids

from tests.unit.plugins.machine import Machine

TABLE = "nft -st list table inet postroad"
HOME = "192.0.2.1 50000 192.0.2.2 22"
"""The SSH connection that a run comes by; a second one is a fresh one."""
FRESH = "192.0.2.1 50001 192.0.2.2 22"
ARGUMENTS: dict[str, Any] = {"ports": [587, 465], "ssh": {"ports": [22]}}


def table(machine: Machine, *, check: bool = False, by: str = HOME, **changes: Any) -> dict[str, Any]:
    return machine.module("firewall_table", ARGUMENTS | changes, check=check, connection=by)


def confirm(machine: Machine, *, by: str = FRESH, **changes: Any) -> dict[str, Any]:
    return table(machine, by=by, **changes, step="confirm", connection=HOME)


def apply(machine: Machine, **changes: Any) -> None:
    """Rules that are applied and confirmed."""
    for done in (table(machine, **changes), confirm(machine, **changes)):
        assert done.get("changed"), done


def test_check_mode_shows_the_rules_and_loads_none(shared_machine: Machine) -> None:
    told = table(shared_machine, check=True)
    assert (told["changed"], told["pending"], told["ssh_ports"]) == (True, False, [22])
    headers = [entry["after_header"] for entry in told["diff"]]
    assert headers[0] == "/etc/postroad/firewall.nft"
    assert "/etc/systemd/system/postroad-firewall.service" in headers
    assert "587" in told["diff"][0]["after"]
    assert shared_machine.run("sh", "-c", TABLE).returncode != 0
    assert shared_machine.asked() == []
    assert "postroad" not in shared_machine.sh("ls /etc; cat /etc/passwd")


def test_rules_are_live_kept_and_found_as_they_should_be(machine: Machine) -> None:
    told = table(machine, check=True)
    done = table(machine)
    assert (done["pending"], done["connection"]) == (True, HOME)
    # The user was made meanwhile; his id is in the rules and, of a first run, in neither diff.
    assert done["diff"] == told["diff"]
    (armed,) = [line for line in machine.asked() if line.startswith("systemd-run")]
    assert "--on-active=45" in armed
    assert not machine.path("/etc/postroad/firewall.nft").exists()
    assert "587" in machine.sh(TABLE)

    assert confirm(machine)["changed"]
    assert without_ids(machine.path("/etc/postroad/firewall.nft").read_text()) == done["diff"][0]["after"]
    asked = machine.asked()
    assert asked[0] == "stop postroad-firewall-restore.timer"
    assert "enable --quiet --now postroad-firewall.service" in asked
    assert asked[-1] == "enable --quiet --now postroad-shut-out.socket postroad-shut-out.service"
    assert json.loads(machine.path("/etc/postroad-shut-out.json").read_text())["never"] == []

    live = machine.sh(TABLE)
    for check in (True, False):
        again = table(machine, check=check)
        assert (again["changed"], again["pending"], again["diff"]) == (False, False, [])
    assert machine.asked() == []
    # What is kept is what boots: loaded anew, nothing differs.
    machine.sh("nft flush ruleset; nft -f /etc/postroad/firewall.nft")
    assert machine.sh(TABLE) == live


def test_check_mode_shows_the_same_where_nft_is_to_be_installed(machine: Machine) -> None:
    machine.sh("nft=$(readlink -f $(command -v nft)); mount --bind /dev/null $nft")
    told = table(machine, check=True)
    machine.sh("umount $(findmnt -n -o TARGET -S devtmpfs | grep nft || findmnt -n -o TARGET | grep -o '/[^ ]*nft$')")
    assert told["changed"]
    assert told["diff"] == table(machine)["diff"]


def test_a_boot_unit_that_was_disabled_is_shown(machine: Machine) -> None:
    apply(machine)
    machine.sh("systemctl disable postroad-firewall.service")
    told, done = table(machine, check=True), table(machine)
    assert told["diff"] == done["diff"]
    assert [entry["after"] for entry in done["diff"]] == ["starts at boot\n"]
    assert not table(machine)["changed"]


def test_a_change_by_hand_is_shown_and_undone(machine: Machine) -> None:
    apply(machine)
    live = machine.sh(TABLE)
    machine.sh("nft add table ip foreign; nft insert rule inet postroad incoming tcp dport 9090 accept")
    told = table(machine, check=True)
    assert told["changed"]
    assert [entry["before_header"] for entry in told["diff"]] == ["live table inet postroad"]
    assert "9090" in told["diff"][0]["before"]
    assert "9090" not in told["diff"][0]["after"]
    apply(machine)
    assert machine.sh(TABLE) == live
    assert "table ip foreign" in machine.sh("nft list tables")


def test_the_same_connection_proves_nothing(machine: Machine) -> None:
    table(machine)
    refused = confirm(machine, by=HOME)
    assert refused["failed"]
    assert "no fresh SSH connection was made" in refused["msg"]
    assert not machine.path("/etc/postroad/firewall.nft").exists()


def test_rules_that_are_gone_again_are_not_kept(machine: Machine) -> None:
    table(machine)
    machine.sh("nft -f /run/postroad-firewall/restore.nft")
    refused = confirm(machine)
    assert refused["failed"]
    assert "the old rules came back before the new ones were confirmed" in refused["msg"]
    assert refused["too_late"]
    assert not machine.path("/etc/postroad/firewall.nft").exists()
    assert machine.run("sh", "-c", TABLE).returncode != 0


def test_rules_that_nobody_confirmed_are_put_back_at_once(machine: Machine) -> None:
    apply(machine)
    live, boots = machine.sh(TABLE), machine.path("/etc/postroad/firewall.nft").read_text()
    table(machine, ports=[2525])
    assert "2525" in machine.sh(TABLE)
    back = table(machine, by=FRESH, ports=[2525], step="restore")
    assert (back["changed"], back["put_back"]) == (False, True)
    assert machine.sh(TABLE) == live
    assert machine.path("/etc/postroad/firewall.nft").read_text() == boots
    assert "stop postroad-firewall-restore.timer" in machine.asked()
    refused = confirm(machine, ports=[2525])
    assert "nothing was applied that could be confirmed" in refused["msg"]


def test_own_rules_with_their_sets_are_live_and_loaded_anew_when_only_an_element_changes(machine: Machine) -> None:
    rules = {"incoming": ["ip saddr @pests drop"], "declarations": ["set pests { type ipv4_addr; elements = { %s }; }"]}
    for address in ("203.0.113.1", "203.0.113.2"):
        declared = [line % address for line in rules["declarations"]]
        apply(machine, extra_rules=rules | {"declarations": declared})
        assert address in machine.sh("nft list set inet postroad pests")
    refused = table(machine, extra_rules={"incoming": ["tcp dport 22 dropp"]})
    assert "the rules do not load, the live rules are untouched" in refused["msg"]
    assert "dropp" in refused["msg"]


def test_those_shut_out_stay_so_over_a_change_and_its_undoing(machine: Machine) -> None:
    apply(machine)
    machine.sh("nft add element inet postroad shut_out4 '{ 198.51.100.9 timeout 500s }'")
    listed = "nft list set inet postroad shut_out4"
    apply(machine, ports=[2525])
    assert "198.51.100.9 timeout 8m" in machine.sh(listed)
    table(machine, ports=[587])
    machine.sh("nft -f /run/postroad-firewall/restore.nft")
    assert "198.51.100.9 timeout 8m" in machine.sh(listed)


def test_nobody_is_shut_out_where_that_is_not_wanted(machine: Machine) -> None:
    apply(machine)
    apply(machine, shut_out={"enabled": False})
    assert "shut_out" not in machine.sh(TABLE)
    assert not machine.path("/etc/systemd/system/postroad-shut-out.service").exists()
    again = table(machine, shut_out={"enabled": False})
    assert (again["changed"], again["diff"]) == (False, [])


def test_without_a_timer_no_rule_is_touched(machine: Machine) -> None:
    (machine.scratch / "programs" / "systemd-run").write_text("#!/bin/sh\necho no bus >&2\nexit 1\n")
    refused = table(machine)
    assert refused["failed"]
    assert "the timer could not be armed: no bus" in refused["msg"]
    assert machine.run("sh", "-c", TABLE).returncode != 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ports": [0]}, "relay_firewall_ports: 0"),
        ({"proof": {"seconds": 60}}, "relay_firewall_proof.seconds: 60 is not between 10 and 55"),
        ({"shut_out": {"never": ["x"]}}, "relay_firewall_shut_out.never: 'x' is not an address"),
        ({"step": "restore"}, "no copy of the old rules"),
        ({"ssh": {"ports": [22], "sources": ["nonsense"]}}, "relay_firewall_ssh.sources"),
        (
            {"ssh": {"ports": [22], "sources": ["198.51.100.0/24"]}},
            "192.0.2.1, the address that this run comes from, is in none of 198.51.100.0/24: it would lock you out",
        ),
        ({"outgoing": {"smtp_users": ["nosuchuser"]}}, "relay_firewall_outgoing.smtp_users: no user 'nosuchuser'"),
        ({"step": "confirm"}, "nothing was applied that could be confirmed"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_changes_nothing(
    shared_machine: Machine, changes: dict[str, Any], message: str
) -> None:
    refused = table(shared_machine, **changes)
    assert refused["failed"]
    assert message in refused["msg"]
    assert shared_machine.run("sh", "-c", TABLE).returncode != 0
    assert not shared_machine.path("/etc/postroad").exists()


def test_the_way_that_the_operator_came_stays_open(shared_machine: Machine) -> None:
    told = table(shared_machine, check=True, by="192.0.2.1 50000 192.0.2.2 2222", ssh={"ports": [22]})
    assert told["ssh_ports"] == [22, 2222]
    assert any("relay_firewall_ssh.ports does not name 2222" in warning["event"]["msg"] for warning in warnings(told))


def warnings(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Warnings as they are sent to the controller."""
    return [each if isinstance(each, dict) else {"event": {"msg": each}} for each in result.get("warnings", [])]
