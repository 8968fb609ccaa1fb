# SPDX-License-Identifier: GPL-3.0-or-later
"""status.yml: the fleet is well and says so, and a relay that differs is marked with words on what differs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from traffic.fixtures import CHECKOUT, STATE
from traffic.relays import LISTENERS

CONFIG = "/etc/postroad/agent.toml"
# A table of somebody else, as ufw would have one.
SHUT = (
    "nft add table inet elsewhere"
    " && nft 'add chain inet elsewhere input { type filter hook input priority -10; }'"
    " && nft add rule inet elsewhere input tcp dport 8025 reject with tcp reset"
)


def status(directory: Path, *options: str) -> tuple[int, str, dict[str, Any]]:
    """Exit status, output and JSON of a run."""
    record, page = directory / "fleet.json", directory / "fleet.html"
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("ansible-playbook")), "--inventory", str(STATE / "inventory")),
            *("-e", f"relay_status_json={record}", "-e", f"relay_status_html={page}"),
            *options,
            str(CHECKOUT / "playbooks/status.yml"),
        ],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = json.loads(record.read_text()) if record.exists() else {}
    return done.returncode, done.stdout + done.stderr, told


def test_the_fleet_is_well(tmp_path: Path) -> None:
    rc, output, told = status(tmp_path, "-e", "relay_status_fail_on=difference")
    assert rc == 0, output
    assert "changed=0" in output
    assert [relay["host"] for relay in told["relays"]] == ["relay1", "relay2"]
    # Debian 12 and 13: another build of the same release.
    one, two = told["relays"]
    assert one["release"]["id"] != two["release"]["id"]
    assert one["release"]["made_from"] == two["release"]["made_from"]
    assert one["settings"]["digest"] == two["settings"]["digest"]
    for relay in told["relays"]:
        assert {port["port"]: port["state"] for port in relay["ports"]} == dict.fromkeys(LISTENERS, "open")
        assert {port["fingerprint"] for port in relay["ports"]} == {relay["certificate"]["fingerprint"]}
        assert relay["certificate"]["days_left"] > 300
        assert relay["agent"]["hostname"] == f"{relay['host']}.postroad.test"
    page = (tmp_path / "fleet.html").read_text()
    assert "relay2" in page
    assert "<script" not in page


def test_a_relay_that_differs_is_marked(tmp_path: Path, on: Callable[[str], Any]) -> None:
    relay = on("relay2")
    relay.check_output(f"cp -p {CONFIG} {CONFIG}.good")
    try:
        # As somebody would by hand; the agent that runs has not read it.
        relay.check_output(f"printf '\\n[submission]\\nmax_recipients = 7\\n' >> {CONFIG}")
        relay.check_output(SHUT)
        rc, output, told = status(tmp_path)
    finally:
        relay.run("nft delete table inet elsewhere")
        relay.check_output(f"mv {CONFIG}.good {CONFIG}")
    assert rc != 0
    texts = {(finding["host"], finding["level"], finding["text"]) for finding in told["findings"]}
    assert {
        ("relay2", "trouble", "seen from laptop, port 8025 closed: refused: nothing listens there"),
        ("relay2", "difference", "submission.max_recipients: 7 here, not set at relay1"),
        ("relay2", "difference", "seen from laptop, port 8025: closed here, open at relay1"),
        ("relay2", "notice", "agent.toml is not as the last deployment left it: site.yml puts it back"),
    } <= texts
    assert "submission.max_recipients: 7 here, not set at relay1" in output
    assert told["relays"][0]["settings"]["digest"] != told["relays"][1]["settings"]["digest"]


def test_a_misspelt_variable_is_refused(tmp_path: Path) -> None:
    rc, output, told = status(tmp_path, "-e", "relay_status_vantges=[]")
    assert rc != 0
    assert "relay_status_vantges: did you mean relay_status_vantages?" in output
    assert told == {}
