# SPDX-License-Identifier: GPL-3.0-or-later
"""`make check-inventory` as a CI job runs it: no host, no connection, and no password of the vault."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SECRET = "correct-horse-battery"


def check(inventory: Path, *options: str, **environment: str) -> tuple[int, str]:
    """Exit status and output."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/check_inventory.py"), str(inventory), *options],
        cwd=inventory if inventory.is_dir() else ROOT,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def vault(directory: Path, *arguments: str) -> str:
    """ansible-vault with a password of its own."""
    (directory / "password").write_text("open sesame\n")
    program = Path(sys.executable).with_name("ansible-vault")
    command = [str(program), arguments[0], "--vault-password-file", str(directory / "password"), *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Two good relays whose passwords lie in a vault."""
    mine = tmp_path / "mine"
    variables = mine / "group_vars" / "relays"
    variables.mkdir(parents=True)
    (mine / "hosts.yml").write_text(json.dumps({"relays": {"hosts": {"a.example.org": {}, "b.example.org": {}}}}))
    accounts = [{"name": "anna", "password": "{{ vault_anna }}"}]
    (variables / "main.yml").write_text(json.dumps({"relay_agent_accounts": accounts}))
    (variables / "vault.yml").write_text(json.dumps({"vault_anna": SECRET}))
    vault(tmp_path, "encrypt", str(variables / "vault.yml"))
    return mine


def more(inventory: Path, **variables: Any) -> None:
    (inventory / "group_vars" / "relays" / "more.yml").write_text(json.dumps(variables))


def test_a_vault_that_stays_closed_is_said_so(inventory: Path) -> None:
    status, output = check(inventory)
    assert status == 0, output
    assert "note: taken to be in group_vars/relays/vault.yml, which is not open: vault_anna" in output
    assert output.endswith("The inventory is good: 2 hosts.\n")


def test_a_vault_that_opens_shows_no_secret(inventory: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    options = ["--show", "--out", out, "--vault-password-file", str(tmp_path / "password")]
    status, output = check(inventory, *options)
    assert status == 0, output
    assert "which is not open" not in output
    assert 'hostname = "b.example.org"' in output
    files = "".join(path.read_text() for path in Path(out).rglob("*") if path.is_file())
    assert SECRET not in output + files
    assert (Path(out) / "a.example.org" / "agent.toml").is_file()


def test_every_problem_of_every_host_with_host_and_variable(inventory: Path) -> None:
    more(
        inventory,
        relay_agent_listners=[],
        relay_agent_hostname="relay.example.org",
        relay_agent_listeners=[{"port": 587, "tls": "starttls"}, {"port": 587, "tls": "implicit"}],
        relay_tls_certificate={"mode": "provided", "certificate": "files/no.pem", "key": "files/no.key"},
        relay_agent_routes=[{"domains": ["*"], "via": [{"host": "relay.example.org"}]}],
    )
    status, output = check(inventory, "--json")
    record = json.loads(output)
    assert (status, record["good"]) == (1, False)
    found = {(each["host"], each["variable"]) for each in record["problems"]}
    for host in ("a.example.org", "b.example.org"):
        assert {
            (host, "relay_agent_listners"),
            (host, "relay_tls_certificate.certificate"),
            (host, "relay_tls_certificate.key"),
            (host, "relay_agent_routes[0].via[0].host"),
        } <= found
    assert any(variable.startswith("relay_agent_listeners") for _, variable in found)
    assert ("b.example.org", "relay_agent_hostname") in found
    assert all(each["text"] for each in record["problems"])


def test_what_nobody_defines_is_a_problem_where_no_vault_could_have_it(inventory: Path) -> None:
    (inventory / "group_vars" / "relays" / "vault.yml").unlink()
    status, output = check(inventory)
    assert status == 1
    assert "a.example.org: relay_agent_accounts: 'vault_anna' is undefined (give it in the inventory" in output


def test_a_value_that_is_encrypted_by_itself(inventory: Path, tmp_path: Path) -> None:
    text = vault(tmp_path, "encrypt_string", "relay.example.org", "--name", "relay_agent_hostname")
    (inventory / "group_vars" / "relays" / "more.yml").write_text(text)
    status, output = check(inventory)
    assert status == 0, output
    assert "in a vault that is not open, and taken for a text: relay_agent_hostname" in output
    assert "cannot be judged while the vault is closed: relay_agent_hostname" in output
    status, output = check(inventory, "--vault-password-file", str(tmp_path / "password"))
    assert status == 1, output
    assert "relay.example.org is the name of a.example.org already" in output


def test_a_key_that_is_in_a_vault(inventory: Path, tmp_path: Path) -> None:
    (inventory / "files").mkdir()
    (inventory / "files" / "key.pem").write_text("a key")
    vault(tmp_path, "encrypt", str(inventory / "files" / "key.pem"))
    path = str(inventory / "files" / "key.pem")
    more(inventory, relay_tls_certificate={"mode": "provided", "certificate": "files/no.pem", "key": path})
    status, output = check(inventory)
    assert status == 1
    assert "cannot be judged while the vault is closed: relay_tls_certificate.key" in output
    assert "a.example.org: relay_tls_certificate.certificate: files/no.pem does not exist" in output


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ('{"relay": {"hosts": {"a.example.org": {}}}}', "has no host in the group relays"),
        ("relays: [", "check-inventory: "),
    ],
)
def test_what_is_no_inventory_of_relays(tmp_path: Path, hosts: str, words: str) -> None:
    (tmp_path / "hosts.yml").write_text(hosts)
    status, output = check(tmp_path / "hosts.yml")
    assert status == 2, output
    assert words in output


def test_no_inventory_at_all(tmp_path: Path) -> None:
    assert check(tmp_path / "nothing") == (2, f"check-inventory: {tmp_path / 'nothing'} does not exist\n")


def test_values_from_the_command_line(inventory: Path) -> None:
    status, output = check(inventory, "-e", '{"relay_agent_history": {"keep": "soon"}}')
    assert status == 1
    assert "relay_agent_history.keep" in output
