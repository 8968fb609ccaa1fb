# SPDX-License-Identifier: GPL-3.0-or-later
"""The preflight as ansible-playbook runs it, on inventories of hosts that do not exist."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLAYBOOK = """
- hosts: relays
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - postroad.relay.inventory_preflight:
- hosts: relays
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: touched
"""


def preflight(directory: Path, inventory: Path | str, **variables: object) -> tuple[int, str]:
    """Exit status and output of a playbook that begins with the preflight."""
    (directory / "play.yml").write_text(PLAYBOOK)
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "--inventory", str(inventory)]
    done = subprocess.run(
        [*command, "--extra-vars", json.dumps(variables), str(directory / "play.yml")],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_example_is_good_once_its_vault_is_there(tmp_path: Path) -> None:
    status, output = preflight(tmp_path, ROOT / "inventories" / "example", vault_alice="correct horse")
    assert status == 0, output
    assert "touched" in output


def test_the_example_says_that_its_vault_is_missing(tmp_path: Path) -> None:
    status, output = preflight(tmp_path, ROOT / "inventories" / "example")
    assert status != 0
    assert "relay.example.org: relay_agent_accounts: 'vault_alice' is undefined" in output


def test_all_problems_of_all_hosts_and_nothing_touched(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    one = {"relay_agent_listners": [], "relay_agent_delivery": {"retry_for": "soon"}}
    two = {"relay_tls_certificate": {"mode": "provided", "certificate": "files/two.pem", "key": "files/two.key"}}
    inventory.write_text(json.dumps({"relays": {"hosts": {"one.example": one, "two.example": two}}}))
    status, output = preflight(tmp_path, inventory)
    assert status != 0
    assert "touched\n" not in output.replace("nothing was touched", "")
    for problem in (
        "one.example: relay_agent_listners: did you mean relay_agent_listeners?",
        'one.example: relay_agent_delivery.retry_for: "soon" is not valid',
        "two.example: relay_tls_certificate.certificate: files/two.pem does not exist on the controller",
        "two.example: relay_tls_certificate.key: files/two.key does not exist on the controller",
    ):
        assert problem in output


def test_the_firewall_is_judged_too(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    one = {
        "relay_firewall_ssh": {"sources": ["office"]},
        "relay_firewall_rates": {"burst": 0},
        "relay_firewall_extra_ports": [{"port": 99999}],
    }
    inventory.write_text(json.dumps({"relays": {"hosts": {"one.example": one}}}))
    status, output = preflight(tmp_path, inventory)
    assert status != 0
    for problem in (
        "one.example: relay_firewall_ssh.sources: 'office' is not an address or network",
        "one.example: relay_firewall_rates.burst: 0 is not between",
        "one.example: relay_firewall_extra_ports: 99999 is not a port",
    ):
        assert problem in output


def test_certificate_without_its_mode(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    one = {"relay_tls_certificate": {"certificate": "files/one.pem", "key": "files/one.key"}}
    inventory.write_text(json.dumps({"relays": {"hosts": {"one.example": one}}}))
    status, output = preflight(tmp_path, inventory)
    assert status != 0
    assert "relay_tls_certificate.certificate: is for mode provided, and the mode is private_ca" in output


def test_port_80_has_one_owner(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    one = {
        "relay_tls_certificate": {"mode": "acme", "acme": {"email": "me@example.org"}},
        "relay_agent_listeners": [{"port": 587, "tls": "starttls"}, {"port": 80, "tls": "implicit"}],
        "relay_agent_accounts": [{"name": "alice", "password": "correct horse"}],
    }
    inventory.write_text(json.dumps({"relays": {"hosts": {"one.example": one}}}))
    status, output = preflight(tmp_path, inventory)
    assert status != 0
    assert "relay_tls_certificate.acme.challenge: http needs port 80, and a listener in relay_agent_listeners" in output
    one["relay_agent_listeners"] = [{"port": 587, "tls": "starttls"}]
    inventory.write_text(json.dumps({"relays": {"hosts": {"one.example": one}}}))
    status, output = preflight(tmp_path, inventory)
    assert status == 0, output


def test_authority_and_files_beside_the_hosts_are_no_inventories(tmp_path: Path) -> None:
    inventory = tmp_path / "mine"
    for name in ("private_ca", "files"):
        (inventory / name).mkdir(parents=True)
        (inventory / name / "some.pem").write_text("-----BEGIN SOMETHING-----")
    (inventory / "hosts.yml").write_text(json.dumps({"relays": {"hosts": {"one.example": {}}}}))
    status, output = preflight(tmp_path, inventory)
    assert status == 0, output
    assert "WARNING" not in output


@pytest.mark.parametrize("password", ["s3cret-and-long", "{{ 'x' }}"])
def test_no_password_is_printed(tmp_path: Path, password: str) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({"relays": {"hosts": {"one.example": {}}}}))
    accounts = [{"name": "alice", "password": password, "pasword": "other-s3cret"}]
    status, output = preflight(tmp_path, inventory, relay_agent_accounts=accounts)
    assert status != 0
    assert "relay_agent_accounts[0].pasword: is not a known key; did you mean password?" in output
    assert "s3cret" not in output


def test_settings_that_nobody_could_be_given(tmp_path: Path) -> None:
    acme = {"mode": "acme", "acme": {"email": "me@example.org"}}
    web = "127.0.0.1:880"
    shared = [{"port": 443, "tls": "implicit", "web": web}, {"port": 80, "tls": "starttls", "web": web}]
    hosts: dict[str, dict[str, object]] = {
        "one.example": {"relay_settings_service": {"domains": ["example.org"]}},
        "two.example": {"relay_settings_service": {"domain": ["example.org"]}, "relay_agent_listeners": shared},
        "three.example": {"relay_agent_listeners": shared, "relay_tls_certificate": acme},
        "four.example": {
            "relay_settings_service": {"domains": ["example.org"]},
            "relay_agent_listeners": shared,
            "relay_tls_certificate": acme,
        },
    }
    # Nobody serves anything any more, the settings and the challenges neither.
    gone = {"relay_settings_service": {"domains": ["example.org"]}, "relay_settings_state": "absent"}
    hosts["five.example"] = gone | {"relay_agent_listeners": [{"port": 587, "tls": "starttls"}]}
    hosts["six.example"] = gone | {"relay_agent_listeners": shared, "relay_tls_certificate": acme}
    # What is wrong with another role's variables is told there, and not by an error of this.
    mistakes: tuple[dict[str, object], ...] = (
        {"relay_agent_listeners": [*shared, {"port": 587, "tls": "startls"}]},
        {"relay_agent_listeners": 5},
        {"relay_tls_certificate": "acme", "relay_agent_listeners": shared},
    )
    for number, wrong in enumerate(mistakes):
        hosts[f"wrong{number}.example"] = wrong | {"relay_settings_service": {"domains": ["example.org"]}}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({"relays": {"hosts": hosts}}))
    status, output = preflight(tmp_path, inventory)
    assert status != 0
    for problem in (
        "wrong0.example: relay_agent_listeners[2].tls: 'startls' is not a choice",
        "wrong1.example: relay_agent_listeners[0]: '5' is not a table",
        "wrong2.example: relay_tls_certificate: (secret) is not a table",
        "one.example: relay_settings_service: browsers cannot come to it; relay_agent_listeners needs {port: 443,",
        "two.example: relay_settings_service.domain: is not a known key; did you mean domains?",
        "three.example: relay_tls_certificate.acme.challenge: http needs port 80",
        "six.example: relay_tls_certificate.acme.challenge: http needs port 80",
    ):
        assert problem in output
    assert "four.example: relay" not in output
    assert "five.example: relay" not in output
