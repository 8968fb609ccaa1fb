# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/status.yml on hosts that nobody can reach: every one is a row that says so, the first one, too."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
# Nobody listens on port 1 of this machine, so SSH and the relay's ports are refused at once.
AWAY = {
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,
    "relay_agent_hostname": "localhost",
    "relay_agent_listeners": [{"port": 1, "tls": "starttls"}],
}


def status(directory: Path, *options: str) -> tuple[int, str, dict[str, Any]]:
    """Exit status, output and JSON of a run."""
    inventory, record = directory / "hosts.json", directory / "fleet.json"
    inventory.write_text(json.dumps({"relays": {"hosts": {"one": AWAY, "two": AWAY}}}))
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("ansible-playbook")), "--inventory", str(inventory)),
            *("-e", f"relay_status_json={record}", *options, str(ROOT / "playbooks/status.yml")),
        ],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = json.loads(record.read_text()) if record.exists() else {}
    return done.returncode, done.stdout + done.stderr, told


def test_hosts_that_cannot_be_reached(tmp_path: Path) -> None:
    rc, output, told = status(tmp_path, "-e", "relay_status_vantages=localhost")
    assert rc != 0
    assert [(relay["host"], relay["level"]) for relay in told["relays"]] == [("one", "trouble"), ("two", "trouble")]
    assert all("refused" in relay["unreachable"] for relay in told["relays"]), output
    assert [port["problem"] for relay in told["relays"] for port in relay["ports"]] == [
        "refused: nothing listens there",
        "refused: nothing listens there",
    ]
    assert "2 relays: 2 in trouble" in output


def test_the_exit_status_is_settable_and_check_mode_writes_nothing(tmp_path: Path) -> None:
    rc, output, told = status(tmp_path, "--check", "-e", "relay_status_fail_on=never")
    assert rc == 0, output
    assert "2 relays: 2 in trouble" in output
    assert told == {}


def test_a_misspelt_variable_is_refused_before_anything_is_looked_at(tmp_path: Path) -> None:
    rc, output, told = status(tmp_path, "-e", "relay_status_vantges=localhost")
    assert rc != 0
    assert "one: relay_status_vantges: did you mean relay_status_vantages?" in output
    assert "UNREACHABLE" not in output
    assert told == {}
