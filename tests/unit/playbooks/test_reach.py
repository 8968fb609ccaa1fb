# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/reach.yml from the controller, at ports of this machine where nobody listens."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
RELAY = {"relay_agent_hostname": "localhost", "relay_agent_listeners": [{"port": 1, "tls": "starttls"}]}
# Nobody listens on port 1 of this machine, so SSH is refused at once.
AWAY = {"ansible_host": "127.0.0.1", "ansible_port": 1}


def reach(directory: Path, *options: str, vantages: dict[str, Any] | None = None) -> tuple[int, str, dict[str, Any]]:
    """Exit status, output and JSON of a run."""
    inventory, record = directory / "hosts.json", directory / "reach.json"
    groups = {"relays": {"hosts": {"one": RELAY, "two": RELAY}}, "vantages": {"hosts": vantages or {}}}
    inventory.write_text(json.dumps(groups))
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("ansible-playbook")), "--inventory", str(inventory)),
            *("-e", f"relay_reach_json={record}", *options, str(ROOT / "playbooks/reach.yml")),
        ],
        cwd=ROOT,
        env=os.environ | {"HOME": str(directory), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = json.loads(record.read_text()) if record.exists() else {}
    return done.returncode, done.stdout + done.stderr, told


def test_from_the_controller_unless_told_otherwise(tmp_path: Path) -> None:
    rc, output, told = reach(tmp_path)
    assert rc != 0
    assert [each["vantage"] for each in told["vantages"]] == ["localhost"], output
    assert [(each["host"], each["text"].split(":")[0]) for each in told["findings"]] == [
        ("one", "from localhost"),
        ("two", "from localhost"),
    ]
    assert "one, two: see the table above" in output


def test_from_the_group_of_vantages_one_of_which_is_away(tmp_path: Path) -> None:
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    rc, output, told = reach(tmp_path, "--limit", "two", vantages={"here": local, "away": AWAY})
    assert rc != 0
    assert [(each["vantage"], bool(each["problem"])) for each in told["vantages"]] == [("here", False), ("away", True)]
    assert "away: vantage: it cannot be reached: " in output
    assert [each["relay"] for each in told["relays"]] == ["two"]


def test_a_vantage_that_floods_costs_its_own_column_alone(tmp_path: Path) -> None:
    flood = tmp_path / "flood"
    flood.write_text("#!/bin/sh\nexec cat /dev/zero\n")
    flood.chmod(0o755)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hostile = {"ansible_host": "192.0.2.1", "ansible_ssh_executable": str(flood)}
    rc, output, told = reach(tmp_path, "--limit", "two", vantages={"here": local, "hostile": hostile})
    assert rc != 0
    here, there = told["vantages"]
    assert here["problem"] is None, output
    assert there["problem"].startswith("hostile could not try the ports: it said more than ")
    assert "\0" not in output


def test_check_mode_writes_nothing_and_the_exit_status_is_settable(tmp_path: Path) -> None:
    rc, output, told = reach(tmp_path, "--check", "-e", "relay_reach_fail_on=never", "-e", "relay_reach_ports=2,3")
    assert (rc, told) == (0, {}), output
    assert "refused" in output
    assert "reach.json was not written" in output


def test_names_after_commas_and_an_authority_below_the_home_are_found(tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca/ca.pem").write_text("no authority\n")
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    authority = json.dumps({"relay_tls_certificate": {"ca_directory": "~/ca"}})
    _, output, told = reach(
        tmp_path, "-e", authority, "-e", json.dumps({"relay_reach_from": "localhost, here,"}), vantages={"here": local}
    )
    assert [(each["vantage"], each["problem"]) for each in told["vantages"]] == [("localhost", None), ("here", None)]
    assert "the file of authorities has no certificates" in output


def test_a_misspelt_variable_is_refused_before_anything_is_tried(tmp_path: Path) -> None:
    rc, output, told = reach(tmp_path, "-e", "relay_reach_form=localhost")
    assert (rc != 0, told) == (True, {})
    assert "one: relay_reach_form: did you mean relay_reach_from?" in output
